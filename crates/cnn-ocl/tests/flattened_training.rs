//! The kernels of flattened convolutions in training, vertical and horizontal filters in one launch and lateral ones by copied pixels: the
//! gradients of the plain loops, whatever the shape and whatever is around them.

use std::sync::LazyLock;

use cnn_core::layers::{Activation, Add, Conv2d, Flatten, Linear, MaxPool2d};
use cnn_core::network::{FilterOrder, FlattenedConv};
use cnn_core::{Network, NetworkBuilder};
use cnn_ocl::Ocl;
use cnn_ocl::tuning::Tuning;
use cnn_testkit::conformance::gradients_of_chains;
use proptest::prelude::*;

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));

fn finish(mut net: NetworkBuilder) -> Network {
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(3)).unwrap();
    net.finish().unwrap()
}

const PAIRS: &str = "vertical and horizontal filter in one launch";
const POINTWISE: &str = "1x1 by copied pixels";

/// How many pairs and how many lateral filters have kernels of their own, after loss and gradients were found to agree.
fn fused(ocl: &Ocl, network: &Network, batch: usize) -> [usize; 2] {
    let method = gradients_of_chains(ocl, network, batch);
    let count =
        |what: &str| method.split("; ").find_map(|part| part.strip_prefix(what)?.strip_prefix(": ")?.parse().ok());
    [PAIRS, POINTWISE].map(|what| count(what).unwrap_or_default())
}

proptest! {
    // Each is a compilation.
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn random_shapes_agree_with_the_plain_loops(
        (channels, outputs) in (2usize..9, 2usize..9),
        extent in [1usize..14, 1usize..14],
        kernel in [2usize..7, 2usize..7],
        (stages, lateral_last, bias, first) in (1usize..3, any::<bool>(), any::<bool>(), any::<bool>()),
        activation in prop::sample::select(vec![None, Some(Activation::Relu), Some(Activation::Tanh)]),
        batch in prop::sample::select(vec![1usize, 5, 16, 19, 33]),
    ) {
        let order = if lateral_last { FilterOrder::LateralLast } else { FilterOrder::LateralFirst };
        let mut net = Network::builder("n", [channels, extent[0], extent[1]]);
        if !first {
            net.push("before", Conv2d::new(channels, 1)).unwrap();
        }
        if let Some(activation) = activation {
            net.push("activation before", activation).unwrap();
        }
        let conv = FlattenedConv { bias, ..FlattenedConv::new(outputs, kernel).stages(stages).order(order) };
        net.flattened_conv("conv", &conv).unwrap();
        if let Some(activation) = activation {
            net.push("activation", activation).unwrap();
        }
        prop_assert_eq!(fused(&OCL, &finish(net), batch)[0], stages);
    }

    #[test]
    fn random_lateral_filters_agree_with_the_plain_loops(
        (channels, outputs) in (20usize..70, 20usize..70),
        extent in [4usize..9, 9usize..40],
        (bias, forked, activation) in (any::<bool>(), any::<bool>(), any::<bool>()),
        batch in prop::sample::select(vec![1usize, 16, 18, 33]),
    ) {
        let lateral = Conv2d { bias, ..Conv2d::new(outputs, 1) };
        let mut net = Network::builder("n", [2, extent[0], extent[1]]);
        let mut input = net.push("before", Conv2d::new(channels, [1, 3]).padding([0, 1])).unwrap();
        if activation {
            input = net.push("activation before", Activation::Tanh).unwrap();
        }
        let left = net.push_with("left", lateral.clone(), &[input]).unwrap();
        if forked {
            let right = net.push_with("right", lateral, &[input]).unwrap();
            net.push_with("sum", Add, &[left, right]).unwrap();
        }
        if activation {
            net.push("activation", Activation::Relu).unwrap();
        }
        net.push("after", Conv2d::new(2, 3).padding(1)).unwrap();
        prop_assert_eq!(fused(&OCL, &finish(net), batch)[1], 1 + usize::from(forked));
    }
}

/// Narrow vectors, and a band that is narrower than the plane.
#[test]
fn wide_planes_are_cut_into_columns() {
    let mut net = Network::builder("n", [2, 2, 11]);
    net.push("before", Conv2d::new(19, 1)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.flattened_conv("conv", &FlattenedConv::new(20, [15, 2]).order(FilterOrder::LateralLast).stages(1)).unwrap();
    let network = finish(net);
    let fallback = Tuning::fallback();
    for (tuning, pointwise) in [(Tuning { sample_vectors: 1, ..fallback.clone() }, 1), (fallback, 0)] {
        let ocl = Ocl::builder().tuning(tuning).build("").unwrap();
        assert_eq!(fused(&ocl, &network, 3), [1, pointwise]);
    }
}

#[test]
fn what_lies_between_filters_keeps_them_apart() {
    let column = |channels: usize| Conv2d::new(channels, [3, 1]).padding([1, 0]).groups(channels);
    let row = |channels: usize| Conv2d::new(channels, [1, 5]).padding([0, 2]).groups(channels);
    let network = |layers: &dyn Fn(&mut NetworkBuilder)| {
        let mut net = Network::builder("n", [4, 7, 6]);
        layers(&mut net);
        finish(net)
    };
    let activated = network(&|net| {
        net.push("down", column(4)).unwrap();
        net.push("relu", Activation::Relu).unwrap();
        net.push("along", row(4)).unwrap();
    });
    let turned = network(&|net| {
        net.push("along", row(4)).unwrap();
        net.push("down", column(4)).unwrap();
    });
    let strided = network(&|net| {
        net.flattened_conv("conv", &FlattenedConv::new(4, 3).stride(2)).unwrap();
        net.push("pool", MaxPool2d::new(2)).unwrap();
    });
    // What lies between is read a second time; the filters behind it read what a pair would have to keep.
    let forked = network(&|net| {
        let down = net.push("down", column(4)).unwrap();
        let along = net.push("along", row(4)).unwrap();
        net.push_with("sum", Add, &[down, along]).unwrap();
    });
    for (network, pairs) in [(activated, 0), (turned, 0), (strided, 1), (forked, 0)] {
        assert_eq!(fused(&OCL, &network, 3)[0], pairs);
    }
    // A filter belongs to one pair, and a pair's input may have other readers.
    let three = network(&|net| {
        let input = net.push("before", Conv2d::new(4, 1)).unwrap();
        net.push("down", column(4)).unwrap();
        net.push("factor", Conv2d::new(4, 1).groups(4)).unwrap();
        let along = net.push("along", row(4)).unwrap();
        net.push_with("sum", Add, &[input, along]).unwrap();
    });
    assert_eq!(fused(&OCL, &three, 3)[0], 1);
}
