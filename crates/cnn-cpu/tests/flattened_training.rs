//! Pairs of filters a channel in training: the gradients of the plain loops, whatever the shape and whatever is around them.

use cnn_core::layers::{Activation, Add, Conv2d, Flatten, Linear, MaxPool2d};
use cnn_core::network::{FilterOrder, FlattenedConv};
use cnn_core::{Network, NetworkBuilder};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::gradients_of_chains;
use proptest::prelude::*;

/// How many pairs were found, after the gradients were found to agree.
fn pairs(mut net: NetworkBuilder, batch: usize, threads: usize) -> usize {
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(3)).unwrap();
    let method = gradients_of_chains(&Cpu::with_threads(threads).unwrap(), &net.finish().unwrap(), batch);
    method.split_once("at a time: ").map_or(0, |(_, count)| count.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn random_shapes_agree_with_the_plain_loops(
        (channels, outputs) in (2usize..9, 2usize..9),
        extent in [1usize..14, 1usize..14],
        kernel in [2usize..7, 2usize..7],
        (stages, lateral_last, bias, first) in (1usize..3, any::<bool>(), any::<bool>(), any::<bool>()),
        activation in prop::sample::select(vec![None, Some(Activation::Relu), Some(Activation::Tanh)]),
        (batch, threads) in (1usize..40, 1usize..3),
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
        prop_assert_eq!(pairs(net, batch, threads), stages);
    }
}

fn column() -> Conv2d {
    Conv2d::new(4, [3, 1]).padding([1, 0]).groups(4)
}

fn row() -> Conv2d {
    Conv2d::new(4, [1, 5]).padding([0, 2]).groups(4)
}

#[test]
fn filters_of_any_kind_are_pairs_where_nothing_is_between_them() {
    let count = |layers: &dyn Fn(&mut NetworkBuilder)| {
        let mut net = Network::builder("n", [4, 7, 6]);
        layers(&mut net);
        pairs(net, 3, 1)
    };
    let activated = count(&|net| {
        net.push("down", column()).unwrap();
        net.push("relu", Activation::Relu).unwrap();
        net.push("along", row()).unwrap();
    });
    // What lies between is read a second time.
    let forked = count(&|net| {
        let down = net.push("down", column()).unwrap();
        let along = net.push("along", row()).unwrap();
        net.push_with("sum", Add, &[down, along]).unwrap();
    });
    assert_eq!([activated, forked], [0, 0]);
    let strided = count(&|net| {
        net.push("along", row().stride(2)).unwrap();
        net.push("down", column().dilation(2)).unwrap();
        net.push("pool", MaxPool2d::new(2)).unwrap();
    });
    // A filter is of one pair, and what a pair reads may have other readers.
    let three = count(&|net| {
        let input = net.push("before", Conv2d::new(4, 1)).unwrap();
        net.push("down", column()).unwrap();
        net.push("factor", Conv2d { bias: false, ..Conv2d::new(4, 1).groups(4) }).unwrap();
        let along = net.push("along", row()).unwrap();
        net.push_with("sum", Add, &[input, along]).unwrap();
    });
    let four = count(&|net| {
        for (name, layer) in [("a", column()), ("b", row()), ("c", column()), ("d", row())] {
            net.push(name, layer).unwrap();
        }
    });
    assert_eq!([strided, three, four], [1, 1, 2]);
}
