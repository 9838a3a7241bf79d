//! The CPU backend does what the reference does: on one thread and on several, with every instruction set.

use cnn_core::layers::{Activation, Conv2d};
use cnn_core::network::FlattenedConv;
use cnn_core::{Backend, CompileOptions, Network, Reference, Tensor};
use cnn_cpu::Cpu;
use cnn_cpu::simd::Instructions;
use cnn_testkit::conformance::{check, random_input, random_weights};
use cnn_testkit::difference;

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

/// Behind a convolution whose channels do not fill their blocks: the lanes that are left over meet infinities too.
#[test]
fn infinities_do_not_spread_through_idle_lanes() {
    for flat in [false, true] {
        let mut net = Network::builder("idle lanes", [10, 4, 3]);
        match flat {
            true => net.flattened_conv("expand", &FlattenedConv::new(18, [3, 3]).stages(1)).unwrap(),
            false => net.push("expand", Conv2d::new(18, 3).padding(1)).unwrap(),
        };
        net.push("relu6", Activation::Relu6).unwrap();
        net.push("project", Conv2d::new(5, 1)).unwrap();
        let network = net.finish().unwrap();
        let (weights, mut input) = (random_weights(&network, 1), random_input(&network, 1, 2));
        *input.as_f32_mut().unwrap().last_mut().unwrap() = f32::INFINITY;
        let run = |backend: &dyn Backend| -> Tensor {
            let plan = backend.compile(&network, &weights, &CompileOptions::default().tolerance(0.0)).unwrap();
            plan.session().unwrap().run(&input).unwrap()
        };
        let want = run(&Reference::new());
        assert!(want.to_f32().iter().all(|v| v.is_finite()));
        for instructions in Instructions::supported() {
            let got = run(&Cpu::with_threads(1).unwrap().with_instructions(instructions));
            let apart = difference(&got.to_f32(), &want.to_f32()).unwrap().relative_rms;
            assert!(apart < 1e-5, "{}, flattened {flat}: {apart}", instructions.name());
        }
    }
}
