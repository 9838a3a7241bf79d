//! Direct convolution over planar values: vectors hold neighbouring pixels of a row and meet a broadcast weight. For layers
//! of few output channels, which would leave most lanes of the blocked layout idle. 2 x 2 maxima are taken in registers.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use super::band::{self, Band};
use super::{Algorithm, Parameters, Problem, even_rows, tile_efficiency};
use crate::memory::Buffer;
use crate::ops::elementwise::apply;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::grid::Grid;
use crate::simd::tile::LONGEST_SUM;
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::{Block, Workers};
use cnn_core::lowering::Layout;

/// The row of the table.
#[derive(Debug)]
pub struct DirectPlanar;

/// Vectors of a tile: of one row, or half of them of each of two rows that are pooled.
const VECTORS: usize = 4;

impl Row<Problem> for DirectPlanar {
    fn name(&self) -> &'static str {
        "direct_planar"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let lanes = problem.machine.instructions().lanes();
        match (problem.conv.groups, problem.plane.columns.stride, problem.conv.out_channels) {
            (1, 1, outputs) if outputs < lanes => Ok(()),
            (1, 1, outputs) => Err(format!("{outputs} output channels fill a block of {lanes}")),
            (1, stride, _) => Err(format!("a stride of {stride} in a row")),
            (groups, ..) => Err(format!("{groups} groups")),
        }
    }
}

impl Algorithm for DirectPlanar {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let lanes = problem.machine.instructions().lanes();
        let width = problem.plane.columns.output;
        let waste = width.next_multiple_of(lanes) as f64 / width as f64;
        let rows = if problem.pool { 2 } else { 1 };
        let vectors = (rows * width.div_ceil(lanes)).min(VECTORS);
        let channels = even_rows(problem.conv.out_channels, most_channels(problem));
        // The input is copied, and turned over before where it comes in blocks.
        let passes = if problem.layout == Layout::Planar { 2 } else { 4 };
        let floats =
            passes * problem.in_channels * problem.in_plane() + problem.conv.out_channels * problem.out_plane();
        Work {
            macs: waste * problem.macs(batch) / tile_efficiency(channels, vectors),
            weight_bytes: 4.0 * (problem.conv.out_channels * problem.depth()) as f64,
            moved_bytes: 4.0 * (batch * floats) as f64,
        }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        let kernel = Box::new(PlanarKernel::new(problem, parameters));
        Ok(Prepared { kernel, input: Layout::Planar, output: Layout::Planar, pooled: problem.pool })
    }
}

/// Output channels whose sums fit the registers.
fn most_channels(problem: &Problem) -> usize {
    problem.machine.instructions().tile_rows() * 2 / VECTORS
}

struct PlanarKernel {
    instructions: Instructions,
    plane: Plane,
    band: Band,
    /// The offset of each tap in the band.
    taps: Vec<usize>,
    /// Output channels, and those of a tile.
    channels: [usize; 2],
    /// `[channels of a tile][tap][channel]`, the last tile's narrower.
    weights: Buffer,
    bias: Buffer,
    activation: Option<Activation>,
    pooled: bool,
    /// Rows of a piece of work, of what is written.
    piece: usize,
}

impl PlanarKernel {
    fn new(problem: &Problem, parameters: Parameters<'_>) -> Self {
        let Plane { rows, columns } = problem.plane;
        let (outputs, depth) = (problem.conv.out_channels, problem.depth());
        let group = even_rows(outputs, most_channels(problem));
        let mut weights = Buffer::zeroed(outputs * depth);
        for (first, packed) in (0..outputs).step_by(group).zip(weights.chunks_mut(group * depth)) {
            let width = packed.len() / depth;
            for (i, packed) in packed.iter_mut().enumerate() {
                *packed = parameters.weight[(first + i % width) * depth + i / width];
            }
        }
        let mut bias = Buffer::zeroed(outputs);
        if let Some(values) = parameters.bias {
            bias.copy_from_slice(values);
        }
        // A tile's last vectors read beyond the row.
        let beyond = VECTORS / 2 * problem.machine.instructions().lanes() + (columns.kernel - 1) * columns.dilation;
        let row = (columns.before + columns.input + columns.after).max(columns.output + beyond);
        let of_band = |outputs: usize| problem.in_channels * row * band::input_rows(&rows, outputs);
        let step = if problem.pool { 2 } else { 1 };
        let piece = piece(problem, rows.output / step, |piece| of_band(piece * step));
        let plane = row * band::input_rows(&rows, piece * step);
        let band = Band { planes: problem.in_channels, width: 1, row, plane };
        let taps = band.taps(problem.in_channels, (&rows, &columns)).into_iter().map(|tap| tap as usize).collect();
        PlanarKernel {
            instructions: problem.machine.instructions(),
            plane: problem.plane,
            band,
            taps,
            channels: [outputs, group],
            weights,
            bias,
            activation: parameters.activation,
            pooled: problem.pool,
            piece,
        }
    }
}

/// Rows of a piece of work: enough pieces to share out, each with an input that stays in half the second cache.
fn piece(problem: &Problem, rows: usize, floats: impl Fn(usize) -> usize) -> usize {
    const MOST: f64 = 16.0;
    /// Multiply-adds that are worth a piece.
    const WORTH: f64 = 1e6;
    let wanted = (problem.macs(1) / WORTH).clamp(1.0, MOST) as usize;
    let mut piece = rows.div_ceil(wanted);
    while piece > 1 && floats(piece) * size_of::<f32>() > problem.machine.caches.l2 / 2 {
        piece = piece.div_ceil(2);
    }
    piece
}

impl Kernel for PlanarKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.instructions, s => self.convolve(s, io, workers));
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    fn scratch_length(&self) -> usize {
        self.band.length()
    }
}

impl PlanarKernel {
    fn convolve<S: Simd>(&self, s: S, io: Io<'_>, workers: Workers<'_>) {
        let Plane { rows, columns } = self.plane;
        let step = if self.pooled { 2 } else { 1 };
        let (height, width) = (rows.output / step, columns.output / step);
        let sample = self.band.planes * rows.input * columns.input;
        let [channels, group] = self.channels;
        let extents = [io.batch * channels, height, width];
        let input = io.inputs[0];
        workers.for_each_block_of(io.output, extents, (channels, [channels, self.piece, width]), |mut block| {
            workers.scratch(self.scratch_length(), |band| {
                let input = &input[block.planes().start / channels * sample..][..sample];
                let outputs = block.rows().start * step..block.rows().end * step;
                self.band.copy(input, (&rows, &columns), outputs, band);
                for first in (0..channels).step_by(group) {
                    let last = (first + group).min(channels);
                    for row in 0..block.rows().len() {
                        let input = &band[row * step * rows.stride * self.band.row..];
                        self.row(s, input, first..last, (&mut block, row));
                    }
                }
            });
            for plane in 0..channels {
                for row in 0..block.rows().len() {
                    if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
                        apply(s, activation, block.line(plane, row));
                    }
                }
            }
        });
    }

    /// One row of some channels.
    fn row<S: Simd>(&self, s: S, input: &[f32], channels: Range<usize>, (block, row): (&mut Block<'_>, usize)) {
        macro_rules! channels {
            ($($channels:literal)*) => {
                match channels.len() {
                    $($channels => {
                        let lines = block.lines::<$channels>(channels.start, row);
                        let tile = Tile::<$channels> { kernel: self, input, first: channels.start, lines };
                        s.vectorize(tile);
                    })*
                    channels => unreachable!("a tile of {channels} channels does not fit the registers"),
                }
            };
        }
        channels!(1 2 3 4 5 6 7)
    }
}

/// A row of `K` channels.
struct Tile<'a, const K: usize> {
    kernel: &'a PlanarKernel,
    /// From the row's first window on.
    input: &'a [f32],
    /// The first channel.
    first: usize,
    lines: [&'a mut [f32]; K],
}

impl<S: Simd, const K: usize> Task<S> for Tile<'_, K> {
    #[inline(always)]
    fn run(mut self, s: S) {
        let mut x = 0;
        if self.kernel.pooled {
            while x < self.lines[0].len() {
                match self.lines[0].len() - x {
                    left if 2 * left > S::LANES => self.pooled::<S, 2>(s, x),
                    _ => self.pooled::<S, 1>(s, x),
                }
                x += S::LANES;
            }
            return;
        }
        while x < self.lines[0].len() {
            match self.lines[0].len() - x {
                left if left > 2 * S::LANES => {
                    self.plain::<S, VECTORS>(s, x);
                    x += VECTORS * S::LANES;
                }
                left if left > S::LANES => {
                    self.plain::<S, 2>(s, x);
                    x += 2 * S::LANES;
                }
                _ => {
                    self.plain::<S, 1>(s, x);
                    x += S::LANES;
                }
            }
        }
    }
}

/// Sums of `K` channels, `ROWS` rows and `V` vectors of pixels.
type Sums<S, const K: usize, const ROWS: usize, const V: usize> = [[[<S as Simd>::Vector; V]; ROWS]; K];

impl<const K: usize> Tile<'_, K> {
    /// `V` vectors from `x` on.
    #[inline(always)]
    fn plain<S: Simd, const V: usize>(&mut self, s: S, x: usize) {
        let sums: Sums<S, K, 1, V> = self.sums(s, x);
        for k in 0..K {
            for v in 0..V {
                self.store(s, k, x + v * S::LANES, sums[k][0][v]);
            }
        }
    }

    /// The maxima of two rows of `V` vectors, from the `x`-th maximum on.
    #[inline(always)]
    fn pooled<S: Simd, const V: usize>(&mut self, s: S, x: usize) {
        let sums: Sums<S, K, 2, V> = self.sums(s, 2 * x);
        for k in 0..K {
            let [top, bottom] = sums[k];
            let (first, last) = (s.max(top[0], bottom[0]), s.max(top[V - 1], bottom[V - 1]));
            self.store(s, k, x, s.max_of_pairs(first, last));
        }
    }

    /// Writes a vector of the `k`-th channel, or what of it the row has room for.
    #[inline(always)]
    fn store<S: Simd>(&mut self, s: S, k: usize, x: usize, vector: S::Vector) {
        let vector = if self.kernel.activation == Some(Activation::Relu) { s.relu(vector) } else { vector };
        let start = x.min(self.lines[k].len());
        let line = &mut self.lines[k][start..];
        let count = line.len().min(S::LANES);
        s.store_some(&mut line[..count], vector);
    }

    /// The sums of the windows from `x` on. Long ones are cut, as long sums lose accuracy.
    #[inline(always)]
    fn sums<S: Simd, const ROWS: usize, const V: usize>(&self, s: S, x: usize) -> Sums<S, K, ROWS, V> {
        let mut sums = [[[s.splat(0.0); V]; ROWS]; K];
        for k in 0..K {
            sums[k] = [[s.splat(self.kernel.bias[self.first + k]); V]; ROWS];
        }
        let taps = self.kernel.taps.len();
        self.add(s, x, (0, LONGEST_SUM.min(taps)), &mut sums);
        let mut start = LONGEST_SUM;
        while start < taps {
            let mut part = [[[s.splat(0.0); V]; ROWS]; K];
            self.add(s, x, (start, (start + LONGEST_SUM).min(taps)), &mut part);
            for k in 0..K {
                for r in 0..ROWS {
                    for v in 0..V {
                        sums[k][r][v] = s.add(sums[k][r][v], part[k][r][v]);
                    }
                }
            }
            start += LONGEST_SUM;
        }
        sums
    }

    /// Adds the products of some taps.
    #[inline(always)]
    fn add<S: Simd, const ROWS: usize, const V: usize>(
        &self,
        s: S,
        x: usize,
        (start, end): (usize, usize),
        sums: &mut Sums<S, K, ROWS, V>,
    ) {
        let kernel = self.kernel;
        let taps = &kernel.taps[start..end];
        let weights = &kernel.weights[self.first * kernel.taps.len()..][start * K..end * K];
        let input = &self.input[x..];
        let strides = [kernel.plane.rows.stride * kernel.band.row, S::LANES];
        let mut t = 0;
        while t < taps.len() {
            let pixels = Grid::<S, ROWS, V>::new(s, &input[taps[t]..], strides);
            let mut vectors = [[s.splat(0.0); V]; ROWS];
            for r in 0..ROWS {
                for v in 0..V {
                    vectors[r][v] = pixels.load(r, v);
                }
            }
            let weights = &weights[t * K..t * K + K];
            for k in 0..K {
                let weight = s.splat(weights[k]);
                for r in 0..ROWS {
                    for v in 0..V {
                        sums[k][r][v] = s.mul_add(vectors[r][v], weight, sums[k][r][v]);
                    }
                }
            }
            t += 1;
        }
    }
}
