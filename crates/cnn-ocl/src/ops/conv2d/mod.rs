//! Convolution: the table of its algorithms.

#[cfg(feature = "clblast")]
mod clblast;
mod depth_flattened;
mod depthwise;
mod direct;
pub(crate) mod flattened;
mod im2col;
mod winograd;

use std::sync::Arc;

use cnn_core::backend::Precision;
use cnn_core::choose::Row;
use cnn_core::layers::{Activation, Conv2d};
use cnn_core::lowering::{self, Layout};
use cnn_core::window::{Axis, Plane};
use cnn_core::{Misfit, Result, Shape};

#[cfg(feature = "clblast")]
pub use clblast::Clblast;
pub use depth_flattened::DepthFlattened;
pub use depthwise::Depthwise;
pub use direct::{Direct, WorkGroup};
pub use im2col::Im2col;
pub use winograd::Winograd;

use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Kernel;
use crate::tuning::Tuning;

/// The algorithms; of two that should take as long, the first is taken.
pub const TABLE: &[&dyn Algorithm] = &[
    &Winograd::F4,
    &Winograd::F2,
    &Depthwise,
    &DepthFlattened,
    &Im2col,
    #[cfg(feature = "clblast")]
    &Clblast,
    &WorkGroup,
    &Direct,
];

pub(crate) type Prepared = lowering::Prepared<Box<dyn Kernel>>;

/// One way to convolve.
#[allow(private_interfaces)]
pub trait Algorithm: Row<Problem> + Sync {
    /// What it costs to convolve a batch. Called only with problems that the row accepts.
    fn work(&self, problem: &Problem, batch: usize) -> Work;

    /// Packs the weights. Called only with problems that the row accepts.
    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared>;
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
    /// The largest relative error that an algorithm may add.
    pub tolerance: f32,
    /// What values are stored as, and what is computed with.
    pub precision: [Precision; 2],
    /// The parameters of the device's kernels.
    pub tuning: Tuning,
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

impl Parameters<'_> {
    fn bias_of(&self, channel: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[channel])
    }

    /// Weights and bias on the device, in their own order.
    fn as_they_are(&self, driver: &Driver, channels: usize) -> Result<[Arc<Buffer>; 2]> {
        let weights = Buffer::filled(driver, "weights", self.weight.len(), |out| out.copy_from_slice(self.weight))?;
        let bias = Buffer::filled(driver, "a bias", channels, |out| {
            out.iter_mut().enumerate().for_each(|(channel, out)| *out = self.bias_of(channel));
        })?;
        Ok([Arc::new(weights), Arc::new(bias)])
    }
}

/// What an algorithm has to do, in its own way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Multiply-adds, as many as fit into the time that it takes if all else is free.
    pub macs: f64,
    /// Floats that are read and written.
    pub floats: f64,
}

impl Work {
    /// The time that it takes a device, in bytes that it could have read.
    pub fn cost(&self, tuning: &Tuning) -> f64 {
        self.macs / tuning.macs_per_byte + 4.0 * self.floats
    }
}

impl Problem {
    /// The layer on an input of `[C, H, W]`. Errors where they do not fit.
    pub fn new(conv: &Conv2d, input: &Shape, tuning: &Tuning) -> Result<Self, Misfit> {
        Ok(Problem {
            plane: conv.plane(input)?,
            in_channels: input[0],
            conv: conv.clone(),
            layout: Layout::Planar,
            pool: false,
            tolerance: 1e-5,
            precision: [Precision::Single; 2],
            tuning: tuning.clone(),
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

    /// Elements of one channel of the output.
    pub fn out_plane(&self) -> usize {
        self.plane.rows.output * self.plane.columns.output
    }

    /// Elements of one channel of the input.
    fn in_plane(&self) -> usize {
        self.plane.rows.input * self.plane.columns.input
    }

    /// The blocked layout of this device.
    fn blocked(&self) -> Layout {
        Layout::Blocked { lanes: self.tuning.lanes }
    }

    /// Channels and those that fill the last block up.
    fn full(&self, channels: usize) -> usize {
        channels.next_multiple_of(self.tuning.lanes)
    }

    /// Multiply-adds of a batch by the definition.
    fn macs(&self, batch: usize) -> f64 {
        batch as f64 * self.conv.out_channels as f64 * self.out_plane() as f64 * self.depth() as f64
    }

    /// Floats of a batch's input and output in blocks, and the weights.
    fn floats(&self, batch: usize) -> f64 {
        let input = self.full(self.in_channels) * self.in_plane();
        let output = self.full(self.conv.out_channels) * self.out_plane();
        (batch * (input + output) + self.conv.out_channels * self.depth()) as f64
    }

    /// The part of a multiply-add unit's peak that tiles of so many rows reach.
    fn tile_efficiency(&self, rows: usize) -> f64 {
        let (rows, vectors) = (rows as f64, self.tuning.vectors as f64);
        let most = self.tuning.rows as f64;
        (rows / (rows + vectors)) / (most / (most + vectors))
    }
}

/// The table, the cheapest first; those that refuse come before all, so that their reasons are heard.
pub fn ranked(problem: &Problem, batch: usize) -> Vec<(&'static dyn Algorithm, f64)> {
    let cost = |row: &dyn Algorithm| match row.accepts(problem) {
        Ok(()) => row.work(problem, batch).cost(&problem.tuning),
        Err(_) => f64::NEG_INFINITY,
    };
    let mut rows: Vec<_> = TABLE.iter().map(|&row| (row, cost(row))).collect();
    rows.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    rows
}

/// The numbers of an axis that kernels ask for: kernel, stride, dilation.
fn window(axis: &Axis) -> [usize; 3] {
    [axis.kernel, axis.stride, axis.dilation]
}
