//! Every row of the CPU backend's convolution table on the convolutions of known networks: its time, the multiply-adds a
//! second that the layer asks for, the percent of the roofline that its algorithm reaches, and its error against sums in
//! `f64`. The row that the model chooses has a star.
//!
//! `cargo bench --bench layers [-- TEXT]`: the layers whose name holds the text. Fails where a row is wrong.

use std::time::Instant;

use cnn::interface::{Ceilings, Session};
use cnn::{Backend, CompileOptions, Tensor};
use cnn_cpu::Cpu;
use cnn_cpu::ops::conv2d::TABLE;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::{LayerShape, layer_shapes, sampled_error};

/// What no row's error may exceed.
const TOLERANCE: f64 = 1e-5;

/// Seconds of running that a row is given, at least three runs.
const PATIENCE: f64 = 0.05;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let cpu = Cpu::new().expect("threads start");
    let ceilings = cpu.ceilings().expect("the CPU backend measures them");
    println!("{:.0} GMAC/s, {:.0} GB/s", ceilings.macs_per_second / 1e9, ceilings.bytes_per_second / 1e9);
    let wanted = |shape: &LayerShape| filter.iter().all(|text| shape.to_string().contains(text.as_str()));
    let wrong =
        layer_shapes().iter().filter(|shape| wanted(shape)).map(|shape| bench(&cpu, ceilings, shape)).sum::<usize>();
    assert_eq!(wrong, 0, "rows with an error over {TOLERANCE:e}");
}

/// Prints a line for each row that takes the layer; how many were wrong.
fn bench(cpu: &Cpu, ceilings: Ceilings, shape: &LayerShape) -> usize {
    let network = shape.network();
    let (weights, input) = (random_weights(&network, 1), random_input(&network, 1, 2));
    let chosen = cpu.compile(&network, &weights, &CompileOptions::default()).expect("some row takes every layer");
    let chosen = conv_step(chosen.as_ref()).algorithm.clone();
    println!("{shape}");
    let mut wrong = 0;
    for row in TABLE {
        // Plain loops over a large layer take minutes and tell nothing.
        if row.name() == "plain" && network.flops() > 100_000_000 {
            continue;
        }
        let options = CompileOptions::default().algorithm(row.name()).strict();
        let Ok(plan) = cpu.compile(&network, &weights, &options) else { continue };
        let mut session = plan.session().expect("a session");
        let (seconds, output) = time(session.as_mut(), &input);
        let error = sampled_error(shape, &weights, (&input, &output), 500);
        let step = conv_step(plan.as_ref());
        let floor = ceilings.seconds(step.macs, step.weight_bytes + step.value_bytes);
        println!(
            "  {:<20} {:>9.3} ms {:>7.1} GMAC/s {:>4.0} % error {error:.1e}{}",
            step.algorithm,
            1e3 * seconds,
            0.5e-9 * network.flops() as f64 / seconds,
            100.0 * floor / seconds,
            if step.algorithm == chosen { " *" } else { "" },
        );
        wrong += usize::from(error > TOLERANCE);
    }
    wrong
}

fn conv_step(plan: &dyn cnn::Plan) -> &cnn::interface::StepReport {
    plan.report().steps.iter().find(|step| step.kind == "Conv2d").expect("the network has a convolution")
}

/// The fastest run of the convolution alone, and the output.
fn time(session: &mut dyn Session, input: &Tensor) -> (f64, Tensor) {
    let (begin, mut fastest, mut runs) = (Instant::now(), f64::INFINITY, 0);
    loop {
        let profile = session.profile(input).expect("runs");
        // Conversions of layout come before and after.
        let conv = profile.steps.iter().find(|step| step.layer == "conv").expect("the network has a convolution");
        fastest = fastest.min(conv.time.as_secs_f64());
        runs += 1;
        if runs >= 3 && begin.elapsed().as_secs_f64() > PATIENCE {
            return (fastest, profile.output);
        }
    }
}
