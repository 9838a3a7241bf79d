//! Convolutions of 1x1, the lateral filters of flattened convolutions among them, on devices whose groups of samples are one vector:
//! products over channels that a work-item has copied side by side. Sums are added in the order of `correlation`, which makes
//! what is refused here.

use cnn_core::layers::Activation;
use cnn_core::window::Axis;
use cnn_core::{Layer, Network, Result};

use super::correlation::{shares, tile, weights_tile};
use super::layer::{Site, Work};
use super::place::{Held, Sides};
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Ints4, Workspace};
use crate::kernel::Launch;
use crate::ops::activation_code;
use crate::ops::tiles::even;
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/pointwise", text: concat!(include_str!("samples.cl"), include_str!("pointwise.cl")) };

/// Bytes of the copies, at most: what stays in a second cache.
const COPIES: usize = 640 << 10;

/// Tiles of sums from which on a copy is worth its making.
const TILES: usize = 2;

/// Work-items for each group of samples, at least, so that no thread waits for long.
const ITEMS: usize = 8;

/// A convolution of 1x1 that runs here, in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pointwise {
    outputs: usize,
    depth: usize,
    /// Pixels that are copied at a time for the gradients of weights, and outputs of a work-item there.
    block: [usize; 2],
}

impl Pointwise {
    /// What a node becomes; nothing where it is no convolution of 1x1, or where copies do not fit or do not pay.
    pub(super) fn of(network: &Network, node: usize, driver: &Driver, sides: Sides) -> Option<Self> {
        let (Layer::Conv2d(conv), input) = (&network.nodes()[node].layer, network.input_shapes(node)[0]) else {
            return None;
        };
        let plane = conv.plane(input).ok()?;
        let sees_one = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.input == axis.output;
        let is_product = conv.groups == 1 && sees_one(&plane.rows) && sees_one(&plane.columns);
        // Elsewhere neighbours read what neighbours have read.
        if !is_product || sides.vectors() > 1 {
            return None;
        }
        let (outputs, depth, columns) = (conv.out_channels, input[0], plane.columns.output);
        let room = usize::try_from(driver.traits().local_memory).unwrap_or(usize::MAX).min(COPIES);
        let pays = |outputs: usize, depth: usize| {
            let [tile_outputs, tile_columns] = tile(driver, outputs, columns);
            let items = plane.rows.output * columns.div_ceil(tile_columns);
            let bytes = depth.saturating_mul(tile_columns * sides.samples * size_of::<f32>());
            bytes <= room && outputs >= TILES * tile_outputs && items >= ITEMS
        };
        let block = block(room, sides.samples, columns, [outputs, depth])?;
        (pays(outputs, depth) && pays(depth, outputs)).then_some(Pointwise { outputs, depth, block })
    }
}

/// As many pixels and outputs as there is room for.
fn block(room: usize, samples: usize, columns: usize, [outputs, depth]: [usize; 2]) -> Option<[usize; 2]> {
    const PIXELS: [usize; 2] = [32, 16];
    /// Outputs that share a copy of the input, at least.
    const LEAST: usize = 64;
    PIXELS.iter().find_map(|&pixels| {
        let pixels = even(columns, pixels);
        let vectors = pixels * samples;
        let left = (room / size_of::<f32>()).checked_sub(depth.checked_mul(vectors)?)?;
        let fitting = left / (vectors + depth + 1);
        (fitting >= LEAST.min(outputs)).then(|| [pixels, even(outputs, fitting.min(outputs))])
    })
}

/// One product, by the weights or by the weights turned round.
struct Product<'a> {
    from: &'a Held,
    to: &'a Held,
    /// The value that the sums' activation made, for its derivative.
    seen: &'a Held,
    outputs: usize,
    depth: usize,
    /// From output to output and from depth to depth in the weights.
    filter: [usize; 2],
    bias: Option<usize>,
    activation: Option<Activation>,
    through: Option<Activation>,
    accumulate: bool,
}

impl Product<'_> {
    fn launch(&self, site: &Site<'_>) -> Result<Launch> {
        let (place, depth) = (self.from.place, self.depth);
        let [outputs, columns] = tile(site.driver, self.outputs, place.columns);
        let (code, parameter) = activation_code(self.activation.or(self.through));
        let defines = [
            ("OUTPUTS", outputs as i64),
            ("COLUMNS", columns as i64),
            ("DEPTH", depth as i64),
            ("ACTIVATION", if self.activation.is_some() { code } else { 0 }),
            ("DERIVATIVE", if self.through.is_some() { code } else { 0 }),
            ("ACCUMULATE", i64::from(self.accumulate)),
        ];
        let program = site.program(SOURCE, &defines)?;
        let bias = self.bias.map_or(-1, |bias| bias as i32);
        let weights = [site.offset(0) as i32, bias, self.filter[0] as i32, self.filter[1] as i32];
        Ok(site
            .launch(&program, "pointwise", [place.rows * place.columns.div_ceil(columns), site.groups])
            .with([self.from.memory(), site.weights(), self.to.memory(), self.seen.memory()])
            .with([self.from, self.to, self.seen].map(|held| held.place.argument()))
            .with([Ints4([place.rows, place.columns, self.outputs, depth].map(|n| n as i32))])
            .with([Ints4(weights), Float(parameter)]))
    }
}

pub(super) fn forward(site: &Site<'_>, pointwise: Pointwise) -> Result<Work> {
    let Pointwise { outputs, depth, .. } = pointwise;
    let product = Product {
        from: &site.inputs[0],
        to: &site.output,
        seen: &site.output,
        outputs,
        depth,
        filter: [depth, 1],
        bias: site.has_bias().then(|| site.offset(1)),
        activation: site.activation,
        through: None,
        accumulate: false,
    };
    Ok(Work::of(vec![product.launch(site)?]))
}

pub(super) fn backward(site: &Site<'_>, pointwise: Pointwise) -> Result<Work> {
    let mut work = weights(site, pointwise)?;
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(work) };
    let Pointwise { outputs, depth, .. } = pointwise;
    let product = Product {
        from: &site.gradient,
        to,
        seen: &site.inputs[0],
        outputs: depth,
        depth: outputs,
        filter: [1, depth],
        bias: None,
        activation: None,
        through: flow.through,
        accumulate: flow.accumulate,
    };
    work.launches.push(product.launch(site)?);
    Ok(work)
}

/// The gradients of weights and biases.
fn weights(site: &Site<'_>, pointwise: Pointwise) -> Result<Work> {
    /// Sums apart, at least and at most where there are as many rows.
    const SHARES: [usize; 2] = [16, 64];
    let Pointwise { outputs, depth, block: [pixels, block] } = pointwise;
    let (input, gradient) = (&site.inputs[0], &site.gradient);
    let place = input.place;
    let [tile_outputs, tile_depth, _] = weights_tile(site.driver, [block, depth, 1]);
    let (lines, total) = (place.rows * site.groups, outputs * (depth + usize::from(site.has_bias())));
    let length = lines.div_ceil(shares(lines, total).clamp(SHARES[0], SHARES[1]));
    let shares = lines.div_ceil(length);
    let defines = [
        ("PIXELS", pixels as i64),
        ("BLOCK", block as i64),
        ("DEPTH", depth as i64),
        ("TILE_OUTPUTS", tile_outputs as i64),
        ("TILE_DEPTH", tile_depth as i64),
    ];
    let program = site.program(SOURCE, &defines)?;
    let of_shares = [lines, length, usize::from(site.has_bias()), total];
    let launch = site
        .launch(&program, "pointwise_weights", [outputs.div_ceil(block), shares])
        .with([input.memory(), gradient.memory(), Workspace(0), place.argument(), gradient.place.argument()])
        .with([Ints4([place.rows, place.columns, outputs, depth].map(|n| n as i32))])
        .with([Ints4(of_shares.map(|n| n as i32))]);
    Ok(Work { launches: vec![launch, site.gather(total, shares)?], workspace: shares * total })
}
