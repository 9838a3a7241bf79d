//! The layers that a convolution becomes, what they cost, and their weights.

use cnn_core::layers::Conv2d;
use cnn_core::window::{Padding, Window};
use cnn_core::{Layer, Network, Shape, ValueId, Weights};
use nalgebra::DMatrix;

use super::Cost;
use crate::Result;
use crate::decompose::{Factors, Kernel};

/// The first layer's name behind that of the convolution: where weights hold it, the convolution was flattened.
const FIRST: &str = "0.lateral";

/// The layers of so many terms, with the last part of their names, in the order in which they run.
pub(super) fn layers(conv: &Conv2d, rank: usize) -> Vec<(&'static str, Conv2d)> {
    let Window { kernel: [kh, kw], stride, padding: Padding { top, left, bottom, right }, dilation } = conv.window;
    let filter = |kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]| {
        Conv2d::new(rank, kernel).stride(stride).padding(padding).dilation(dilation).groups(rank).without_bias()
    };
    let whole = Conv2d { window: conv.window, ..filter([kh, kw], stride, [0; 4]) };
    let mut layers = vec![(FIRST, Conv2d::new(rank, 1).without_bias())];
    match (kh, kw) {
        (1, _) => layers.push(("0.horizontal", whole)),
        (_, 1) => layers.push(("0.vertical", whole)),
        _ => layers.extend([
            ("0.vertical", filter([kh, 1], [stride[0], 1], [top, 0, bottom, 0])),
            ("0.horizontal", filter([1, kw], [1, stride[1]], [0, left, 0, right])),
        ]),
    }
    layers.push(("1.lateral", Conv2d { bias: conv.bias, ..Conv2d::new(conv.out_channels, 1) }));
    layers
}

/// What convolutions that follow each other cost.
pub(super) fn cost(layers: &[(&str, Conv2d)], input: &Shape) -> Result<Cost> {
    let mut net = Network::builder("layers", input.clone());
    for (name, layer) in layers {
        net.push(*name, layer.clone())?;
    }
    let net = net.finish()?;
    Ok(Cost { parameters: net.parameter_count(), flops: net.flops() })
}

/// The number of terms up to which a convolution's layers take fewer multiply-adds than it does.
pub(super) fn most_terms(dense: Cost, conv: &Conv2d, input: &Shape) -> Result<usize> {
    let term = cost(&layers(conv, 1), input)?;
    Ok(usize::try_from(dense.flops.saturating_sub(1) / term.flops.max(1)).unwrap_or(usize::MAX))
}

/// The network that weights of a compressed one belong to: each convolution that they hold no `weight` of, but the layers
/// that [`flatten`](crate::flatten()) made of it, becomes those. All else stays as it is, names and branches too; so does
/// the whole network where nothing was compressed. Errors where a tensor's shape makes no layer; the others are left to
/// [`Weights::check`].
pub fn rebuild(network: &Network, weights: &Weights) -> Result<Network> {
    let mut net = Network::builder(network.name(), network.input_shape().clone());
    let mut values = vec![ValueId::INPUT];
    for node in network.nodes() {
        let mut inputs: Vec<ValueId> = node.inputs.iter().map(|value| values[value.index()]).collect();
        match (&node.layer, flattened_rank(&node.name, weights)) {
            (Layer::Conv2d(conv), Some(rank)) => {
                for (part, layer) in layers(conv, rank) {
                    inputs = vec![net.push_with(format!("{}.{part}", node.name), layer, &inputs)?];
                }
                values.extend(inputs);
            }
            _ => values.push(net.push_with(&node.name, node.layer.clone(), &inputs)?),
        }
    }
    Ok(net.finish()?)
}

/// The number of terms of a flattened layer; nothing of one that is as it was.
fn flattened_rank(name: &str, weights: &Weights) -> Option<usize> {
    match weights.get(&format!("{name}.weight")) {
        Some(_) => None,
        None => weights.get(&format!("{name}.{FIRST}.weight"))?.shape.first().copied(),
    }
}

/// The weights of the layers that a convolution became. What a term counts is spread evenly over them, so that none learns
/// much faster than the others; directions of length 1 are in the last.
pub(super) struct Stored {
    modes: [DMatrix<f32>; 4],
}

impl Stored {
    pub(super) fn new(kernel: &Kernel, factors: &Factors) -> Stored {
        let long = |mode: usize| mode < 2 || kernel.extents[mode] > 1;
        let count = (0..4).filter(|&mode| long(mode)).count();
        let shares = factors.weights.map(|weight| (weight * kernel.norm).powf(1.0 / count as f64));
        let mut modes = factors.modes.clone();
        for term in 0..factors.rank() {
            for mode in 0..4 {
                match long(mode) {
                    true => modes[mode].column_mut(term).scale_mut(shares[term]),
                    // 1 or -1.
                    false => {
                        let sign = std::mem::replace(&mut modes[mode][(0, term)], 1.0);
                        modes[0].column_mut(term).scale_mut(sign);
                    }
                }
            }
        }
        Stored { modes: modes.map(|mode| mode.map(|value| value as f32)) }
    }

    /// As they are stored, of weights scaled by `norm`.
    pub(super) fn factors(&self, norm: f64) -> Factors {
        let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
        let modes = self.modes.each_ref().map(|mode| mode.map(f64::from));
        let weights = nalgebra::DVector::from_element(modes[0].ncols(), scale);
        Factors { modes, weights }
    }

    /// The weights of each layer, in the order in which they run.
    pub(super) fn values(&self) -> impl Iterator<Item = Vec<f32>> {
        let [filters, channels, rows, columns] = &self.modes;
        let [vertical, horizontal] = [rows, columns].map(|mode| (mode.nrows() > 1).then(|| mode.clone()));
        let all = [Some(channels.clone()), vertical, horizontal, Some(filters.transpose())];
        all.into_iter().flatten().map(|mode| mode.as_slice().to_vec())
    }
}
