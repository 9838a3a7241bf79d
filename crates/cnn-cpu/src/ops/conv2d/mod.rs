//! Convolution: the table of its algorithms.

pub mod backward;
mod band;
mod depthwise;
mod direct;
mod direct_planar;
mod fft;
pub mod flattened;
mod im2col;
mod linear;
mod one_dimensional;
mod panels;
mod plain;
mod pointwise;
mod residual;
mod winograd;

use cnn_core::backend::{Ceilings, CompileOptions};
use cnn_core::choose::Row;
use cnn_core::layers::{Activation, Conv2d};
use cnn_core::window::Plane;
use cnn_core::{Misfit, Shape};

pub use depthwise::Depthwise;
pub use direct::Direct;
pub use direct_planar::DirectPlanar;
pub use fft::FourierTransform;
pub use im2col::{Im2col, Patches};
pub use linear::Linear;
pub use one_dimensional::OneDimensional;
pub use plain::Plain;
pub use pointwise::Pointwise;
pub use residual::prepare;
pub use winograd::Winograd;

use super::{Io, Prepared, Work};
use crate::machine::Machine;
use crate::threads::Workers;
use cnn_core::lowering::Layout;

/// The algorithms; of two that should take as long, the first is taken.
pub const TABLE: &[&dyn Algorithm] = &[
    &Linear,
    &Pointwise,
    &Depthwise,
    &OneDimensional,
    &Winograd::F6,
    &Winograd::F4,
    &Winograd::F2,
    &Direct,
    &DirectPlanar,
    &FourierTransform,
    &Im2col,
    &Plain,
];

/// One way to convolve.
pub trait Algorithm: Row<Problem> + Sync {
    /// What it costs to convolve a batch. Called only with problems that the row accepts.
    fn work(&self, problem: &Problem, batch: usize) -> Work;

    /// Packs the weights, or says why these weights will not do. Called only with problems that the row accepts.
    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String>;

    /// Whether its kernels add a residual where the problem has one. [`prepare`] adds it behind those that do not.
    fn adds_residual(&self) -> bool {
        false
    }
}

/// A convolution and the input that it meets.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The layer.
    pub conv: Conv2d,
    /// Channels of the input.
    pub in_channels: usize,
    /// The window on the input.
    pub plane: Plane,
    /// How the input lies in memory; a row may ask for another layout at the price of a copy.
    pub layout: Layout,
    /// Whether 2 x 2 maxima of the output are wanted instead of the output.
    pub pool: bool,
    /// Whether a second input, which lies as the output does, is added before the activation. Never where there is a pooling.
    pub residual: bool,
    /// The largest relative error that an algorithm may add.
    pub tolerance: f32,
    /// What it will run on.
    pub machine: Machine,
}

/// What a convolution multiplies and adds, and what is applied to each result.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    /// `[out_channels, in_channels / groups, kh, kw]`.
    pub weight: &'a [f32],
    /// `[out_channels]`.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Problem {
    /// The layer on a planar input of `[C, H, W]`. Errors where they do not fit.
    pub fn new(conv: &Conv2d, input: &Shape, machine: &Machine) -> Result<Self, Misfit> {
        let plane = conv.plane(input)?;
        Ok(Problem {
            plane,
            in_channels: input[0],
            conv: conv.clone(),
            layout: Layout::Planar,
            pool: false,
            residual: false,
            tolerance: CompileOptions::default().tolerance,
            machine: *machine,
        })
    }

    /// Input channels of a group.
    pub fn group_in(&self) -> usize {
        self.in_channels / self.conv.groups
    }

    /// Output channels of a group.
    pub fn group_out(&self) -> usize {
        self.conv.out_channels / self.conv.groups
    }

    /// Products that one output sums.
    pub fn depth(&self) -> usize {
        self.group_in() * self.plane.rows.kernel * self.plane.columns.kernel
    }

    /// Elements of one channel of the input.
    pub fn in_plane(&self) -> usize {
        self.plane.rows.input * self.plane.columns.input
    }

    /// Bytes of the weights, the input and the output of a batch, in the blocked layout.
    fn blocked_bytes(&self, batch: usize) -> (f64, f64) {
        let lanes = self.machine.instructions().lanes();
        let full = |channels: usize| channels.next_multiple_of(lanes) as f64;
        let weights = 4.0 * full(self.conv.out_channels) * self.depth() as f64;
        let input = full(self.in_channels) * self.in_plane() as f64;
        let output = full(self.conv.out_channels) * self.out_plane() as f64;
        (weights, 4.0 * batch as f64 * (input + output))
    }

    /// Multiply-adds of a batch.
    fn macs(&self, batch: usize) -> f64 {
        batch as f64 * self.conv.out_channels as f64 * self.out_plane() as f64 * self.depth() as f64
    }

    /// Elements of one channel of the output.
    pub fn out_plane(&self) -> usize {
        self.plane.rows.output * self.plane.columns.output
    }
}

/// Ceilings to choose by. Only the ratio of the two decides, and of it only the power of four: what is chosen should not hang on
/// the noise of a measurement.
pub fn rounded(ceilings: Ceilings) -> Ceilings {
    let ratio = ceilings.macs_per_second / ceilings.bytes_per_second;
    let ratio = 4f64.powi(ratio.log(4.0).round() as i32);
    Ceilings { macs_per_second: ratio * ceilings.bytes_per_second, ..ceilings }
}

/// The table, by the time that a batch should take; those that refuse come first, so that their reasons are heard.
pub fn ranked(problem: &Problem, batch: usize, ceilings: Ceilings) -> Vec<(&'static dyn Algorithm, f64)> {
    let rounded = rounded(ceilings);
    let seconds = |row: &dyn Algorithm| match row.accepts(problem) {
        Ok(()) => row.work(problem, batch).seconds(rounded),
        Err(_) => f64::NEG_INFINITY,
    };
    let mut rows: Vec<_> = TABLE.iter().map(|&row| (row, seconds(row))).collect();
    rows.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    rows
}

/// The part of the peak that tiles of so many broadcasts and vectors reach: sums wait for each other where there are fewer
/// than eight, and loads outnumber products where there are few of either.
fn tile_efficiency(broadcasts: usize, vectors: usize) -> f64 {
    let (rows, vectors) = (broadcasts as f64, vectors as f64);
    (rows * vectors / 8.0).min(rows * vectors / (rows + vectors)).min(1.0)
}

/// The rows of each tile where `pixels` in a line are cut into tiles of nearly the same height.
fn even_rows(pixels: usize, highest: usize) -> usize {
    pixels.div_ceil(pixels.div_ceil(highest))
}

/// The forward pass of training: weights change at every step, so they are packed at every step, into `packed`.
pub(crate) fn forward(
    problem: &Problem,
    parameters: Parameters<'_>,
    packed: &mut Vec<f32>,
    io: Io<'_>,
    workers: Workers<'_>,
) {
    let Parameters { weight, bias, activation } = parameters;
    if Im2col.accepts(problem).is_err() {
        return plain::convolve(problem, parameters, io, workers);
    }
    let gemm = problem.machine.gemm;
    packed.resize(im2col::packed_weights(problem, gemm), 0.0);
    im2col::pack_weights(problem, gemm, weight, packed);
    im2col::convolve(problem, gemm, im2col::Packed { weights: packed, bias, activation }, io, workers);
}
