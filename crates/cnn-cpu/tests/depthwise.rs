//! Depthwise convolutions by their own row: what the plain loops say, whatever the window, the border, the activation and the instruction
//! set.

use std::sync::LazyLock;

use cnn_core::layers::{Activation, Conv2d};
use cnn_core::{Backend, CompileOptions, Network, Reference, Tensor, Weights};
use cnn_cpu::Cpu;
use cnn_cpu::simd::Instructions;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;
use proptest::prelude::*;

/// One for each instruction set.
static BACKENDS: LazyLock<Vec<Cpu>> = LazyLock::new(|| {
    let backend = |set| Cpu::with_threads(2).unwrap().with_instructions(set);
    Instructions::supported().into_iter().map(backend).collect()
});

fn network(input: [usize; 3], conv: Conv2d, activation: Option<Activation>) -> Network {
    let mut net = Network::builder("n", input);
    net.push("conv", conv.groups(input[0])).unwrap();
    if let Some(activation) = activation {
        net.push("activation", activation).unwrap();
    }
    net.finish().unwrap()
}

/// Runs the row on every instruction set and finds the values of the plain loops, infinities and NaN included.
fn check(network: &Network, weights: &Weights, input: &Tensor) {
    let run = |backend: &dyn Backend, options: &CompileOptions| {
        let plan = backend.compile(network, weights, options).unwrap();
        plan.session().unwrap().run(input).unwrap()
    };
    let want = run(&Reference::new(), &CompileOptions::default());
    for cpu in &*BACKENDS {
        let got = run(cpu, &CompileOptions::default().algorithm("depthwise").strict());
        let apart = difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms);
        assert!(apart <= 2e-6, "{apart:e} apart on {:?}: {network:?}", cpu.device().features);
    }
}

prop_compose! {
    /// Windows of one kind in two of three cases: those that have loops of their own. Planes may be smaller than the kernel.
    fn random_depthwise()(
        channels in 1usize..40,
        kernel in (1usize..8, prop_oneof![1usize..8, prop::sample::select(vec![3, 5, 7])]),
        stride in [1usize..4, 1..4],
        dilation in (1usize..4, prop_oneof![2 => Just(1usize), 1 => 2usize..4]),
        padding in [0usize..9, 0..9, 0..9, 0..9],
        room in [0usize..12, 0..40],
        activation in prop::sample::select(vec![
            None, Some(Activation::Relu), Some(Activation::Relu6), Some(Activation::LeakyRelu { slope: 0.1 }),
            Some(Activation::Sigmoid),
        ]),
        batch in 1usize..4,
    ) -> (Network, usize) {
        let (kernel, dilation) = ([kernel.0, kernel.1], [dilation.0, dilation.1]);
        let conv = Conv2d::new(channels, kernel).stride(stride).dilation(dilation).padding(padding);
        let span = |a: usize| dilation[a] * (kernel[a] - 1) + 1;
        let extent = |a: usize| (span(a) + room[a]).saturating_sub(padding[a] + padding[a + 2]).max(1);
        (network([channels, extent(0), extent(1)], conv, activation), batch)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_window_agrees_with_the_plain_loops((network, batch) in random_depthwise()) {
        // Times four, so that some values lie beyond 6.
        let input = random_input(&network, batch, 6).to_f32().iter().map(|x| 4.0 * x).collect();
        let input = Tensor::new(network.input_shape().with_batch(batch), input).unwrap();
        check(&network, &random_weights(&network, 5), &input);
    }
}

#[test]
fn planes_are_cut_into_pieces_and_put_together() {
    // Small planes that share a piece, across samples too; planes of several pieces, the last of them shorter; enough work for two threads.
    for (input, kernel, batch) in
        [([200, 3, 3], 3, 3), ([17, 61, 47], 3, 2), ([70, 40, 90], 5, 1), ([33, 7, 300], 9, 1)]
    {
        let network = network(input, Conv2d::new(input[0], kernel).padding(kernel / 2), Some(Activation::Relu6));
        check(&network, &random_weights(&network, 5), &random_input(&network, batch, 6));
    }
}

#[test]
fn what_is_not_finite_stays_where_the_definition_has_it() {
    for (kernel, stride, dilation) in [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (4, 1, 1), (3, 1, 2)] {
        for activation in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
            let conv = Conv2d::new(5, kernel).stride(stride).dilation(dilation).padding(kernel / 2 * dilation);
            let network = network([5, 9, 13], conv, activation);
            let input = random_input(&network, 1, 6);
            let mut pixels = input.to_f32().into_owned();
            (pixels[0], pixels[60], pixels[5 * 9 * 13 - 1]) = (f32::NAN, f32::NEG_INFINITY, f32::INFINITY);
            check(&network, &random_weights(&network, 5), &Tensor::new(input.shape().clone(), pixels).unwrap());
        }
    }
}
