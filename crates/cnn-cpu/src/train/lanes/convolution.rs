//! Convolution with a sample in each lane, both ways.

use std::ops::Range;

use cnn_core::layers::Conv2d;
use cnn_core::window::{Axis, Plane};

use super::correlation::{Correlation, Row, sum_channels};
use super::kernels::{Block, LaneKernel, Slopes};
use super::outer::Outer;
use super::sums::{Start, Sums, Tap};
use crate::simd::Instructions;

/// Any convolution.
pub(super) struct Convolution {
    instructions: Instructions,
    lanes: usize,
    /// Of a group: channels, and elements of a channel, of input and output.
    inputs: [usize; 2],
    outputs: [usize; 2],
    plane: Plane,
    forward: Sums,
    to_input: Sums,
    to_weights: Correlation,
    /// Of a group.
    weights: usize,
}

impl Convolution {
    pub(super) fn new(instructions: Instructions, conv: &Conv2d, in_channels: usize, plane: Plane) -> Self {
        let lanes = instructions.lanes();
        let Plane { rows, columns } = plane;
        let (group_in, group_out) = (in_channels / conv.groups, conv.out_channels / conv.groups);
        let taps = rows.kernel * columns.kernel;
        let (depth, width, wide) = (group_in * taps, padded(&columns), spread(&columns));
        let pairs = |channels: usize| (0..channels).flat_map(|c| (0..columns.kernel).map(move |kx| (c, kx)));
        // Forward: the rows of a window that lie inside the input, then channels and columns.
        let lines = |y: usize| {
            let run = |ky| Tap::new(rows.input_index(y, ky) * width * lanes, ky * columns.kernel);
            rows.taps(y).map(run).collect()
        };
        let tap = |(c, kx): (usize, usize)| {
            let value = (c * rows.input * width + kx * columns.dilation) * lanes;
            Tap::new(value, c * taps + kx)
        };
        let forward = ((0..rows.output).map(lines).collect(), pairs(group_in).map(tap).collect());
        // To the input: the outputs that a row reaches, then channels and columns, mirrored.
        let lines = |y: usize| {
            let reach = |ky: usize| output_at(&rows, y, ky).map(|oy| Tap::new(oy * wide * lanes, ky * columns.kernel));
            (0..rows.kernel).filter_map(reach).collect()
        };
        let tap = |(c, kx): (usize, usize)| {
            let value = (c * rows.output * wide + (columns.kernel - 1 - kx) * columns.dilation) * lanes;
            Tap::new(value, c * depth + kx)
        };
        let to_input = ((0..rows.input).map(lines).collect(), pairs(group_out).map(tap).collect());
        let row = |ky: usize| {
            let line = |oy| [rows.input_index(oy, ky) * width * lanes, oy * columns.output * lanes];
            Row { lines: rows.outputs(ky).map(line).collect(), weight: ky * columns.kernel }
        };
        let to_weights = Correlation {
            instructions,
            rows: (0..rows.kernel).map(row).collect(),
            taps: pairs(group_in)
                .map(|(c, kx)| [(c * rows.input * width + kx * columns.dilation) * lanes, c * taps + kx])
                .collect(),
            channels: group_out,
            pixels: columns.output,
            channel_steps: [rows.output * columns.output * lanes, depth],
            pixel_step: columns.stride * lanes,
        };
        Convolution {
            instructions,
            lanes,
            inputs: [group_in, rows.input * columns.input * lanes],
            outputs: [group_out, rows.output * columns.output * lanes],
            plane,
            forward: Sums::new(instructions, forward, [group_out, columns.output], [depth, columns.stride * lanes]),
            to_input: Sums::new(instructions, to_input, [group_in, columns.input], [taps, lanes]),
            to_weights,
            weights: group_out * depth,
        }
    }

    /// Floats of a group's input and output.
    pub(super) fn group_lengths(&self) -> [usize; 2] {
        [self.inputs, self.outputs].map(|[channels, plane]| channels * plane)
    }

    /// The output of a group from its input.
    pub(super) fn group_forward(
        &self,
        group: usize,
        input: &[f32],
        parameters: &[&[f32]],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let input = self.padded(input, scratch);
        let start = parameters.get(1).map_or(Start::Zero, |bias| Start::Bias(&bias[group * self.outputs[0]..]));
        self.forward.run(input, &parameters[0][self.weights_of(group)], start, output);
    }

    /// The gradients of a group's weights and biases, from its input and its output's gradient: written where they are fresh, else added.
    pub(super) fn group_to_parameters(
        &self,
        group: usize,
        (input, dy): (&[f32], &[f32]),
        (parameters, fresh): (&mut [&mut [f32]], bool),
        scratch: &mut [f32],
    ) {
        let input = self.padded(input, scratch);
        self.to_weights.run(input, dy, &mut parameters[0][self.weights_of(group)], fresh);
        if let Some(bias) = parameters.get_mut(1) {
            let channels = self.outputs[0];
            sum_channels(self.instructions, dy, &mut bias[group * channels..][..channels], fresh);
        }
    }

    /// The gradient of a group's input from that of its output: written where it is fresh, else added.
    pub(super) fn group_to_input(
        &self,
        group: usize,
        dy: &[f32],
        parameters: &[&[f32]],
        (dx, fresh): (&mut [f32], bool),
        scratch: &mut [f32],
    ) {
        let dy = self.spread(dy, scratch);
        let start = if fresh { Start::Zero } else { Start::Output };
        self.to_input.run(dy, &parameters[0][self.weights_of(group)], start, dx);
    }

    fn weights_of(&self, group: usize) -> Range<usize> {
        group * self.weights..(group + 1) * self.weights
    }

    /// The input of a group, its lines padded in `scratch` where they have to be.
    fn padded<'a>(&self, input: &'a [f32], scratch: &'a mut [f32]) -> &'a [f32] {
        let columns = self.plane.columns;
        let (before, line, width) = (columns.before, columns.input, padded(&columns));
        if width == line {
            return input;
        }
        let padded = &mut scratch[..self.inputs[0] * self.plane.rows.input * width * self.lanes];
        for (from, to) in input.chunks_exact(line * self.lanes).zip(padded.chunks_exact_mut(width * self.lanes)) {
            to.fill(0.0);
            to[before * self.lanes..][..from.len()].copy_from_slice(from);
        }
        padded
    }

    /// The gradients of a group's output, each line with zeros around and between so that every input pixel meets mirrored
    /// windows of stride 1.
    fn spread<'a>(&self, gradients: &[f32], scratch: &'a mut [f32]) -> &'a [f32] {
        let ([channels, _], columns, lanes) = (self.outputs, &self.plane.columns, self.lanes);
        let width = spread(columns);
        let spread = &mut scratch[..channels * self.plane.rows.output * width * lanes];
        let reach = (columns.kernel - 1) * columns.dilation;
        for (from, to) in gradients.chunks_exact(columns.output * lanes).zip(spread.chunks_exact_mut(width * lanes)) {
            to.fill(0.0);
            for (x, vector) in from.chunks_exact(lanes).enumerate() {
                let place = (x * columns.stride + reach).checked_sub(columns.before);
                if let Some(place) = place.filter(|&place| place < width) {
                    to[place * lanes..][..lanes].copy_from_slice(vector);
                }
            }
        }
        spread
    }
}

/// Vectors that a convolution's padded input and spread gradients take at most, of one group or all.
pub(in crate::train) fn lines_length(plane: &Plane, [inputs, outputs]: [usize; 2]) -> usize {
    let Plane { rows, columns } = plane;
    let lines = |channels: usize, rows: usize, width: usize| channels.saturating_mul(rows).saturating_mul(width);
    lines(inputs, rows.input, padded(columns)).max(lines(outputs, rows.output, spread(columns)))
}

/// Pixels of a padded line.
fn padded(columns: &Axis) -> usize {
    columns.before + columns.input + columns.after
}

/// Pixels of a line of spread gradients.
fn spread(columns: &Axis) -> usize {
    columns.input.saturating_add((columns.kernel - 1).saturating_mul(columns.dilation))
}

/// The output that sees `input` with its tap `tap`.
fn output_at(axis: &Axis, input: usize, tap: usize) -> Option<usize> {
    let place = (input + axis.before).checked_sub(tap * axis.dilation)?;
    (place % axis.stride == 0 && place / axis.stride < axis.output).then_some(place / axis.stride)
}

impl LaneKernel for Convolution {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let lengths = self.group_lengths();
        let groups = block.inputs[0].chunks_exact(lengths[0]).zip(output.chunks_exact_mut(lengths[1]));
        for (group, (input, output)) in groups.enumerate() {
            self.group_forward(group, input, &block.parameters, output, scratch);
        }
    }

    fn backward(&self, block: &Block<'_>, (_, dy): (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, scratch: &mut [f32]) {
        let lengths = self.group_lengths();
        let groups = block.inputs[0].chunks_exact(lengths[0]).zip(dy.chunks_exact(lengths[1]));
        for (group, (input, dy)) in groups.enumerate() {
            if slopes.is_due {
                self.group_to_parameters(group, (input, dy), (slopes.parameters, slopes.fresh), scratch);
            }
            if let Some((dx, fresh)) = &mut slopes.inputs[0] {
                let dx = &mut dx[group * lengths[0]..][..lengths[0]];
                self.group_to_input(group, dy, &block.parameters, (dx, *fresh), scratch);
            }
        }
    }

    fn scratch_length(&self) -> usize {
        lines_length(&self.plane, [self.inputs[0], self.outputs[0]]) * self.lanes
    }
}

/// A fully connected layer, or a convolution whose window is its whole input.
pub(super) struct FullyConnected {
    forward: Sums,
    to_input: Sums,
    to_weights: Outer,
}

impl FullyConnected {
    pub(super) fn new(instructions: Instructions, [inputs, outputs]: [usize; 2]) -> Self {
        let lanes = instructions.lanes();
        let alone = || vec![vec![Tap::new(0, 0)]];
        let forward = (0..inputs).map(|k| Tap::new(k * lanes, k)).collect();
        let to_input = (0..outputs).map(|k| Tap::new(k * lanes, k * inputs)).collect();
        FullyConnected {
            forward: Sums::new(instructions, (alone(), forward), [outputs, 1], [inputs, lanes]),
            to_input: Sums::new(instructions, (alone(), to_input), [inputs, 1], [1, lanes]),
            to_weights: Outer { instructions, inputs, outputs },
        }
    }
}

impl LaneKernel for FullyConnected {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        let start = block.parameters.get(1).map_or(Start::Zero, |bias| Start::Bias(bias));
        self.forward.run(block.inputs[0], block.parameters[0], start, output);
    }

    fn backward(&self, block: &Block<'_>, (_, dy): (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, scratch: &mut [f32]) {
        if slopes.is_due {
            self.to_weights.run(block.inputs[0], dy, slopes.parameters[0], slopes.fresh, scratch);
        }
        if let Some(bias) = slopes.parameters.get_mut(1).filter(|_| slopes.is_due) {
            sum_channels(self.to_weights.instructions, dy, bias, slopes.fresh);
        }
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            let start = if *fresh { Start::Zero } else { Start::Output };
            self.to_input.run(dy, block.parameters[0], start, dx);
        }
    }

    fn scratch_length(&self) -> usize {
        self.to_weights.scratch_length()
    }
}
