//! Convolution: the table of its algorithms.

pub mod backward;
mod direct;
mod im2col;
mod linear;
mod panels;
mod plain;

use cnn_core::choose::Row;
use cnn_core::layers::{Activation, Conv2d};
use cnn_core::window::Plane;
use cnn_core::{Misfit, Shape};

pub use direct::Direct;
pub use im2col::{Im2col, Patches};
pub use linear::Linear;
pub use plain::Plain;

use super::{Io, Machine, Prepared};
use crate::layout::Layout;
use crate::threads::Workers;

/// The algorithms, the most wanted first.
pub const TABLE: &[&dyn Algorithm] = &[&Linear, &Direct, &Im2col, &Plain];

/// One way to convolve.
pub trait Algorithm: Row<Problem> + Sync {
    /// Packs the weights. Called only with problems that the row accepts.
    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Prepared;
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
        Ok(Problem { plane, in_channels: input[0], conv: conv.clone(), layout: Layout::Planar, machine: *machine })
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

    /// Elements of one channel of the output.
    pub fn out_plane(&self) -> usize {
        self.plane.rows.output * self.plane.columns.output
    }
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
