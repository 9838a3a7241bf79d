//! Every row of the convolution table, by name, over every convolution case that it accepts and over random ones.

use std::sync::LazyLock;

use cnn_core::{Backend, CompileOptions, Error, Layer, Network, Plan, Reference};
use cnn_ocl::Ocl;
use cnn_ocl::ops::conv2d::TABLE;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::{Case, cases, difference, random_convolution, random_three_by_three};
use proptest::prelude::*;

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));

/// The relative difference of a row from the reference; `None` where the row refuses.
fn run(network: &Network, row: &str, batch: usize) -> Option<f64> {
    let (weights, input) = (random_weights(network, 5), random_input(network, batch, 6));
    let options = CompileOptions::default().algorithm(row).strict();
    let plan = match OCL.compile(network, &weights, &options) {
        Ok(plan) => plan,
        Err(Error::Backend { reason, .. }) => {
            assert!(reason.contains("refuses"), "{reason}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(algorithm_of(plan.as_ref()), format!("conv2d/{row}"));
    let got = plan.session().unwrap().run(&input).unwrap();
    let plain = Reference::new().compile(network, &weights, &CompileOptions::default()).unwrap();
    let want = plain.session().unwrap().run(&input).unwrap();
    Some(difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms))
}

fn algorithm_of(plan: &dyn Plan) -> String {
    plan.report().steps.iter().find(|step| step.kind == "Conv2d").unwrap().algorithm.clone()
}

#[test]
fn every_row_agrees_on_every_case_that_it_accepts() {
    let convolutions: Vec<Case> = cases().into_iter().filter(|c| matches!(c.layer, Layer::Conv2d(_))).collect();
    for row in TABLE {
        let mut accepted = 0;
        for case in &convolutions {
            if let Some(apart) = run(&case.network().unwrap(), row.name(), case.batch) {
                let tolerance = if row.name().starts_with("winograd") { 5e-6 } else { case.tolerance };
                assert!(apart <= tolerance, "{} by {}: {apart:e}", case.name, row.name());
                accepted += 1;
            }
        }
        assert!(accepted >= 2, "{} takes only {accepted} cases", row.name());
    }
}

fn every_row_agrees(network: &Network, batch: usize) -> Result<(), TestCaseError> {
    for row in TABLE {
        if let Some(apart) = run(network, row.name(), batch) {
            let tolerance = if row.name().starts_with("winograd") { 5e-6 } else { 1e-6 };
            prop_assert!(apart <= tolerance, "{}: {:e}", row.name(), apart);
        }
    }
    Ok(())
}

proptest! {
    // Kernels are compiled for most of them, so few are drawn.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.min(16), ..ProptestConfig::default() })]

    #[test]
    fn rows_agree_on_random_convolutions((network, batch) in random_convolution()) {
        every_row_agrees(&network, batch)?;
    }

    #[test]
    fn rows_agree_on_random_three_by_three_windows((network, batch) in random_three_by_three()) {
        every_row_agrees(&network, batch)?;
    }
}
