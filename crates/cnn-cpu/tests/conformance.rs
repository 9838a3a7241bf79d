//! The CPU backend does what the reference does: on one thread and on several, with every instruction set.

use cnn_cpu::Cpu;
use cnn_cpu::simd::Instructions;
use cnn_testkit::conformance::check;

#[test]
fn one_thread_conforms() {
    check(&Cpu::with_threads(1).unwrap());
}

#[test]
fn three_threads_conform() {
    check(&Cpu::with_threads(3).unwrap());
}

/// Those that this processor has; which they are is printed, and one of them is always the portable one.
#[test]
fn every_instruction_set_conforms() {
    for instructions in Instructions::supported() {
        println!("{} runs", instructions.name());
        check(&Cpu::with_threads(2).unwrap().with_instructions(instructions));
    }
}
