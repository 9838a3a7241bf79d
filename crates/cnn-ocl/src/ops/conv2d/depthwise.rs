//! Depthwise convolution over blocks of channels: a filter a channel, so vectors of pixels meet vectors of weights.

use std::sync::Arc;

use cnn_core::Result;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use super::{Algorithm, Parameters, Prepared, Problem, Work, window};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Memory, Output};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/depthwise", text: include_str!("depthwise.cl") };

/// The row of the table.
#[derive(Debug)]
pub struct Depthwise;

impl Row<Problem> for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match (problem.group_in(), problem.group_out()) {
            (1, 1) => Ok(()),
            (inputs, outputs) => Err(format!("{inputs} to {outputs} channels a group")),
        }
    }
}

#[allow(private_interfaces)]
impl Algorithm for Depthwise {
    /// Two loads for every product.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let waste = problem.full(problem.in_channels) as f64 / problem.in_channels as f64;
        Work { macs: 4.0 * waste * problem.macs(batch), floats: problem.floats(batch) }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let (lanes, channels) = (problem.tuning.lanes, problem.in_channels);
        let taps = problem.depth();
        let blocks = channels.div_ceil(lanes);
        let weights = Buffer::filled(driver, "weights", blocks * taps * lanes, |out| {
            for (i, out) in out.iter_mut().enumerate() {
                let (channel, tap) = (i / lanes / taps * lanes + i % lanes, i / lanes % taps);
                *out = if channel < channels { parameters.weight[channel * taps + tap] } else { 0.0 };
            }
        })?;
        let bias = Buffer::filled(driver, "a bias", blocks * lanes, |out| {
            for (channel, out) in out.iter_mut().enumerate() {
                *out = if channel < channels { parameters.bias_of(channel) } else { 0.0 };
            }
        })?;
        let kernel = DepthwiseKernel {
            plane: problem.plane,
            channels,
            weights: Arc::new(weights),
            bias: Arc::new(bias),
            activation: parameters.activation,
        };
        Ok(Prepared::alike(Box::new(kernel), problem.blocked()))
    }
}

struct DepthwiseKernel {
    plane: Plane,
    channels: usize,
    /// `[block][tap][lanes]`.
    weights: Arc<Buffer>,
    bias: Arc<Buffer>,
    activation: Option<Activation>,
}

impl Kernel for DepthwiseKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let Plane { rows, columns } = &self.plane;
        let (code, parameter) = activation_code(self.activation);
        let program = driver.program(SOURCE, &[("LANES", driver.tuning.lanes as i64), ("ACTIVATION", code)])?;
        let items = [columns.output, rows.output, self.channels.div_ceil(driver.tuning.lanes) * batch];
        let launch = Launch::new(&program, "depthwise", items).group(driver.tuning.line_group());
        Ok(vec![
            launch
                .with([Input(0), Memory(self.weights.clone()), Memory(self.bias.clone()), Output])
                .ints([self.channels, rows.input, columns.input, rows.output, columns.output])
                .ints(window(rows))
                .ints(window(columns))
                .ints([rows.before, columns.before])
                .with([Float(parameter)]),
        ])
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * (self.weights.length() + self.bias.length())
    }
}
