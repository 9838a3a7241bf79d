//! Depthwise convolution over the blocked layout: a filter a channel, so a vector holds the same pixel of as many channels
//! as it has lanes and meets a vector of their weights. Nothing is reused but the input, so memory and loads set the pace.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use super::{Algorithm, Parameters, Problem};
use crate::memory::Buffer;
use crate::ops::elementwise::apply;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::Workers;

/// The row of the table.
#[derive(Debug)]
pub struct Depthwise;

/// Pixels that are summed at a time.
const PIXELS: usize = 8;

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

impl Algorithm for Depthwise {
    /// A load for every product: half the peak at most.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (weight_bytes, moved_bytes) = problem.blocked_bytes(batch);
        let lanes = problem.machine.instructions().lanes();
        let waste = problem.in_channels.next_multiple_of(lanes) as f64 / problem.in_channels as f64;
        Work { macs: 2.0 * waste * problem.macs(batch), weight_bytes, moved_bytes }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        let instructions = problem.machine.instructions();
        let lanes = instructions.lanes();
        let taps = problem.plane.rows.kernel * problem.plane.columns.kernel;
        let blocks = problem.in_channels.div_ceil(lanes);
        let (mut weights, mut bias) = (Buffer::zeroed(blocks * taps * lanes), Buffer::zeroed(blocks * lanes));
        for (c, filter) in parameters.weight.chunks(taps).enumerate() {
            for (tap, &value) in filter.iter().enumerate() {
                weights[(c / lanes * taps + tap) * lanes + c % lanes] = value;
            }
        }
        if let Some(values) = parameters.bias {
            bias[..values.len()].copy_from_slice(values);
        }
        let kernel =
            DepthwiseKernel { instructions, plane: problem.plane, weights, bias, activation: parameters.activation };
        Ok(Prepared::alike(Box::new(kernel), problem.machine.blocked()))
    }
}

struct DepthwiseKernel {
    instructions: Instructions,
    plane: Plane,
    /// `[block][tap][lanes]`.
    weights: Buffer,
    bias: Buffer,
    activation: Option<Activation>,
}

impl Kernel for DepthwiseKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.instructions, s => self.convolve(s, io, workers));
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }
}

impl DepthwiseKernel {
    fn convolve<S: Simd>(&self, s: S, io: Io<'_>, workers: Workers<'_>) {
        const PIECES: usize = 4;
        let Plane { rows, columns } = self.plane;
        let (line, in_plane) = (columns.output * S::LANES, rows.input * columns.input * S::LANES);
        let blocks = self.bias.len() / S::LANES;
        let taps = rows.kernel * columns.kernel * S::LANES;
        let input = io.inputs[0];
        let extents = [io.batch * blocks, rows.output, line];
        workers.for_each_block(io.output, extents, [1, rows.output.div_ceil(PIECES), line], |mut out| {
            let plane = out.planes().start;
            let block = plane % blocks;
            for (i, y) in out.rows().enumerate() {
                let output = out.line(0, i);
                s.vectorize(Line {
                    kernel: self,
                    input: &input[plane * in_plane..][..in_plane],
                    weights: &self.weights[block * taps..][..taps],
                    bias: &self.bias[block * S::LANES..][..S::LANES],
                    y,
                    output,
                });
                if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
                    apply(s, activation, output);
                }
            }
        });
    }
}

/// One row of one block of channels.
struct Line<'a> {
    kernel: &'a DepthwiseKernel,
    input: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    y: usize,
    output: &'a mut [f32],
}

impl<S: Simd> Task<S> for Line<'_> {
    #[inline(always)]
    fn run(mut self, s: S) {
        let columns = self.kernel.plane.columns;
        // The windows whose every tap lies inside.
        let inside = columns.outputs(0).start..columns.outputs(columns.kernel - 1).end;
        let mut x = 0;
        while x < columns.output {
            if inside.start <= x && x + PIXELS <= inside.end {
                self.pixels::<S, PIXELS>(s, x, (0, columns.kernel));
                x += PIXELS;
            } else {
                let taps = columns.taps(x);
                self.pixels::<S, 1>(s, x, (taps.start, taps.end));
                x += 1;
            }
        }
    }
}

impl Line<'_> {
    /// `N` pixels from `x` on, over some taps of a row.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize>(&mut self, s: S, x: usize, (first, end): (usize, usize)) {
        let Plane { rows, columns } = self.kernel.plane;
        let mut sums = [s.load(self.bias); N];
        let taps_y = rows.taps(self.y);
        let mut ky = taps_y.start;
        while ky < taps_y.end {
            let row = rows.input_index(self.y, ky) * columns.input;
            let mut kx = first;
            while kx < end {
                let weight = s.load(&self.weights[(ky * columns.kernel + kx) * S::LANES..]);
                let pixels = &self.input[(row + columns.input_index(x, kx)) * S::LANES..];
                for n in 0..N {
                    sums[n] = s.mul_add(s.load(&pixels[n * columns.stride * S::LANES..]), weight, sums[n]);
                }
                kx += 1;
            }
            ky += 1;
        }
        let relu = self.kernel.activation == Some(Activation::Relu);
        for n in 0..N {
            let sum = if relu { s.relu(sums[n]) } else { sums[n] };
            s.store(&mut self.output[(x + n) * S::LANES..], sum);
        }
    }
}
