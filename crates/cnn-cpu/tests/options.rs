//! What a caller may ask a plan for, and what holds whatever he asks: the same bits on any number of threads.

use cnn_core::backend::Precision;
use cnn_core::layers::{Activation, Add, Conv2d, Flatten, GlobalAvgPool, Linear, MaxPool2d, Softmax};
use cnn_core::{Backend, CompileOptions, Network, Tensor, Weights};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;

/// A network through most kernels: planar input, Winograd with a fused pool, a branch, depthwise, pointwise, a flattened and
/// a large window, fully connected layers after blocks of channels.
fn network() -> Network {
    let mut net = Network::builder("mixed", [3, 50, 46]);
    net.push("stem", Conv2d::new(20, 3).padding(1)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.push("body", Conv2d::new(48, 3).padding(1)).unwrap();
    net.push("body relu", Activation::Relu).unwrap();
    let pooled = net.push("pool", MaxPool2d::new(2)).unwrap();
    let branch = net.push("depthwise", Conv2d::new(48, 3).groups(48).padding(1)).unwrap();
    net.push_with("sum", Add, &[pooled, branch]).unwrap();
    net.push("sum relu", Activation::Relu).unwrap();
    net.push("pointwise", Conv2d::new(33, 1)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("column", Conv2d::new(40, [5, 1]).padding([2, 0])).unwrap();
    net.push("large", Conv2d::new(24, 9).padding(4)).unwrap();
    net.push("last pool", MaxPool2d::new(3).stride(2)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc1", Linear::new(70)).unwrap();
    net.push("fc2", Linear::new(9)).unwrap();
    net.push("softmax", Softmax).unwrap();
    net.finish().unwrap()
}

fn run(cpu: &Cpu, network: &Network, weights: &Weights, options: &CompileOptions, batch: usize) -> Tensor {
    let plan = cpu.compile(network, weights, options).unwrap();
    plan.session().unwrap().run(&random_input(network, batch, 3)).unwrap()
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let network = network();
    let weights = random_weights(&network, 1);
    let options = CompileOptions::default();
    let alone = run(&Cpu::with_threads(1).unwrap(), &network, &weights, &options, 3);
    for threads in [2, 3, 5] {
        let several = run(&Cpu::with_threads(threads).unwrap(), &network, &weights, &options, 3);
        assert_eq!(several, alone, "{threads} threads");
    }
}

#[test]
fn a_timed_plan_says_what_it_measured_and_gives_the_same() {
    let network = network();
    let (weights, cpu) = (random_weights(&network, 1), Cpu::with_threads(2).unwrap());
    let options = CompileOptions::default().timed();
    let plan = cpu.compile(&network, &weights, &options).unwrap();
    let body = plan.report().steps.iter().find(|step| step.layer == "body").unwrap();
    assert_eq!(body.considered[0].algorithm, body.algorithm, "the fastest is taken");
    assert!(body.considered.len() > 1, "{:?}", body.considered);
    assert!(body.considered.is_sorted_by_key(|c| c.time));
    let timed = plan.session().unwrap().run(&random_input(&network, 2, 3)).unwrap();
    let modelled = run(&cpu, &network, &weights, &CompileOptions::default(), 2);
    assert!(difference(&timed.to_f32(), &modelled.to_f32()).unwrap().relative_rms < 1e-5);
}

#[test]
fn half_precision_halves_the_weights_and_costs_little() {
    let network = network();
    let (mut weights, cpu) = (random_weights(&network, 1), Cpu::with_threads(2).unwrap());
    let half = CompileOptions::default().linear_weights(Precision::Half);
    let bytes = |options: &CompileOptions, weights: &Weights| {
        let plan = cpu.compile(&network, weights, options).unwrap();
        plan.report().steps.iter().find(|step| step.layer == "fc1").unwrap().weight_bytes
    };
    let (single, halves) = (bytes(&CompileOptions::default(), &weights), bytes(&half, &weights));
    assert!(halves < single * 51 / 100, "{halves} of {single}");
    let (got, want) =
        (run(&cpu, &network, &weights, &half, 2), run(&cpu, &network, &weights, &CompileOptions::default(), 2));
    let apart = difference(&got.to_f32(), &want.to_f32()).unwrap().relative_rms;
    assert!(apart > 0.0 && apart < 2e-3, "{apart:e}");

    // A weight that half precision does not hold.
    let mut large = weights.get("fc1.weight").unwrap().to_f32().into_owned();
    large[7] = 70000.0;
    let shape = weights.get("fc1.weight").unwrap().shape.clone();
    weights.insert("fc1.weight", Tensor::new(shape, large).unwrap());
    assert_eq!(bytes(&half, &weights), single);
    let error = cpu.compile(&network, &weights, &half.strict()).err().unwrap().to_string();
    assert!(error.contains("fc1") && error.contains("half precision"), "{error}");
}

#[test]
fn pooling_runs_inside_a_convolution_or_after_it() {
    let network = network();
    let (weights, cpu) = (random_weights(&network, 1), Cpu::with_threads(2).unwrap());
    let mut outputs = Vec::new();
    for (algorithm, steps) in [("winograd_f4", 1), ("direct", 2)] {
        let plan = cpu.compile(&network, &weights, &CompileOptions::default().algorithm(algorithm)).unwrap();
        let named =
            |step: &&cnn_core::backend::StepReport| step.layer == "pool" || step.fused.contains(&"pool".to_string());
        assert_eq!(plan.report().steps.iter().filter(named).count(), steps, "{algorithm}");
        outputs.push(plan.session().unwrap().run(&random_input(&network, 1, 3)).unwrap());
    }
    assert!(difference(&outputs[0].to_f32(), &outputs[1].to_f32()).unwrap().relative_rms < 1e-5);
}

#[test]
fn global_pooling_and_a_flat_view_of_blocks_agree_with_planes() {
    let mut net = Network::builder("pooled", [19, 6, 5]);
    net.push("conv", Conv2d::new(21, 3)).unwrap();
    net.push("mean", GlobalAvgPool).unwrap();
    net.push("flatten", Flatten).unwrap();
    let net = net.finish().unwrap();
    let weights = random_weights(&net, 2);
    let cpu = Cpu::with_threads(1).unwrap();
    let blocked = run(&cpu, &net, &weights, &CompileOptions::default(), 2);
    let planar = run(&cpu, &net, &weights, &CompileOptions::default().algorithm("im2col"), 2);
    assert!(difference(&blocked.to_f32(), &planar.to_f32()).unwrap().relative_rms < 1e-5);
}
