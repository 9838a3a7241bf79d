//! Every row on the convolutions of known networks, at their full size, against sums in `f64`; and the tolerance that a
//! caller asks for.

use cnn_core::{Backend, CompileOptions, Weights};
use cnn_cpu::Cpu;
use cnn_cpu::ops::conv2d::TABLE;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::{layer_shapes, sampled_error};

/// The largest relative error of a row.
fn tolerance(row: &str) -> f64 {
    match row {
        "winograd_f6" => 1e-5,
        "winograd_f4" | "fft" => 5e-6,
        "winograd_f2" => 2e-6,
        _ => 1e-6,
    }
}

#[test]
fn every_row_is_right_on_the_layers_of_known_networks() {
    let cpu = Cpu::with_threads(2).unwrap();
    for shape in layer_shapes() {
        let network = shape.network();
        let (weights, input) = (random_weights(&network, 1), random_input(&network, 1, 2));
        for row in TABLE {
            // Plain loops over a large layer take long.
            if row.name() == "plain" && network.flops() > 100_000_000 {
                continue;
            }
            let options = CompileOptions::default().algorithm(row.name()).strict();
            let Ok(plan) = cpu.compile(&network, &weights, &options) else { continue };
            let output = plan.session().unwrap().run(&input).unwrap();
            let error = sampled_error(&shape, &weights, (&input, &output), 300);
            assert!(error <= tolerance(row.name()), "{shape} by {}: {error:e}", row.name());
        }
    }
}

/// The algorithm taken for a convolution of 64 channels, at most so exact.
fn taken(weights: &Weights, tolerance: f32) -> (String, Vec<String>) {
    let shape = layer_shapes().into_iter().find(|shape| shape.input == [64, 56, 56]).unwrap();
    let options = CompileOptions::default().tolerance(tolerance);
    let plan = Cpu::with_threads(1).unwrap().compile(&shape.network(), weights, &options).unwrap();
    let step = plan.report().steps.iter().find(|step| step.kind == "Conv2d").unwrap();
    let reason = |r: &cnn_core::choose::Refusal| format!("{}: {}", r.algorithm, r.reason);
    (step.algorithm.clone(), step.refused.iter().map(reason).collect())
}

#[test]
fn a_layer_that_would_lose_too_much_takes_a_smaller_tile() {
    let shape = layer_shapes().into_iter().find(|shape| shape.input == [64, 56, 56]).unwrap();
    let weights = random_weights(&shape.network(), 1);
    let (algorithm, refused) = taken(&weights, 0.0);
    assert_eq!(algorithm, "conv2d/direct", "{refused:?}");
    assert!(refused.contains(&"conv2d/winograd_f4: no error is tolerated".to_string()), "{refused:?}");
    // Between the errors of a direct sum and of F(2x2): every transform is tried and refused with its error.
    let (algorithm, refused) = taken(&weights, 1e-8);
    assert_eq!(algorithm, "conv2d/direct", "{refused:?}");
    assert!(refused.iter().any(|r| r.starts_with("conv2d/winograd_f4: its error is ")), "{refused:?}");
    let (algorithm, _) = taken(&weights, 1e-5);
    assert!(algorithm.starts_with("conv2d/winograd_f"), "{algorithm}");
}
