//! What several networks are built of.

use cnn_core::layers::{BatchNorm2d, Conv2d, Resample};
use cnn_core::window::bin;
use cnn_core::{NetworkBuilder, ValueId};

use crate::Result;

/// Classes of ImageNet.
pub(crate) const CLASSES: usize = 1000;

/// A convolution without bias, and batch normalisation behind it, under these two names.
pub(crate) fn conv_norm(
    net: &mut NetworkBuilder,
    names: [&str; 2],
    conv: Conv2d,
    norm: BatchNorm2d,
    input: ValueId,
) -> Result<ValueId> {
    net.push_with(names[0], conv.without_bias(), &[input])?;
    Ok(net.push(names[1], norm)?)
}

/// Mean over windows that bring a value to these rows and columns, as PyTorch's adaptive pooling lays them. Adds nothing where the value is of that size.
pub(crate) fn adaptive_mean(
    net: &mut NetworkBuilder,
    name: &str,
    extents: [usize; 2],
    input: ValueId,
) -> Result<ValueId> {
    let mut x = input;
    for ((axis, part), to) in [(1, "rows"), (2, "columns")].into_iter().zip(extents) {
        let from = net.shape(x)[axis];
        if from != to {
            x = net.push_with(format!("{name}.{part}"), Resample::new(axis, means(from, to)), &[x])?;
        }
    }
    Ok(x)
}

fn means(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    (0..to).map(|i| bin(from, to, i)).map(|w| w.clone().map(|place| (place, 1.0 / w.len() as f32)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_adaptive_pooling_are_pytorchs() {
        let third = 1.0 / 3.0;
        assert_eq!(means(4, 2), [[(0, 0.5), (1, 0.5)], [(2, 0.5), (3, 0.5)]]);
        assert_eq!(means(5, 2), [[(0, third), (1, third), (2, third)], [(2, third), (3, third), (4, third)]]);
        assert_eq!(means(2, 3), [vec![(0, 1.0)], vec![(0, 0.5), (1, 0.5)], vec![(1, 1.0)]]);
        assert_eq!(means(1, 2), [[(0, 1.0)], [(0, 1.0)]]);
    }
}
