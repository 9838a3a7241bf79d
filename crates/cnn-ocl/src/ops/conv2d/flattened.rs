//! The vertical and horizontal filters of a flattened convolution (Jin et al. 2015) in one launch: what lies between them stays in
//! registers. Lateral filters are a product like any other, and keep a launch of their own.

use std::sync::Arc;

use cnn_core::Result;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use super::{Parameters, Prepared, Problem};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Memory, Output};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/flattened", text: include_str!("flattened.cl") };

/// Its name in reports.
pub(crate) const NAME: &str = "conv2d/flattened";

/// The widest horizontal filter: its columns are held in registers.
const WIDEST: usize = 16;

/// Whether two convolutions are a vertical and a horizontal filter a channel that keep the size, nothing between them.
pub(crate) fn accepts([vertical, horizontal]: [&Problem; 2]) -> bool {
    let keeps = |problem: &Problem| {
        let axes = [problem.plane.rows, problem.plane.columns];
        let same = axes.iter().all(|axis| axis.stride == 1 && axis.dilation == 1 && axis.input == axis.output);
        same && problem.group_in() == 1 && problem.group_out() == 1
    };
    let kernel = |problem: &Problem| [problem.plane.rows.kernel, problem.plane.columns.kernel];
    let ([_, 1], [1, width]) = (kernel(vertical), kernel(horizontal)) else { return false };
    keeps(vertical) && keeps(horizontal) && width <= WIDEST
}

/// The kernel of a vertical and a horizontal filter that [`accepts`] has taken.
pub(crate) fn prepare(driver: &Driver, problems: [&Problem; 2], parameters: [Parameters<'_>; 2]) -> Result<Prepared> {
    let [vertical, horizontal] = problems;
    let (lanes, channels) = (vertical.tuning.lanes, vertical.in_channels);
    let (blocks, counts) = (channels.div_ceil(lanes), problems.map(Problem::depth));
    let taps = counts[0] + counts[1];
    let weight = |channel: usize, tap: usize| match tap.checked_sub(counts[0]) {
        None => parameters[0].weight[channel * counts[0] + tap],
        Some(tap) => parameters[1].weight[channel * counts[1] + tap],
    };
    let weights = Buffer::filled(driver, "weights", blocks * taps * lanes, |out| {
        for (i, out) in out.iter_mut().enumerate() {
            let (channel, tap) = (i / lanes / taps * lanes + i % lanes, i / lanes % taps);
            *out = if channel < channels { weight(channel, tap) } else { 0.0 };
        }
    })?;
    let biases = Buffer::filled(driver, "biases", blocks * 2 * lanes, |out| {
        for (i, out) in out.iter_mut().enumerate() {
            let (channel, which) = (i / lanes / 2 * lanes + i % lanes, i / lanes % 2);
            *out = if channel < channels { parameters[which].bias_of(channel) } else { 0.0 };
        }
    })?;
    let kernel = FlattenedKernel {
        plane: Plane { rows: vertical.plane.rows, columns: horizontal.plane.columns },
        channels,
        weights: Arc::new(weights),
        biases: Arc::new(biases),
        activation: parameters[1].activation,
    };
    Ok(Prepared::alike(Box::new(kernel), vertical.blocked()))
}

struct FlattenedKernel {
    plane: Plane,
    channels: usize,
    /// `[block][taps down, then along][lanes]`.
    weights: Arc<Buffer>,
    /// `[block][down, along][lanes]`.
    biases: Arc<Buffer>,
    activation: Option<Activation>,
}

impl Kernel for FlattenedKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        /// Pixels of a work-item: each item makes the columns at its ends again.
        const RUN: usize = 32;
        let Plane { rows, columns } = &self.plane;
        let (code, parameter) = activation_code(self.activation);
        let defines = [
            ("LANES", driver.tuning.lanes as i64),
            ("ACTIVATION", code),
            ("KERNEL_Y", rows.kernel as i64),
            ("KERNEL_X", columns.kernel as i64),
        ];
        let program = driver.program(SOURCE, &defines)?;
        let items = [columns.output.div_ceil(RUN), rows.output, self.channels.div_ceil(driver.tuning.lanes) * batch];
        Ok(vec![
            Launch::new(&program, "flattened", items)
                .with([Input(0), Memory(self.weights.clone()), Memory(self.biases.clone()), Output])
                .ints([self.channels, rows.output, columns.output, rows.before, columns.before, RUN])
                .with([Float(parameter)]),
        ])
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * (self.weights.length() + self.biases.length())
    }
}
