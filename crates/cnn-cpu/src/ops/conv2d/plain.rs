//! Plain loops: each output channel is the sum of its input rows, shifted and scaled by one weight at a time.
//! Takes everything; meant for few output channels a group, depthwise above all, where a matrix product would idle.

use cnn_core::choose::Row;
use cnn_core::layers::Activation;

use super::{Algorithm, Parameters, Problem};
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::threads::Workers;

/// The row of the table.
#[derive(Debug)]
pub struct Plain;

impl Row<Problem> for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn accepts(&self, _problem: &Problem) -> Result<(), String> {
        Ok(())
    }
}

impl Algorithm for Plain {
    /// The loops reach about a twentieth of the peak.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (weight_bytes, moved_bytes) = problem.blocked_bytes(batch);
        Work { macs: 20.0 * problem.macs(batch), weight_bytes, moved_bytes }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        Ok(Prepared::planar(Box::new(PlainKernel {
            problem: problem.clone(),
            weight: parameters.weight.to_vec(),
            bias: parameters.bias.map(<[f32]>::to_vec),
            activation: parameters.activation,
        })))
    }
}

struct PlainKernel {
    problem: Problem,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl Kernel for PlainKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let parameters = Parameters { weight: &self.weight, bias: self.bias.as_deref(), activation: self.activation };
        convolve(&self.problem, parameters, io, workers);
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weight[..])
    }
}

/// The whole convolution of a batch.
pub(super) fn convolve(problem: &Problem, parameters: Parameters<'_>, io: Io<'_>, workers: Workers<'_>) {
    let input = io.inputs[0];
    workers.for_each_chunk(io.output, problem.out_plane(), |index, output| {
        let (n, o) = (index / problem.conv.out_channels, index % problem.conv.out_channels);
        output.fill(parameters.bias.map_or(0.0, |bias| bias[o]));
        let first = n * problem.in_channels + o / problem.group_out() * problem.group_in();
        let weights = &parameters.weight[o * problem.depth()..(o + 1) * problem.depth()];
        let planes = input[first * problem.in_plane()..].chunks(problem.in_plane());
        let taps = problem.plane.rows.kernel * problem.plane.columns.kernel;
        for (plane, weights) in planes.zip(weights.chunks(taps)) {
            add_channel(problem, plane, weights, output);
        }
        if let Some(activation) = parameters.activation {
            output.iter_mut().for_each(|v| *v = activation.apply(*v));
        }
    });
}

/// Adds one input channel's share to an output channel.
fn add_channel(problem: &Problem, input: &[f32], weights: &[f32], output: &mut [f32]) {
    let (rows, columns) = (problem.plane.rows, problem.plane.columns);
    for (tap, &weight) in weights.iter().enumerate() {
        let (ky, kx) = (tap / columns.kernel, tap % columns.kernel);
        let across = columns.outputs(kx);
        if across.is_empty() {
            continue;
        }
        for y in rows.outputs(ky) {
            let output = &mut output[y * columns.output..][across.clone()];
            let input = &input[rows.input_index(y, ky) * columns.input + columns.input_index(across.start, kx)..];
            match columns.stride {
                1 => output.iter_mut().zip(input).for_each(|(o, i)| *o += weight * i),
                stride => output.iter_mut().zip(input.iter().step_by(stride)).for_each(|(o, i)| *o += weight * i),
            }
        }
    }
}
