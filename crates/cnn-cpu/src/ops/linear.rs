//! Fully connected layers. At batch 1 the weights are read once and nothing else counts; the packed weights therefore lie
//! in the order in which two vectors of outputs read them, in huge pages where the system has them. More samples meet
//! each weight in the registers.

use std::ops::Range;

use cnn_core::Shape;
use cnn_core::backend::Precision;
use cnn_core::layers::{Activation, Call, Gradients};
use half::f16;
use rayon::prelude::*;

use super::elementwise::apply;
use super::{Io, Kernel};
use crate::gemm::{Epilogue, Gemm, Matrix, Panels, Pass, pack, packed_length};
use crate::machine::Machine;
use crate::memory::Buffer;
use crate::simd::tile::{FREE_STRIDE_ROWS, Half, LONGEST_SUM, Start, Tile, Weight};
use crate::simd::walk::RowMajor;
use crate::simd::{Simd, with_simd};
use crate::threads::Workers;
use cnn_core::lowering::Layout;

/// Name of the only row.
pub const NAME: &str = "linear/gemm";

/// Columns that one piece of work of training makes, before they are rounded to whole panels.
const WIDTH: usize = 64;

/// Weights after which the caller is told.
const RELEASED: usize = 4 << 20;

/// Columns of the weights that are packed at a time.
const PACKED_COLUMNS: usize = 64;

/// What a layer multiplies and adds, and what is applied to each result.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    /// `[out_features, features]`.
    pub weight: &'a [f32],
    /// `[out_features]`.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Option<Activation>,
    /// What the packed weights are stored as.
    pub precision: Precision,
    /// Is told of weights that have been packed, by their range.
    pub release: &'a (dyn Fn(Range<usize>) + Sync),
}

/// A fully connected layer with packed weights.
pub struct LinearKernel {
    machine: Machine,
    features: usize,
    out_features: usize,
    /// `[panel][features][2][lanes]`.
    weights: Stored,
    bias: Buffer,
    activation: Option<Activation>,
    /// Features between two visits of a tile.
    depth: usize,
}

/// Packed weights in one of two precisions.
enum Stored {
    Single(Buffer),
    /// IEEE half floats, two to an element.
    Halves(Buffer),
}

impl LinearKernel {
    /// Packs the weights for an input that lies like this; the order of its elements goes into the weights.
    pub fn new(machine: &Machine, (shape, layout): (&Shape, Layout), parameters: Parameters<'_>) -> Self {
        let Parameters { weight, bias, activation, precision, release } = parameters;
        let width = 2 * machine.instructions().lanes();
        let (out_features, features) = (weight.len() / shape.elements(), layout.elements(shape));
        let length = out_features.next_multiple_of(width) * features;
        let packing = Packing { weight, order: order(shape, layout), width, features, release };
        let weights = match precision {
            Precision::Single => {
                let mut packed = Buffer::zeroed(length);
                packing.pack(&mut packed, |value| value);
                Stored::Single(packed)
            }
            Precision::Half => {
                let mut packed = Buffer::zeroed(length.div_ceil(2));
                packing.pack(bytemuck::cast_slice_mut(&mut packed), |value| Half(f16::from_f32(value).to_bits()));
                Stored::Halves(packed)
            }
        };
        let mut padded = Buffer::zeroed(out_features.next_multiple_of(width));
        if let Some(bias) = bias {
            padded[..out_features].copy_from_slice(bias);
        }
        let depth = (machine.caches.l2 / 4 / size_of::<f32>() / width).clamp(64, LONGEST_SUM);
        LinearKernel { machine: *machine, features, out_features, weights, bias: padded, activation, depth }
    }

    fn multiply<S: Simd, W: Weight>(&self, s: S, weights: &[W], io: Io<'_>, workers: Workers<'_>) {
        let width = 2 * S::LANES;
        let (batch, input, highest) = (io.batch, io.inputs[0], S::TILE_ROWS.min(FREE_STRIDE_ROWS));
        let extents = [1, batch, self.out_features];
        workers.for_each_block(io.output, extents, [1, batch, width], |mut block| {
            let first = block.columns().start;
            let panel = &weights[first * self.features..(first + width) * self.features];
            workers.scratch(batch * width, |sums| {
                let (left, right) = sums.split_at_mut(batch * S::LANES);
                for start in (0..self.features).step_by(self.depth) {
                    let part = start..(start + self.depth).min(self.features);
                    let w = &panel[part.start * width..part.end * width];
                    for row in (0..batch).step_by(highest) {
                        let rows = highest.min(batch - row);
                        let tile = Tile {
                            x: &input[row * self.features + start..],
                            rows,
                            walk: RowMajor { length: part.len(), stride: self.features },
                            w,
                            start: if start == 0 { Start::Bias(&self.bias[first..]) } else { Start::Sum },
                            relu: part.end == self.features && self.activation == Some(Activation::Relu),
                            next: w.as_ptr().cast(),
                        };
                        let lanes = row * S::LANES..(row + rows) * S::LANES;
                        tile.run(s, [&mut left[lanes.clone()], &mut right[lanes]], S::LANES);
                    }
                }
                for row in 0..batch {
                    let line = block.line(0, row);
                    for (half, line) in [&*left, &*right].iter().zip(line.chunks_mut(S::LANES)) {
                        line.copy_from_slice(&half[row * S::LANES..][..line.len()]);
                    }
                    if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
                        apply(s, activation, line);
                    }
                }
            });
        });
    }
}

/// Weights on their way into panels.
struct Packing<'a> {
    /// `[out_features, elements of the input]`.
    weight: &'a [f32],
    /// By element of the planar input: its place in the layout.
    order: Vec<u32>,
    /// Outputs of a panel.
    width: usize,
    /// Elements of the input in its layout.
    features: usize,
    release: &'a (dyn Fn(Range<usize>) + Sync),
}

impl Packing<'_> {
    /// Fills panels of `[features][width]` that hold zeros.
    fn pack<T: Copy + Send>(&self, packed: &mut [T], convert: impl Fn(f32) -> T + Sync) {
        let Packing { weight, order, width, features, release } = self;
        let elements = order.len();
        let rows = width * elements;
        // Some panels at a time, so that what they are made from can leave memory.
        let panels = (RELEASED / rows).max(1);
        for (group, packed) in packed.chunks_mut(panels * width * features).enumerate() {
            let from = group * panels * rows;
            let until = (from + panels * rows).min(weight.len());
            let panels = packed.par_chunks_mut(width * features).zip(weight[from..until].par_chunks(rows));
            panels.for_each(|(packed, rows)| {
                // Some columns at a time, so that the lines of `packed` under them stay in the first cache.
                for first in (0..elements).step_by(PACKED_COLUMNS) {
                    let columns = first..(first + PACKED_COLUMNS).min(elements);
                    for (lane, row) in rows.chunks(elements).enumerate() {
                        for (&value, &k) in row[columns.clone()].iter().zip(&order[columns.clone()]) {
                            packed[k as usize * width + lane] = convert(value);
                        }
                    }
                }
            });
            release(from..until);
        }
    }
}

/// By element of a planar input: its place in the given layout.
fn order(shape: &Shape, layout: Layout) -> Vec<u32> {
    match (layout, shape.channels_and_plane()) {
        (Layout::Blocked { lanes }, Some((channels, [h, w]))) => {
            let place = |c: usize, p: usize| ((c / lanes * h * w + p) * lanes + c % lanes) as u32;
            (0..channels).flat_map(|c| (0..h * w).map(move |p| place(c, p))).collect()
        }
        _ => (0..shape.elements() as u32).collect(),
    }
}

impl Kernel for LinearKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        match &self.weights {
            Stored::Single(weights) => {
                with_simd!(self.machine.instructions(), s => self.multiply(s, weights, io, workers));
            }
            Stored::Halves(weights) => {
                let weights: &[Half] = bytemuck::cast_slice(weights);
                with_simd!(self.machine.instructions(), s => self.multiply(s, weights, io, workers));
            }
        }
    }

    fn weight_bytes(&self) -> usize {
        let (Stored::Single(weights) | Stored::Halves(weights)) = &self.weights;
        size_of_val(&weights[..]) + size_of_val(&self.bias[..])
    }

    fn scratch_length(&self) -> usize {
        2 * self.machine.instructions().lanes()
    }
}

/// The forward pass of training: the batch's rows times weights that were packed for this step.
pub(crate) fn multiply(gemm: Gemm, weights: Panels<'_>, epilogue: Epilogue<'_>, io: Io<'_>, workers: Workers<'_>) {
    let features = weights.depth();
    let input = Matrix::new(io.inputs[0], io.batch, features);
    let extents = [1, io.batch, io.output.len() / io.batch];
    let width = WIDTH.next_multiple_of(gemm.kernel.columns);
    workers.for_each_block(io.output, extents, [1, io.batch, width], |mut block| {
        let weights = weights.from_panel(block.columns().start / gemm.kernel.columns);
        workers.scratch(rows_length(gemm, io.batch), |scratch| {
            for start in (0..features).step_by(gemm.blocking.depth) {
                let part = start..(start + gemm.blocking.depth).min(features);
                let rows = &mut scratch[..packed_length(io.batch, part.len(), gemm.kernel.rows)];
                pack(input.columns(part.clone()), gemm.kernel.rows, rows);
                let pass = Pass { first: start == 0, last: part.end == features, epilogue };
                let rows = Panels::new(rows, gemm.kernel.rows, part.len());
                gemm.multiply_block(rows, weights.at_depth(part), &mut block, pass);
            }
        });
    });
}

/// Adds the gradients of a batch of inputs of F elements to those of input, weight `[O, F]` and bias, given that of the
/// output, `dy`.
pub(crate) fn backward(
    gemm: Gemm,
    call: &Call<'_>,
    dy: &[f32],
    gradients: &mut Gradients<'_, '_>,
    workers: Workers<'_>,
) {
    let (batch, features) = (call.batch, call.inputs[0].shape.elements());
    let out_features = dy.len() / batch;
    let weight = Matrix::new(call.parameters[0], out_features, features);
    let (x, dy_rows) = (Matrix::new(call.inputs[0].data, batch, features), Matrix::new(dy, batch, out_features));
    workers.for_each_block(&mut *gradients.inputs[0], [1, batch, features], [1, batch, WIDTH], |mut block| {
        let length = gemm.multiply_length(batch, block.columns().len());
        workers.scratch(length, |scratch| gemm.multiply(dy_rows, weight, &mut block, true, scratch));
    });
    let extents = [1, out_features, features];
    workers.for_each_block(&mut *gradients.parameters[0], extents, [1, out_features, WIDTH], |mut block| {
        let length = gemm.multiply_length(out_features, block.columns().len());
        workers.scratch(length, |scratch| gemm.multiply(dy_rows.transposed(), x, &mut block, true, scratch));
    });
    if let Some(bias) = gradients.parameters.get_mut(1) {
        for dy in dy.chunks(out_features) {
            bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
    }
}

/// Floats of scratch for one block of depth of the batch's rows.
fn rows_length(gemm: Gemm, batch: usize) -> usize {
    packed_length(batch, gemm.blocking.depth, gemm.kernel.rows)
}
