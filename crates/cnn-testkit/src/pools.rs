//! The cases of poolings.

use cnn_core::layers::{
    AvgPool2d, GlobalAvgPool, LpPool2d, MaxPool2d, MixedPool2d, SpatialPyramidPool, StochasticPool2d,
};

use crate::Case;
use crate::cases::image;

/// Every pooling. Where neighbours may change places, inputs are few, so that the gradient check's step meets none.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("max pool 2x2", MaxPool2d::new(2), &image(3, 6, 8)),
        Case::new("max pool with a rest", MaxPool2d::new(2), &image(3, 7, 5)),
        Case::new("max pool overlapping", MaxPool2d::new(3).stride(2), &image(2, 9, 9)),
        Case::new("max pool padded", MaxPool2d::new(3).stride(2).padding(1), &image(2, 8, 7)),
        Case::new("max pool ceil", MaxPool2d::new(3).stride(2).ceil(), &image(2, 8, 10)),
        Case::new("avg pool 2x2", AvgPool2d::new(2), &image(3, 6, 8)),
        Case::new("avg pool padded", AvgPool2d::new(3).stride(2).padding(1), &image(2, 7, 8)),
        Case::new(
            "avg pool without padding in its mean",
            AvgPool2d::new(3).stride(2).padding(1).without_padding_in_mean(),
            &image(2, 7, 8),
        ),
        Case::new("avg pool ceil", AvgPool2d::new(3).stride(2).padding(1).ceil(), &image(2, 8, 6)),
        Case::new("global avg pool", GlobalAvgPool, &image(5, 4, 7)),
        Case::new("lp pool 2x2", LpPool2d::new(2.0, 2), &image(3, 4, 6)),
        Case::new("lp pool, sums, padded, ceil", LpPool2d::new(1.0, 3).stride(2).padding(1).ceil(), &image(2, 6, 7)),
        Case::new("lp pool dilated", LpPool2d::new(3.0, 2).stride(1).dilation([2, 3]), &image(3, 5, 6)),
        Case::new("stochastic pool 2x2", StochasticPool2d::new(2), &image(3, 4, 6)),
        Case::new(
            "stochastic pool, padded, ceil",
            StochasticPool2d::new(3).stride(2).padding(1).ceil(),
            &image(2, 6, 7),
        ),
        Case::new("mixed pool 2x2", MixedPool2d::new(2), &image(3, 4, 6)),
        Case::new("mixed pool, padded, ceil", MixedPool2d::new(3).stride(2).padding(1).ceil(), &image(2, 6, 7)),
        Case::new(
            "mixed pool, likelier",
            MixedPool2d::new(2).chance_of_maximum(0.3).likelier_in_inference(),
            &image(3, 4, 6),
        ),
        Case::new("spatial pyramid", SpatialPyramidPool::new([4, 2, 1]), &image(2, 6, 7)),
        Case::new("spatial pyramid of means, small plane", SpatialPyramidPool::new([1, 3]).mean(), &image(4, 2, 5)),
    ]
}
