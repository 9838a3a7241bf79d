//! Direct convolution over the blocked layout (Georganas et al. 2018): each tile of sums walks the window's taps where
//! the input lies, so that there are no patches to copy. A broadcast of one input element meets two vectors of weights.
//!
//! The input may also be planar, as a network's first is: then the taps are listed channel by channel, which suits few
//! channels. Padding is a copy of the band of rows that a piece of work reads.

use std::ops::Range;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Axis;

use super::band::{self, Band};
use super::panels::{Panel, Panels};
use super::{Algorithm, Parameters, Problem, even_rows, tile_efficiency};
use crate::machine::Machine;
use crate::ops::elementwise::apply;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::tile::{FREE_STRIDE_ROWS, LONGEST_SUM, Start, Tile};
use crate::simd::walk::{BlockedWindows, Offsets, PlanarWindows, Walk};
use crate::simd::{Simd, with_simd};
use crate::threads::{Block, Workers};
use cnn_core::lowering::Layout;

/// The row of the table.
#[derive(Debug)]
pub struct Direct;

impl Row<Problem> for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        fills_blocks(problem)
    }
}

impl Algorithm for Direct {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        work(problem, problem.plane.columns.output, batch)
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        Ok(DirectKernel::prepare(problem, Lines::Rows, parameters))
    }

    fn adds_residual(&self) -> bool {
        true
    }
}

/// Whether groups begin at a block of channels.
pub(super) fn fills_blocks(problem: &Problem) -> Result<(), String> {
    let (lanes, groups) = (problem.machine.instructions().lanes(), problem.conv.groups);
    match groups == 1 || (problem.group_in() % lanes == 0 && problem.group_out() % lanes == 0) {
        true => Ok(()),
        false => Err(format!("{groups} groups do not fill blocks of {lanes} channels")),
    }
}

/// What it costs where tiles are cut from lines of so many pixels.
pub(super) fn work(problem: &Problem, line: usize, batch: usize) -> Work {
    let (weight_bytes, moved_bytes) = problem.blocked_bytes(batch);
    let lanes = problem.machine.instructions().lanes();
    let full = |channels: usize| channels.next_multiple_of(lanes) as f64 / channels as f64;
    let one_block = problem.group_in() <= lanes;
    let waste = full(problem.group_out()) * if one_block { 1.0 } else { full(problem.group_in()) };
    let highest = highest_tile(problem.plane.columns.stride, problem.machine.instructions().tile_rows());
    let macs = waste * problem.macs(batch) / tile_efficiency(even_rows(line, highest), 2);
    Work { macs, weight_bytes, moved_bytes }
}

/// Rows of the highest tile: fewer where the stride is none of those that the walks know.
fn highest_tile(stride: usize, rows: usize) -> usize {
    if stride <= 2 { rows } else { rows.min(FREE_STRIDE_ROWS) }
}

/// The lines of pixels that tiles are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Each row of the output.
    Rows,
    /// All rows as one line. Only for windows that see a row as a mere distance: one column wide, of stride 1, without
    /// padding at the sides.
    Whole,
}

/// Whether a planar input is read as it is: where few channels would leave most of a block empty.
fn reads_planar(problem: &Problem) -> bool {
    let few = problem.conv.groups == 1 && problem.in_channels < problem.machine.instructions().lanes();
    few && problem.layout == Layout::Planar
}

/// Where the input of one piece of work lies.
#[derive(Debug, Clone, Copy)]
struct Source {
    band: Band,
    /// Channels of a pixel that are used: fewer than its width where one block holds all and is not full.
    channels: usize,
    /// Whether rows are copied, to pad them.
    copied: bool,
}

pub(super) struct DirectKernel {
    machine: Machine,
    rows: Axis,
    columns: Axis,
    groups: usize,
    source: Source,
    offsets: Offsets,
    weights: Panels,
    activation: Option<Activation>,
    piece: Piece,
    /// Runs of depth between two visits of a tile.
    depth: usize,
}

impl DirectKernel {
    pub(super) fn prepare(problem: &Problem, lines: Lines, parameters: Parameters<'_>) -> Prepared {
        let blocked = problem.machine.blocked();
        let input = if reads_planar(problem) { Layout::Planar } else { blocked };
        let kernel = DirectKernel::new(problem, (input, lines), parameters);
        Prepared { kernel: Box::new(kernel), input, output: blocked, pooled: false }
    }

    fn new(problem: &Problem, (input, lines): (Layout, Lines), parameters: Parameters<'_>) -> Self {
        let lanes = problem.machine.instructions().lanes();
        let width = if input == Layout::Planar { 1 } else { lanes };
        let (mut rows, mut columns) = (problem.plane.rows, problem.plane.columns);
        if lines == Lines::Whole {
            // The taps of a column lie a row apart on the line.
            let row = columns.input;
            columns = Axis {
                input: rows.input * row,
                output: rows.output * row,
                dilation: rows.dilation * row,
                before: rows.before * row,
                after: rows.after * row,
                ..rows
            };
            rows = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };
        }
        let padded = [rows, columns].iter().any(|axis| axis.before + axis.after > 0);
        let planes = problem.group_in().div_ceil(width);
        let weights = Panels::pack(problem, input, parameters);
        let piece = pieces(&rows, &columns, &weights, problem);
        let row = if padded { columns.before + columns.input + columns.after } else { columns.input };
        let plane = row * width * if padded { band::input_rows(&rows, piece.rows) } else { rows.input };
        let channels = width.min(problem.group_in());
        let source = Source { band: Band { planes, width, row, plane }, channels, copied: padded };
        let offsets = Offsets::new(source.band.taps(problem.group_in(), (&rows, &columns)));
        // A slice of a panel stays in a quarter of the second cache.
        let steps = (problem.machine.caches.l2 / 4 / size_of::<f32>() / (2 * lanes)).clamp(64, LONGEST_SUM);
        let depth = (steps / channels).max(1);
        DirectKernel {
            machine: problem.machine,
            rows,
            columns,
            groups: problem.conv.groups,
            source,
            offsets,
            weights,
            activation: parameters.activation,
            piece,
            depth,
        }
    }
}

/// What one piece of work makes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    panels: usize,
    rows: usize,
    pixels: usize,
}

/// Bands of rows, of which the input stays in half the second cache; where those are too few pieces to share out, fewer
/// panels. A single row without padding is cut into pixels instead, where its input is larger than the weights.
fn pieces(rows: &Axis, columns: &Axis, weights: &Panels, problem: &Problem) -> Piece {
    const MOST: f64 = 16.0;
    /// Multiply-adds that are worth a piece.
    const WORTH: f64 = 1e6;
    let wanted = (problem.macs(1) / WORTH).clamp(1.0, MOST) as usize;
    let panels = weights.panels() / problem.conv.groups;
    let row = (columns.before + columns.input + columns.after) * problem.group_in() * size_of::<f32>();
    if rows.input == 1 && columns.before + columns.after == 0 && row > weights.bytes() {
        let tile = problem.machine.instructions().tile_rows();
        return Piece { panels, rows: 1, pixels: columns.output.div_ceil(wanted).next_multiple_of(tile) };
    }
    let fits = |band: usize| band::input_rows(rows, band) * row <= problem.machine.caches.l2 / 2;
    let mut band = rows.output.div_ceil(wanted);
    while band > 1 && !fits(band) {
        band = band.div_ceil(2);
    }
    let bands = rows.output.div_ceil(band);
    Piece { panels: panels.div_ceil(wanted.div_ceil(bands)).max(1), rows: band, pixels: columns.output }
}

/// A row of `V` blocks of channels, and what is added to it where it is finished.
struct Target<'a, const V: usize> {
    lines: [&'a mut [f32]; V],
    residual: Option<[&'a [f32]; V]>,
}

impl<'a, const V: usize> Target<'a, V> {
    fn new(block: &'a mut Block<'_>, residual: Option<&'a [f32]>, (plane, row): (usize, usize)) -> Self {
        let residual = residual.map(|residual| block.lines_of(residual, plane, row));
        Target { lines: block.lines(plane, row), residual }
    }
}

impl Kernel for DirectKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.machine.instructions(), s => self.convolve(s, io, workers));
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    fn scratch_length(&self) -> usize {
        if self.source.copied { self.source.band.length() } else { 0 }
    }
}

impl DirectKernel {
    fn convolve<S: Simd>(&self, s: S, io: Io<'_>, workers: Workers<'_>) {
        let line = self.columns.output * S::LANES;
        let group_blocks = self.weights.blocks() / self.groups;
        let Band { planes, width, row, .. } = self.source.band;
        let group_input = planes * width * self.rows.input * self.columns.input;
        let extents = [io.batch * self.groups * group_blocks, self.rows.output, line];
        let (input, residual) = (io.inputs[0], io.inputs.get(1).copied());
        // Blocks of a piece never cross a group, as pieces are cut group by group.
        let steps = [self.piece.panels * 2, self.piece.rows, self.piece.pixels * S::LANES];
        workers.for_each_block_of(io.output, extents, (group_blocks, steps), |mut block| {
            let matrix = block.planes().start / group_blocks;
            let input = &input[matrix * group_input..][..group_input];
            let group = matrix % self.groups;
            let first = block.planes().start % group_blocks + group * group_blocks;
            match self.source.copied {
                true => workers.scratch(self.scratch_length(), |band| {
                    self.source.band.copy(input, (&self.rows, &self.columns), block.rows(), band);
                    self.multiply(s, band, first, (&mut block, residual));
                }),
                false => {
                    let row = block.rows().start * self.rows.stride * row;
                    let pixel = block.columns().start / S::LANES * self.columns.stride;
                    self.multiply(s, &input[(row + pixel) * width..], first, (&mut block, residual));
                }
            }
        });
    }

    /// Writes a block of output planes from the input rows under it. The residual is that of all planes.
    fn multiply<S: Simd>(
        &self,
        s: S,
        input: &[f32],
        first_block: usize,
        (block, residual): (&mut Block<'_>, Option<&[f32]>),
    ) {
        let total = self.offsets.runs();
        let planes = block.planes().len();
        for plane in (0..planes).step_by(2) {
            let panel = self.weights.panel(first_block + plane);
            for start in (0..total).step_by(self.depth) {
                let part = start..(start + self.depth).min(total);
                let residual = residual.filter(|_| part.end == total);
                for row in 0..block.rows().len() {
                    let input = &input[row * self.rows.stride * self.source.band.row * self.source.band.width..];
                    let (step, at) = ((panel, part.clone()), (plane, row));
                    match planes - plane {
                        1 => self.row::<S, 1>(s, input, step, Target::new(block, residual, at)),
                        _ => self.row::<S, 2>(s, input, step, Target::new(block, residual, at)),
                    }
                    if part.end == total {
                        let last = (plane + 1).min(planes - 1);
                        self.weights.clear_idle_lanes(s, first_block + last, block.line(last, row));
                    }
                }
            }
        }
        if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
            for plane in 0..planes {
                for row in 0..block.rows().len() {
                    apply(s, activation, block.line(plane, row));
                }
            }
        }
    }

    /// One part of the depth of one output row of `V` blocks.
    fn row<S: Simd, const V: usize>(
        &self,
        s: S,
        input: &[f32],
        (panel, part): (Panel<'_>, Range<usize>),
        target: Target<'_, V>,
    ) {
        let stride = self.columns.stride;
        let taps = self.offsets.part(part.clone());
        let run = self.source.channels * V * S::LANES;
        let panel = Panel { weights: &panel.weights[part.start * run..part.end * run], bias: panel.bias };
        let ends = (part.start == 0, part.end == self.offsets.runs());
        let channels = self.source.channels;
        match (self.source.band.width, stride) {
            (1, 1) => self.tiles(s, input, (panel, ends), PlanarWindows::<1> { taps, stride }, target),
            (1, 2) => self.tiles(s, input, (panel, ends), PlanarWindows::<2> { taps, stride }, target),
            (1, _) => self.tiles(s, input, (panel, ends), PlanarWindows::<0> { taps, stride }, target),
            (_, 1) if channels == S::LANES => {
                self.tiles(s, input, (panel, ends), BlockedWindows::<1> { taps, stride, channels }, target);
            }
            (_, 2) if channels == S::LANES => {
                self.tiles(s, input, (panel, ends), BlockedWindows::<2> { taps, stride, channels }, target);
            }
            _ => self.tiles(s, input, (panel, ends), BlockedWindows::<0> { taps, stride, channels }, target),
        }
    }

    /// The row's tiles: of nearly the same height, none higher than fits the registers.
    fn tiles<S: Simd, D: Walk, const V: usize>(
        &self,
        s: S,
        input: &[f32],
        (panel, (first, last)): (Panel<'_>, (bool, bool)),
        walk: D,
        target: Target<'_, V>,
    ) {
        let Target { mut lines, residual } = target;
        let start = if first { Start::Bias(panel.bias) } else { Start::Sum };
        let relu = last && self.activation == Some(Activation::Relu);
        let highest = highest_tile(self.columns.stride, S::TILE_ROWS);
        let (mut at, mut left) = (0, lines[0].len() / S::LANES);
        while left > 0 {
            let rows = even_rows(left, highest);
            let x = &input[at * walk.row_stride::<S>()..];
            let tile = Tile { x, walk, rows, w: panel.weights, start, relu, next: panel.weights.as_ptr() };
            let pixels = at * S::LANES..(at + rows) * S::LANES;
            let residual = residual.map(|lines| lines.map(|line| &line[pixels.clone()]));
            tile.run_with_residual(s, lines.each_mut().map(|line| &mut line[pixels.clone()]), S::LANES, residual);
            (at, left) = (at + rows, left - rows);
        }
    }
}
