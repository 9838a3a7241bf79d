//! The CPU backend does what the reference does, on one thread and on several.

#[test]
fn one_thread_conforms() {
    cnn_testkit::conformance::check(&cnn_cpu::Cpu::with_threads(1).unwrap());
}

#[test]
fn three_threads_conform() {
    cnn_testkit::conformance::check(&cnn_cpu::Cpu::with_threads(3).unwrap());
}
