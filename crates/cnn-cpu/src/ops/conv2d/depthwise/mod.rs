//! Depthwise convolution over the blocked layout: a filter a channel, so a vector holds the same pixel of as many channels
//! as it has lanes and meets a vector of their weights. Nothing is reused but the input, so memory sets the pace where planes are large. `line.rs` is the loop.

mod line;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use self::line::{Filters, Line};
use super::{Algorithm, Parameters, Problem};
use crate::memory::Buffer;
use crate::ops::elementwise::{apply, has_vectors};
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::{Block, Workers};

/// The row of the table.
#[derive(Debug)]
pub struct Depthwise;

/// About how many products of vectors one piece of work sums: some hundred nanoseconds, ten times what it costs to take a piece.
const PIECE: usize = 1 << 10;

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
    /// A load for every product, or every few of them; what else there is to do takes a quarter of the time.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (weight_bytes, moved_bytes) = problem.blocked_bytes(batch);
        let lanes = problem.machine.instructions().lanes();
        let waste = problem.in_channels.next_multiple_of(lanes) as f64 / problem.in_channels as f64;
        Work { macs: 1.25 * waste * problem.macs(batch), weight_bytes, moved_bytes }
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
        let Plane { rows, columns } = self.plane;
        let extents = [io.batch * self.bias.len() / S::LANES, rows.output, columns.output * S::LANES];
        // Some rows of a large plane, or some small planes.
        let products = columns.output * rows.kernel * columns.kernel;
        let step = PIECE.div_ceil(products).min(rows.output);
        let planes = (PIECE / (products * rows.output)).max(1);
        let input = io.inputs[0];
        workers.for_each_block(io.output, extents, [planes, step, extents[2]], |mut block| {
            s.vectorize(Piece { kernel: self, input, block: &mut block });
            if let Some(activation) = self.activation.filter(|a| !has_vectors(*a)) {
                for plane in 0..block.planes().len() {
                    (0..block.rows().len()).for_each(|row| apply(s, activation, block.line(plane, row)));
                }
            }
        });
    }

    /// The filters of a block of channels.
    fn filters<S: Simd>(&self, block: usize) -> Filters<'_> {
        let length = self.plane.rows.kernel * self.plane.columns.kernel * S::LANES;
        Filters { weights: &self.weights[block * length..][..length], bias: &self.bias[block * S::LANES..][..S::LANES] }
    }
}

/// What one piece of work writes: some rows of some blocks of channels.
struct Piece<'a, 'b> {
    kernel: &'a DepthwiseKernel,
    input: &'a [f32],
    block: &'a mut Block<'b>,
}

impl<S: Simd> Task<S> for Piece<'_, '_> {
    #[inline(always)]
    fn run(self, s: S) {
        let Piece { kernel, input, block } = self;
        let Plane { rows, columns } = kernel.plane;
        let (in_plane, blocks) = (rows.input * columns.input * S::LANES, kernel.bias.len() / S::LANES);
        for (i, plane) in block.planes().enumerate() {
            let filters = kernel.filters::<S>(plane % blocks);
            let input = &input[plane * in_plane..][..in_plane];
            for (j, y) in block.rows().enumerate() {
                let line = Line { window: &kernel.plane, filters, activation: kernel.activation, input, y };
                line.run(s, block.line(i, j));
            }
        }
    }
}
