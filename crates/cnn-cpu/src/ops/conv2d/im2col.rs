//! Convolution as a matrix product (Chellapilla et al. 2006): weights `[O, C kh kw]` times the patches under each
//! output pixel, `[C kh kw, H' W']`. The patches are never whole in memory: each piece of work packs the columns and
//! the block of depth that it is about to multiply, straight into the panels that the micro-kernel reads.

use std::ops::Range;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;

use super::{Algorithm, Parameters, Problem};
use crate::gemm::{Bias, Epilogue, Gemm, Matrix, Panels, Pass, pack, packed_length};
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::threads::Workers;

/// The row of the table.
#[derive(Debug)]
pub struct Im2col;

/// A tile of the product is several rows high; with fewer output channels most of it is thrown away.
const FEWEST_ROWS: usize = 3;

impl Row<Problem> for Im2col {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match problem.group_out() {
            rows if rows < FEWEST_ROWS => Err(format!("{rows} output channels a group are too few for a tile")),
            _ => Ok(()),
        }
    }
}

impl Algorithm for Im2col {
    /// The product reaches about six tenths of the peak, as panels are copied and narrow; each patch is written and read.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (weight_bytes, ends) = problem.blocked_bytes(batch);
        let patches = (batch * problem.conv.groups * problem.depth() * problem.out_plane()) as f64;
        let tile = problem.machine.gemm.kernel;
        let full = |extent: usize, of: usize| extent.next_multiple_of(of) as f64 / extent as f64;
        let waste = full(problem.group_out(), tile.rows) * full(problem.out_plane(), tile.columns);
        Work { macs: waste / 0.6 * problem.macs(batch), weight_bytes, moved_bytes: 8.0 * patches + ends }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        let gemm = problem.machine.gemm;
        let mut weights = vec![0.0; packed_weights(problem, gemm)];
        pack_weights(problem, gemm, parameters.weight, &mut weights);
        let bias = parameters.bias.map(<[f32]>::to_vec);
        Ok(Prepared::planar(Box::new(Im2colKernel {
            problem: problem.clone(),
            gemm,
            weights,
            bias,
            activation: parameters.activation,
        })))
    }
}

struct Im2colKernel {
    problem: Problem,
    gemm: Gemm,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl Kernel for Im2colKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let bias = self.bias.as_deref();
        convolve(
            &self.problem,
            self.gemm,
            Packed { weights: &self.weights, bias, activation: self.activation },
            io,
            workers,
        );
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    fn scratch_length(&self) -> usize {
        self.gemm.block_length(block_width(&self.problem, self.gemm))
    }
}

/// Weights as [`pack_weights`] leaves them, and what follows the product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Option<Activation>,
}

/// Floats that [`pack_weights`] writes.
pub(super) fn packed_weights(problem: &Problem, gemm: Gemm) -> usize {
    problem.conv.groups * packed_length(problem.group_out(), problem.depth(), gemm.kernel.rows)
}

/// Packs `[O, C / groups, kh, kw]`, one group after the other.
pub(super) fn pack_weights(problem: &Problem, gemm: Gemm, weight: &[f32], packed: &mut [f32]) {
    let (rows, depth) = (problem.group_out(), problem.depth());
    let groups = packed.chunks_mut(packed_length(rows, depth, gemm.kernel.rows));
    for (packed, weight) in groups.zip(weight.chunks(rows * depth)) {
        pack(Matrix::new(weight, rows, depth), gemm.kernel.rows, packed);
    }
}

/// Output pixels that one piece of work makes: what the caches hold, or less where that would make few pieces.
fn block_width(problem: &Problem, gemm: Gemm) -> usize {
    const PIECES: usize = 8;
    let even = problem.out_plane().div_ceil(PIECES).next_multiple_of(gemm.kernel.columns);
    even.min(gemm.blocking.columns)
}

/// The whole convolution of a batch.
pub(super) fn convolve(problem: &Problem, gemm: Gemm, packed: Packed<'_>, io: Io<'_>, workers: Workers<'_>) {
    let (rows, depth, groups) = (problem.group_out(), problem.depth(), problem.conv.groups);
    let (width, group_input) = (block_width(problem, gemm), problem.group_in() * problem.in_plane());
    let group_weights = packed_length(rows, depth, gemm.kernel.rows);
    let input = io.inputs[0];
    let extents = [io.batch * groups, rows, problem.out_plane()];
    workers.for_each_block(io.output, extents, [1, rows, width], |mut block| {
        let matrix = block.planes().start;
        let group = matrix % groups;
        let patches = Patches { problem, input: &input[matrix * group_input..(matrix + 1) * group_input] };
        let weights = &packed.weights[group * group_weights..(group + 1) * group_weights];
        let weights = Panels::new(weights, gemm.kernel.rows, depth);
        let bias = packed.bias.map_or(Bias::None, |bias| Bias::Rows(&bias[group * rows..(group + 1) * rows]));
        let epilogue = Epilogue { bias, activation: packed.activation };
        let columns = block.columns();
        workers.scratch(gemm.block_length(columns.len()), |scratch| {
            for start in (0..depth).step_by(gemm.blocking.depth) {
                let part = start..(start + gemm.blocking.depth).min(depth);
                patches.pack(part.clone(), columns.clone(), gemm.kernel.columns, scratch);
                let b = Panels::new(scratch, gemm.kernel.columns, part.len());
                let pass = Pass { first: start == 0, last: part.end == depth, epilogue };
                gemm.multiply_block(weights.at_depth(part), b, &mut block, pass);
            }
        });
    });
}

/// The patches of one group of one image, as the matrix `[C kh kw, H' W']` that is never whole in memory.
#[derive(Debug, Clone, Copy)]
pub struct Patches<'a> {
    /// The convolution.
    pub problem: &'a Problem,
    /// The group's input channels.
    pub input: &'a [f32],
}

impl Patches<'_> {
    /// Packs the given rows and columns into panels of `width` columns. Padding becomes zeros.
    pub fn pack(&self, rows: Range<usize>, columns: Range<usize>, width: usize, panels: &mut [f32]) {
        let length = columns.len().next_multiple_of(width) * rows.len();
        let panels = &mut panels[..length];
        panels.fill(0.0);
        for_each_run(self.problem, rows, columns, width, |run| {
            let (lanes, input) = (&mut panels[run.packed..run.packed + run.length], &self.input[run.input..]);
            match self.problem.plane.columns.stride {
                1 => lanes.copy_from_slice(&input[..run.length]),
                stride => lanes.iter_mut().zip(input.iter().step_by(stride)).for_each(|(l, i)| *l = *i),
            }
        });
    }
}

/// The reverse of [`Patches::pack`]: adds each packed element to the input element that it came from.
pub(super) fn add_patches(problem: &Problem, columns: Range<usize>, packed: &[f32], input: &mut [f32]) {
    let width = columns.len();
    for_each_run(problem, 0..problem.depth(), columns, width, |run| {
        let input = input[run.input..].iter_mut().step_by(problem.plane.columns.stride);
        packed[run.packed..run.packed + run.length].iter().zip(input).for_each(|(p, i)| *i += p);
    });
}

/// Elements of a patch matrix that lie side by side in a panel, and in the input a stride apart.
struct Run {
    packed: usize,
    input: usize,
    length: usize,
}

/// Calls `run` for the elements of the given rows and columns that do not lie in the padding.
fn for_each_run(problem: &Problem, rows: Range<usize>, columns: Range<usize>, width: usize, mut run: impl FnMut(Run)) {
    let (down, across) = (problem.plane.rows, problem.plane.columns);
    let taps = down.kernel * across.kernel;
    for (panel, start) in columns.clone().step_by(width).enumerate() {
        let end = (start + width).min(columns.end);
        let mut pixel = start;
        while pixel < end {
            // The pixels of one output row: x to x_end.
            let (y, x) = (pixel / across.output, pixel % across.output);
            let x_end = (x + end - pixel).min(across.output);
            let first_lane = panel * rows.len() * width + (pixel - start);
            let seen = down.taps(y);
            for (index, k) in rows.clone().enumerate() {
                let (channel, ky, kx) = (k / taps, k % taps / across.kernel, k % across.kernel);
                let inside = across.outputs(kx);
                let (from, to) = (inside.start.max(x), inside.end.min(x_end));
                if seen.contains(&ky) && from < to {
                    let line = (channel * down.input + down.input_index(y, ky)) * across.input;
                    let (packed, input) =
                        (first_lane + index * width + (from - x), line + across.input_index(from, kx));
                    run(Run { packed, input, length: to - from });
                }
            }
            pixel += x_end - x;
        }
    }
}
