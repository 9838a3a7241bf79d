//! Random convolutions, for properties of every row of a backend's table.

use cnn_core::Network;
use cnn_core::layers::{Activation, Conv2d, MaxPool2d};
use proptest::prelude::*;

prop_compose! {
    /// A convolution that fits its input, over all of its settings, in some cases with a ReLU and a pooling behind it.
    pub fn random_convolution()(
        // Few channels, or whole blocks of some instruction set's lanes.
        (group_in, group_out) in prop_oneof![(1usize..5, 1usize..8), (Just(16), 1usize..40), (Just(32), Just(16))],
        groups in 1usize..4,
        kernel in [1usize..6, 1..6], stride in [1usize..4, 1..4], dilation in [1usize..4, 1..4],
        padding in [0usize..4, 0..4, 0..4, 0..4], room in [0usize..20, 0..20], batch in 1usize..4, pooled: bool,
    ) -> (Network, usize) {
        let conv = Conv2d::new(group_out * groups, kernel).stride(stride).dilation(dilation).padding(padding).groups(groups);
        let span = |a: usize| dilation[a] * (kernel[a] - 1) + 1;
        let extent = |a: usize| (span(a) + room[a]).saturating_sub(padding[a] + padding[a + 2]).max(1);
        let mut net = Network::builder("random", [group_in * groups, extent(0), extent(1)]);
        net.push("conv", conv).expect("fits");
        if pooled && net.push("relu", Activation::Relu).is_ok() {
            // Refused, and so left out, where there are fewer than two rows or columns.
            net.push("pool", MaxPool2d::new(2)).ok();
        }
        (net.finish().expect("fits"), batch)
    }
}

prop_compose! {
    /// A convolution of 3 x 3 windows, which Winograd's rows take.
    pub fn random_three_by_three()(
        inputs in 1usize..40, outputs in 1usize..40, extent in [1usize..20, 1..20],
        padding in [1usize..3, 1..3, 1..3, 1..3], batch in 1usize..4, pooled: bool,
    ) -> (Network, usize) {
        let mut net = Network::builder("random", [inputs, extent[0], extent[1]]);
        net.push("conv", Conv2d::new(outputs, 3).padding(padding)).expect("fits");
        net.push("relu", Activation::Relu).expect("fits");
        if pooled {
            net.push("pool", MaxPool2d::new(2)).ok();
        }
        (net.finish().expect("fits"), batch)
    }
}
