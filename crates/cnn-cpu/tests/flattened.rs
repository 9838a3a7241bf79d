//! Flattened convolutions as one step: what the plain loops say, whatever the shape, the cut and the number of threads.

use cnn_core::layers::{Activation, Conv2d, MaxPool2d};
use cnn_core::network::{FilterOrder, FlattenedConv};
use cnn_core::{Backend, CompileOptions, Network, Reference, Tensor};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;
use proptest::prelude::*;

const NAME: &str = "conv2d/flattened";

fn network(input: [usize; 3], conv: &FlattenedConv, tail: &[Activation]) -> Network {
    let mut net = Network::builder("n", input);
    net.flattened_conv("conv", conv).unwrap();
    for (i, &activation) in tail.iter().enumerate() {
        net.push(format!("activation{i}"), activation).unwrap();
    }
    net.finish().unwrap()
}

/// The steps' algorithms, after the outputs were found to agree.
fn run(network: &Network, batch: usize, threads: usize, options: &CompileOptions) -> Vec<String> {
    let (weights, input) = (random_weights(network, 5), random_input(network, batch, 6));
    let output = |backend: &dyn Backend, options: &CompileOptions| {
        let plan = backend.compile(network, &weights, options).unwrap();
        let output = plan.session().unwrap().run(&input).unwrap();
        (output, plan.report().steps.iter().map(|step| step.algorithm.clone()).collect())
    };
    let (want, _): (_, Vec<String>) = output(&Reference::new(), &CompileOptions::default());
    let (got, algorithms) = output(&Cpu::with_threads(threads).unwrap(), options);
    let apart = difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms);
    // Nine linear layers in a row may cancel much of what they add up.
    assert!(apart <= 5e-5, "{apart:e} by {algorithms:?}");
    algorithms
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_shape_agrees_with_the_plain_loops(
        (channels, outputs) in (1usize..40, 1usize..40),
        extent in [1usize..20, 1usize..20],
        kernel in [1usize..8, 1usize..8],
        (stages, lateral_last, bias) in (1usize..4, any::<bool>(), any::<bool>()),
        tail in prop::sample::select(vec![vec![], vec![Activation::Relu], vec![Activation::Tanh]]),
        (batch, threads) in (1usize..5, 1usize..4),
    ) {
        let order = if lateral_last { FilterOrder::LateralLast } else { FilterOrder::LateralFirst };
        let conv = FlattenedConv { bias, ..FlattenedConv::new(outputs, kernel).stages(stages).order(order) };
        let network = network([channels, extent[0], extent[1]], &conv, &tail);
        let algorithms = run(&network, batch, threads, &CompileOptions::default().algorithm(NAME));
        // Windows of 1x1 may leave nothing but lateral filters.
        prop_assert!(kernel == [1, 1] || algorithms.iter().any(|name| name == NAME), "{:?}", algorithms);
    }
}

#[test]
fn bands_end_anywhere() {
    // Rows so wide that few fit the cache.
    for (order, height) in [(FilterOrder::LateralFirst, 61), (FilterOrder::LateralLast, 37)] {
        let conv = FlattenedConv::new(40, 5).order(order);
        let network = network([36, height, 300], &conv, &[Activation::Relu]);
        let algorithms = run(&network, 2, 2, &CompileOptions::default().algorithm(NAME));
        assert!(algorithms.iter().any(|name| name == NAME), "{algorithms:?}");
    }
}

#[test]
fn a_pooling_follows_and_other_convolutions_stay_out() {
    let mut net = Network::builder("n", [20, 16, 16]);
    net.push("dense", Conv2d::new(24, 3).padding(1)).unwrap();
    net.flattened_conv("flattened", &FlattenedConv::new(32, 5)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.flattened_conv("strided", &FlattenedConv::new(32, 3).stride(2)).unwrap();
    let network = net.finish().unwrap();
    let algorithms = run(&network, 2, 2, &CompileOptions::default().algorithm(NAME));
    assert_eq!(algorithms.iter().filter(|name| *name == NAME).count(), 2, "{algorithms:?}");
}

#[test]
fn another_row_that_is_asked_for_runs() {
    let network = network([32, 16, 16], &FlattenedConv::new(32, 5), &[]);
    let algorithms = run(&network, 2, 2, &CompileOptions::default().algorithm("conv2d/depthwise"));
    assert_eq!(algorithms.iter().filter(|name| *name == "conv2d/depthwise").count(), 4, "{algorithms:?}");
}

#[test]
fn large_batches_of_the_papers_layer_are_one_step() {
    let network = network([128, 32, 32], &FlattenedConv::new(128, 5), &[Activation::Relu]);
    let options = CompileOptions::default().batch(128);
    let plan = Cpu::with_threads(2).unwrap().compile(&network, &random_weights(&network, 1), &options).unwrap();
    assert!(plan.report().steps.iter().any(|step| step.algorithm == NAME), "{}", plan.report());
}

#[test]
fn outputs_too_large_for_any_cache_are_the_same() {
    // 64 MiB in all, each image 16.
    let (network, batch) = (network([16, 512, 512], &FlattenedConv::new(16, 3), &[Activation::Relu]), 4);
    let (weights, input) = (random_weights(&network, 5), random_input(&network, batch, 6));
    let cpu = Cpu::with_threads(2).unwrap();
    let output = |input: &Tensor| {
        let options = CompileOptions::default().batch(batch).algorithm(NAME);
        let plan = cpu.compile(&network, &weights, &options).unwrap();
        plan.session().unwrap().run(input).unwrap().to_f32().into_owned()
    };
    let together = output(&input);
    let image = together.len() / batch;
    for (i, together) in together.chunks(image).enumerate() {
        let values = input.to_f32()[i * image..(i + 1) * image].to_vec();
        let alone = output(&Tensor::new([1, 16, 512, 512], values).unwrap());
        assert!(alone == together, "image {i}");
    }
}
