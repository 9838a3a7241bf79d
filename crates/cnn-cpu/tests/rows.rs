//! Every row of the convolution table, by name, over every convolution case that it accepts and over random ones; and
//! which row is taken for what.

use std::sync::LazyLock;

use cnn_core::choose::{Refusal, Row};
use cnn_core::layers::Conv2d;
use cnn_core::{Backend, CompileOptions, Error, Layer, Network, Plan, Reference, Shape};
use cnn_cpu::Cpu;
use cnn_cpu::machine::Machine;
use cnn_cpu::ops::conv2d::{FourierTransform, Problem, TABLE};
use cnn_cpu::simd::Instructions;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::{Case, cases, difference, random_convolution};
use proptest::prelude::*;

/// The relative difference of a row from the reference; `None` where the row refuses.
fn run(cpu: &Cpu, network: &Network, row: &str, batch: usize) -> Option<f64> {
    let (weights, input) = (random_weights(network, 5), random_input(network, batch, 6));
    let options = CompileOptions::default().algorithm(row).strict();
    let plan = match cpu.compile(network, &weights, &options) {
        Ok(plan) => plan,
        Err(Error::Backend { reason, .. }) => {
            assert!(reason.contains("refuses"), "{reason}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(algorithm_of(plan.as_ref()).0, format!("conv2d/{row}"));
    let got = plan.session().unwrap().run(&input).unwrap();
    let plain = Reference::new().compile(network, &weights, &CompileOptions::default()).unwrap();
    let want = plain.session().unwrap().run(&input).unwrap();
    Some(difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms))
}

/// Whether a row transforms its operands, which costs accuracy.
fn adds_error(row: &str) -> bool {
    row.starts_with("winograd") || row == "fft"
}

/// What was chosen for the convolution, and who refused it.
fn algorithm_of(plan: &dyn Plan) -> (String, Vec<Refusal>) {
    let step = plan.report().steps.iter().find(|step| step.kind == "Conv2d").unwrap();
    (step.algorithm.clone(), step.refused.clone())
}

#[test]
fn every_row_agrees_on_every_case_that_it_accepts() {
    let cpu = Cpu::with_threads(2).unwrap();
    let convolutions: Vec<Case> = cases().into_iter().filter(|c| matches!(c.layer, Layer::Conv2d(_))).collect();
    for row in TABLE {
        let mut accepted = 0;
        for case in &convolutions {
            if let Some(apart) = run(&cpu, &case.network().unwrap(), row.name(), case.batch) {
                let tolerance = if adds_error(row.name()) { 1e-5 } else { case.tolerance };
                assert!(apart <= tolerance, "{} by {}: {apart:e}", case.name, row.name());
                accepted += 1;
            }
        }
        assert!(accepted >= 2, "{} takes only {accepted} cases", row.name());
    }
}

#[test]
fn the_report_says_what_was_taken_and_who_refused() {
    let taken = |conv: Conv2d| {
        let mut net = Network::builder("n", [8, 9, 9]);
        net.push("conv", conv).unwrap();
        let net = net.finish().unwrap();
        let weights = random_weights(&net, 1);
        let plan = Cpu::with_threads(1).unwrap().compile(&net, &weights, &CompileOptions::default()).unwrap();
        let (algorithm, refused) = algorithm_of(plan.as_ref());
        (algorithm, refused.into_iter().map(|r| format!("{}: {}", r.algorithm, r.reason)).collect::<Vec<_>>())
    };
    let small = "conv2d/linear: the kernel does not cover the whole input".to_string();
    let few = "conv2d/im2col: 2 output channels a group are too few for a tile".to_string();
    let (algorithm, refused) = taken(Conv2d::new(16, 9));
    assert_eq!(algorithm, "conv2d/linear");
    assert!(refused.contains(&"conv2d/winograd_f4: the window is not 3x3".to_string()), "{refused:?}");
    let (algorithm, refused) = taken(Conv2d::new(16, 3).stride(2));
    assert_eq!(algorithm, "conv2d/direct");
    assert!(refused.contains(&small), "{refused:?}");
    let (algorithm, refused) = taken(Conv2d::new(8, 3).groups(4));
    assert_eq!(algorithm, "conv2d/plain");
    assert!(refused.contains(&few), "{refused:?}");
    assert!(refused.iter().any(|r| r.starts_with("conv2d/direct: 4 groups do not fill blocks of ")), "{refused:?}");
}

#[test]
fn transformed_weights_that_fill_the_memory_are_refused() {
    let machine = Machine::new(Instructions::detect());
    let refusal = |channels: usize| {
        let conv = Conv2d::new(channels, 5).padding(2);
        let problem = Problem::new(&conv, &Shape::from([channels, 40, 40]), &machine).unwrap();
        FourierTransform.accepts(&problem)
    };
    assert_eq!(refusal(64), Ok(()));
    assert_eq!(refusal(4096), Err("its weights would take 36 GiB".to_string()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_row_agrees_on_random_convolutions((network, batch) in random_convolution()) {
        // One for all cases: a new one measures its ceilings first.
        static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::with_threads(1).unwrap());
        for row in TABLE {
            if let Some(apart) = run(&CPU, &network, row.name(), batch) {
                let tolerance = if adds_error(row.name()) { 1e-5 } else { 2e-6 };
                prop_assert!(apart <= tolerance, "{} apart {apart:e}: {network:?}", row.name());
            }
        }
    }
}
