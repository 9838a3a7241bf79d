//! Vertical and horizontal filters in one launch: what the plain loops say, whatever the shape.

use std::sync::LazyLock;

use cnn_core::layers::Activation;
use cnn_core::network::{FilterOrder, FlattenedConv};
use cnn_core::{Backend, CompileOptions, Network, Reference};
use cnn_ocl::Ocl;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;
use proptest::prelude::*;

const NAME: &str = "conv2d/flattened";

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));

/// How many steps are fused, after the outputs were found to agree.
fn fused(network: &Network, batch: usize) -> usize {
    let (weights, input) = (random_weights(network, 5), random_input(network, batch, 6));
    let options = CompileOptions::default();
    let plan = OCL.compile(network, &weights, &options).unwrap();
    let got = plan.session().unwrap().run(&input).unwrap();
    let plain = Reference::new().compile(network, &weights, &options).unwrap();
    let want = plain.session().unwrap().run(&input).unwrap();
    let apart = difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms);
    // Six linear layers in a row may cancel much of what they add up.
    assert!(apart <= 5e-5, "{apart:e}");
    plan.report().steps.iter().filter(|step| step.algorithm == NAME).count()
}

fn network(input: [usize; 3], conv: &FlattenedConv, activation: Option<Activation>) -> Network {
    let mut net = Network::builder("n", input);
    net.flattened_conv("conv", conv).unwrap();
    if let Some(activation) = activation {
        net.push("activation", activation).unwrap();
    }
    net.finish().unwrap()
}

proptest! {
    // Each is a compilation.
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_shape_agrees_with_the_plain_loops(
        (channels, outputs) in (1usize..40, 2usize..40),
        extent in [1usize..20, 1usize..70],
        kernel in [2usize..8, 2usize..8],
        (stages, lateral_last, bias) in (1usize..3, any::<bool>(), any::<bool>()),
        activation in prop::sample::select(vec![None, Some(Activation::Relu), Some(Activation::Tanh)]),
        batch in 1usize..4,
    ) {
        let order = if lateral_last { FilterOrder::LateralLast } else { FilterOrder::LateralFirst };
        let conv = FlattenedConv { bias, ..FlattenedConv::new(outputs, kernel).stages(stages).order(order) };
        // A single channel's filters are convolutions without groups, which another row takes as well.
        let least = stages - usize::from(channels == 1 && lateral_last);
        let fused = fused(&network([channels, extent[0], extent[1]], &conv, activation), batch);
        prop_assert!((least..=stages).contains(&fused), "{} of {} stages", fused, stages);
    }
}

#[test]
fn what_lies_between_filters_keeps_them_apart() {
    let wide = FlattenedConv::new(4, [3, 17]);
    assert_eq!(fused(&network([3, 6, 20], &wide, None), 2), 0);
    let strided = FlattenedConv::new(4, 3).stride(2).stages(2);
    assert_eq!(fused(&network([3, 9, 9], &strided, None), 1), 1);
}
