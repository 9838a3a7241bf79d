//! The CPU backend does what the reference does: on one thread and on several, with every micro-kernel.

use cnn_cpu::Cpu;
use cnn_cpu::gemm::Microkernel;
use cnn_testkit::conformance::check;

#[test]
fn one_thread_conforms() {
    check(&Cpu::with_threads(1).unwrap());
}

#[test]
fn three_threads_conform() {
    check(&Cpu::with_threads(3).unwrap());
}

/// Those that this processor supports; which they are is printed, and one of them is always the portable one.
#[test]
fn every_microkernel_conforms() {
    type Kernels = Vec<&'static Microkernel>;
    let (supported, missing): (Kernels, Kernels) = Microkernel::ALL.iter().partition(|kernel| kernel.is_supported());
    for kernel in supported {
        println!("{} runs", kernel.name);
        check(&Cpu::with_threads(2).unwrap().with_microkernel(kernel).unwrap());
    }
    for kernel in missing {
        println!("{} is not supported here", kernel.name);
        assert!(Cpu::with_threads(1).unwrap().with_microkernel(kernel).is_err());
    }
}
