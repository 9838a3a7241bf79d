//! The vertical and the horizontal filters of a flattened convolution (Jin et al. 2015) in one launch, forward and backward. What lies
//! between them is linear in what the vertical ones read, so it is not kept: the backward pass computes it again. Lateral filters
//! are products, which `pointwise` or `correlation` makes.

use std::sync::Arc;

use cnn_core::window::Axis;
use cnn_core::{Layer, Network, Result};

use super::layer::{Site, Work};
use crate::driver::Driver;
use crate::kernel::Argument::{self, Float, Ints2, Ints4, Workspace};
use crate::ops::activation_code;
use crate::ops::tiles::even;
use crate::program::{Program, Source};

const SOURCE: Source =
    Source { name: "train/flattened", text: concat!(include_str!("samples.cl"), include_str!("flattened.cl")) };

/// The longest filter: its numbers are held in registers.
const LONGEST: usize = 16;

/// Bytes of the band of gradients between the filters, at most: what a first cache has room for beside rows that are read.
const BAND: u64 = 32 << 10;

/// Work-items of the backward pass for each group of samples, at least, where there are as many columns.
const ITEMS: usize = 16;

/// Two filters a channel, at the node of the horizontal one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// The node of the vertical one.
    pub(super) vertical: usize,
    rows: Axis,
    columns: Axis,
    /// Columns that a work-item goes down at most.
    width: usize,
}

impl Pair {
    /// The pair that a node is the second of, where the first's output has no other reader: filters that keep the size, and of whose
    /// gradients the device's local memory holds the rows that a vertical filter sees.
    pub(super) fn of(network: &Network, node: usize, driver: &Driver, samples: usize) -> Option<Self> {
        let vertical = network.nodes()[node].inputs[0].index().checked_sub(1)?;
        let ([rows, Axis { kernel: 1, .. }], [Axis { kernel: 1, .. }, columns]) =
            (axes(network, vertical)?, axes(network, node)?)
        else {
            return None;
        };
        let column = rows.kernel * samples * size_of::<f32>();
        let width = BAND.min(driver.traits().local_memory) as usize / column;
        (width > 0).then_some(Pair { vertical, rows, columns, width })
    }

    fn program(&self, site: &Site<'_>, defines: &[(&str, i64)]) -> Result<Arc<Program>> {
        let own = [
            ("KERNEL_Y", self.rows.kernel as i64),
            ("KERNEL_X", self.columns.kernel as i64),
            ("TOP", self.rows.before as i64),
            ("LEFT", self.columns.before as i64),
        ];
        site.program(SOURCE, &[&own, defines].concat())
    }

    /// Where both filters' weights and biases begin.
    fn filters(&self, site: &Site<'_>) -> Argument {
        let places = [self.vertical, site.node].map(|node| {
            let offset = |place: usize| site.parameters.offset(node, place) as i32;
            [offset(0), if site.has_bias_at(node) { offset(1) } else { -1 }]
        });
        Ints4([places[0][0], places[0][1], places[1][0], places[1][1]])
    }
}

/// Rows and columns of a convolution with a filter a channel that keeps the size.
fn axes(network: &Network, node: usize) -> Option<[Axis; 2]> {
    let (Layer::Conv2d(conv), input) = (&network.nodes()[node].layer, network.input_shapes(node)[0]) else {
        return None;
    };
    let plane = conv.plane(input).ok()?;
    let axes = [plane.rows, plane.columns];
    let keeps = |axis: &Axis| {
        axis.stride == 1 && axis.dilation == 1 && axis.input == axis.output && (1..=LONGEST).contains(&axis.kernel)
    };
    let alone = conv.groups == input[0] && conv.out_channels == input[0];
    (alone && axes.iter().all(keeps)).then_some(axes)
}

pub(super) fn forward(site: &Site<'_>, pair: Pair) -> Result<Work> {
    let (input, output) = (&site.inputs[0], &site.output);
    let (code, parameter) = activation_code(site.activation);
    let program = pair.program(site, &[("ACTIVATION", code)])?;
    let launch = site
        .launch(&program, "flattened", [output.place.rows, output.place.channels * site.groups])
        .with([input.memory(), site.weights(), output.memory(), input.place.argument(), output.place.argument()])
        .with([output.place.extents(0), pair.filters(site), Float(parameter)]);
    Ok(Work::of(vec![launch]))
}

pub(super) fn backward(site: &Site<'_>, pair: Pair) -> Result<Work> {
    let (input, gradient) = (&site.inputs[0], &site.gradient);
    let place = input.place;
    // Nothing is written where the input's gradient is not wanted.
    let to = site.input_gradients[0].as_ref();
    let flow = site.flows[0].filter(|_| to.is_some());
    let (code, parameter) = activation_code(flow.and_then(|flow| flow.through));
    // Few channels are cut into more parts, so that no thread waits for long.
    let parts = ITEMS.div_ceil(place.channels).min(place.columns);
    let width = even(place.columns, pair.width.min(place.columns.div_ceil(parts)));
    let defines = [
        ("WIDTH", width as i64),
        ("WANT_DX", i64::from(flow.is_some())),
        ("DERIVATIVE", code),
        ("ACCUMULATE", i64::from(flow.is_some_and(|flow| flow.accumulate))),
    ];
    let program = pair.program(site, &defines)?;
    let tiles = place.columns.div_ceil(width);
    let length = |node: usize, axis: Axis| place.channels * (axis.kernel + usize::from(site.has_bias_at(node)));
    let lengths = [length(pair.vertical, pair.rows), length(site.node, pair.columns)];
    let to = to.unwrap_or(gradient);
    let launch = site
        .launch(&program, "flattened_backward", [tiles, place.channels * site.groups])
        .with([input.memory(), site.weights(), gradient.memory(), to.memory(), Workspace(0)])
        .with([place.argument(), gradient.place.argument(), to.place.argument(), place.extents(0)])
        .with([pair.filters(site), Ints2(lengths.map(|length| length as i32)), Float(parameter)]);
    let count = site.groups * tiles * site.sides.vectors();
    let gathers = [
        site.gather_from(0, [lengths[0], count], site.parameters.offset(pair.vertical, 0))?,
        site.gather_from(count * lengths[0], [lengths[1], count], site.offset(0))?,
    ];
    let launches = [launch].into_iter().chain(gathers).collect();
    Ok(Work { launches, workspace: count * (lengths[0] + lengths[1]) })
}
