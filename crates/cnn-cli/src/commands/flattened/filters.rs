//! Filters of a network's first layer: those of a dense one as they are, those of a flattened one multiplied out, without biases.

use anyhow::{Context, bail};
use cnn::layers::Conv2d;
use cnn::{Layer, Network, Weights};

/// `[count, channels, rows, columns]`.
pub(super) struct Filters {
    pub(super) count: usize,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    values: Vec<f32>,
}

impl Filters {
    /// Those of a network's first layer; of a flattened one, of so many stages.
    pub(super) fn first(network: &Network, weights: &Weights, stages: usize) -> anyhow::Result<Filters> {
        let channels = network.input_shape()[0];
        let mut filters = Filters::identity(channels);
        for (at, node) in network.nodes().iter().enumerate().take(layers(network, stages)) {
            let Layer::Conv2d(conv) = &node.layer else {
                bail!("the first layer of `{}` is no convolution", network.name());
            };
            let values = weights.of_node(network, at)?;
            filters = filters.then(conv, values.first().context("a convolution without weights")?);
        }
        Ok(filters)
    }

    /// A filter a channel that leaves it as it is.
    fn identity(channels: usize) -> Filters {
        let values = (0..channels * channels).map(|i| f32::from(i / channels == i % channels)).collect();
        Filters { count: channels, channels, size: [1, 1], values }
    }

    /// What these filters and then those of `conv` come to.
    fn then(&self, conv: &Conv2d, weight: &[f32]) -> Filters {
        let ([rows, columns], [down, along]) = (self.size, conv.window.kernel);
        let size = [rows + down - 1, columns + along - 1];
        let (in_group, out_group) = (self.count / conv.groups, conv.out_channels / conv.groups);
        let mut values = vec![0.0; conv.out_channels * self.channels * size[0] * size[1]];
        let filters = values.chunks_exact_mut(self.channels * size[0] * size[1]);
        for ((f, filter), taps) in filters.enumerate().zip(weight.chunks_exact(in_group * down * along)) {
            for (i, &tap) in taps.iter().enumerate() {
                let (y, x) = (i / along % down, i % along);
                let before = self.of(f / out_group * in_group + i / (down * along));
                for (j, &value) in before.iter().enumerate() {
                    let (plane, row, column) = (j / (rows * columns), j / columns % rows, j % columns);
                    filter[(plane * size[0] + row + y) * size[1] + column + x] += tap * value;
                }
            }
        }
        Filters { count: conv.out_channels, channels: self.channels, size, values }
    }

    /// The values of one filter, `[channels, rows, columns]`.
    pub(super) fn of(&self, filter: usize) -> &[f32] {
        let length = self.channels * self.size[0] * self.size[1];
        &self.values[filter * length..][..length]
    }

    /// The numbers of the filters with the variance of each, the largest first.
    pub(super) fn by_variance(&self) -> Vec<(usize, f64)> {
        let variance = |values: &[f32]| {
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64
        };
        let mut order: Vec<_> = (0..self.count).map(|filter| (filter, variance(self.of(filter)))).collect();
        order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        order
    }
}

/// How many layers make up the first one.
fn layers(network: &Network, stages: usize) -> usize {
    let nodes = network.nodes();
    let first = nodes[0].name.rsplit_once('.');
    let Some((stage, "lateral" | "vertical" | "horizontal")) = first else { return 1 };
    let Some(layer) = stage.strip_suffix(".0") else { return 1 };
    let shown = |name: &str| {
        let part = name.strip_prefix(layer).and_then(|rest| rest.strip_prefix('.')?.split('.').next());
        part.and_then(|stage| stage.parse::<usize>().ok()).is_some_and(|stage| stage < stages)
    };
    nodes.iter().take_while(|node| shown(&node.name)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn::network::{FilterOrder, FlattenedConv};
    use cnn::{Backend, CompileOptions, Reference, Tensor};

    /// A picture with one pixel shows a layer's filters, turned around.
    #[test]
    fn filters_are_what_the_layers_do_to_a_pixel() {
        for (order, stages) in
            [(FilterOrder::LateralFirst, 1), (FilterOrder::LateralFirst, 2), (FilterOrder::LateralLast, 2)]
        {
            let mut net = Network::builder("n", [3, 17, 17]);
            let conv = FlattenedConv::new(4, [3, 5]).order(order).stages(stages).without_bias();
            net.flattened_conv("conv", &conv).unwrap();
            let network = net.finish().unwrap();
            let weights = Weights::random(&network, 1).unwrap();
            let filters = Filters::first(&network, &weights, stages).unwrap();
            assert_eq!(filters.size, [2 * stages + 1, 4 * stages + 1]);
            let plan = Reference::new().compile(&network, &weights, &CompileOptions::default()).unwrap();
            let mut pixel = Tensor::zeros([1, 3, 17, 17]).unwrap();
            pixel.as_f32_mut().unwrap()[(17 + 8) * 17 + 8] = 1.0;
            let seen = plan.session().unwrap().run(&pixel).unwrap();
            let [rows, columns] = filters.size;
            for filter in 0..4 {
                for (i, value) in filters.of(filter)[rows * columns..][..rows * columns].iter().enumerate() {
                    let at = [8 + rows / 2 - i / columns, 8 + columns / 2 - i % columns];
                    let response = seen.as_f32().unwrap()[(filter * 17 + at[0]) * 17 + at[1]];
                    assert!((response - value).abs() < 1e-5, "{order:?} {stages}: {response} is not {value}");
                }
            }
        }
    }
}
