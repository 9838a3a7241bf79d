//! The vertical and horizontal filters of a chain: one of each a channel, so that what lies between them is a single row.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use cnn_core::layers::Activation;

use super::rows::{Source, Target};
use crate::memory::Buffer;
use crate::ops::conv2d::{Parameters, Problem};
use crate::ops::elementwise::apply;
use crate::simd::{Simd, Task};

/// Pixels that are summed at a time.
const PIXELS: usize = 8;

/// One filter a channel.
pub(super) struct Taps {
    /// `[block][tap][lanes]`.
    weights: Buffer,
    bias: Buffer,
    count: usize,
    /// Taps before the pixel that they make.
    before: usize,
}

impl Taps {
    pub(super) fn new(problem: &Problem, parameters: Parameters<'_>) -> Self {
        let lanes = problem.machine.instructions().lanes();
        let count = problem.plane.rows.kernel * problem.plane.columns.kernel;
        let blocks = problem.conv.out_channels.div_ceil(lanes);
        let (mut weights, mut bias) = (Buffer::zeroed(blocks * count * lanes), Buffer::zeroed(blocks * lanes));
        for (channel, filter) in parameters.weight.chunks(count).enumerate() {
            for (tap, &value) in filter.iter().enumerate() {
                weights[(channel / lanes * count + tap) * lanes + channel % lanes] = value;
            }
        }
        if let Some(values) = parameters.bias {
            bias[..values.len()].copy_from_slice(values);
        }
        Taps { weights, bias, count, before: problem.plane.rows.before + problem.plane.columns.before }
    }

    fn block<S: Simd>(&self, block: usize) -> Block<'_> {
        let length = self.count * S::LANES;
        Block { weights: &self.weights[block * length..][..length], bias: &self.bias[block * S::LANES..][..S::LANES] }
    }
}

/// The taps of a block of channels.
#[derive(Clone, Copy)]
struct Block<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
}

/// Vertical, horizontal, or both.
#[derive(Default)]
pub(super) struct Filters {
    vertical: Option<Taps>,
    horizontal: Option<Taps>,
    /// Behind the last.
    activation: Option<Activation>,
}

impl Filters {
    pub(super) fn down(taps: Taps, activation: Option<Activation>) -> Self {
        Filters { vertical: Some(taps), horizontal: None, activation }
    }

    pub(super) fn has_horizontal(&self) -> bool {
        self.horizontal.is_some()
    }

    pub(super) fn along(&mut self, taps: Taps, activation: Option<Activation>) {
        (self.horizontal, self.activation) = (Some(taps), activation);
    }

    fn all(&self) -> impl Iterator<Item = &Taps> {
        self.vertical.iter().chain(&self.horizontal)
    }

    pub(super) fn bytes(&self) -> usize {
        self.all().map(|taps| size_of_val(&taps.weights[..]) + size_of_val(&taps.bias[..])).sum()
    }

    /// Floats of a row with its border, where rows have `line`.
    pub(super) fn scratch_length(&self, line: usize, lanes: usize) -> usize {
        self.horizontal.as_ref().map_or(0, |taps| line + (taps.count - 1) * lanes)
    }

    /// Writes rows; `source` has those that the image of so many rows has.
    pub(super) fn run<S: Simd>(
        &self,
        s: S,
        (source, height): (Source<'_>, usize),
        rows: Range<usize>,
        target: &mut Target<'_, '_>,
        scratch: &mut [f32],
    ) {
        let blocks = self.all().next().map_or(0, |taps| taps.bias.len() / S::LANES);
        let streams = target.streams() && self.activation.is_none_or(|a| a == Activation::Relu);
        for block in 0..blocks {
            for row in rows.clone() {
                let output = target.row(block, row);
                let streams = streams && S::may_stream(output);
                let at = (block, row);
                s.vectorize(Line { filters: self, source, height, at, scratch, output: &mut *output, streams });
                if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
                    apply(activation, output);
                }
            }
        }
    }
}

/// One row of one block of channels.
struct Line<'a> {
    filters: &'a Filters,
    source: Source<'a>,
    height: usize,
    at: (usize, usize),
    scratch: &'a mut [f32],
    output: &'a mut [f32],
    streams: bool,
}

/// What happens to sums.
#[derive(Clone, Copy, Default)]
struct Finish {
    relu: bool,
    /// Whether they are written past the caches.
    streams: bool,
}

impl Finish {
    #[inline(always)]
    fn store<S: Simd>(self, s: S, to: &mut [f32], sum: S::Vector) {
        let sum = if self.relu { s.relu(sum) } else { sum };
        match self.streams {
            true => s.stream(to, sum),
            false => s.store(to, sum),
        }
    }
}

impl<S: Simd> Task<S> for Line<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let Line { filters, source, height, at: (block, row), scratch, output, streams } = self;
        let finish = Finish { relu: filters.activation == Some(Activation::Relu), streams };
        let line = source.line;
        // The rows that a vertical filter sees, and its first tap that does.
        let down = |taps: &Taps| {
            let (first, end) = (taps.before.saturating_sub(row), taps.count.min(height + taps.before - row));
            (source.from(block, row + first - taps.before), first, end)
        };
        let Some(horizontal) = &filters.horizontal else {
            if let Some(vertical) = &filters.vertical {
                let (x, first, end) = down(vertical);
                sums(s, (x, line), (vertical.block::<S>(block), first, end), output, finish);
            }
            return;
        };
        let (before, border) = (horizontal.before * S::LANES, (horizontal.count - 1) * S::LANES);
        let scratch = &mut scratch[..line + border];
        scratch[..before].fill(0.0);
        scratch[before + line..].fill(0.0);
        let between = &mut scratch[before..before + line];
        match &filters.vertical {
            Some(vertical) => {
                let (x, first, end) = down(vertical);
                sums(s, (x, line), (vertical.block::<S>(block), first, end), between, Finish::default());
            }
            None => between.copy_from_slice(&source.from(block, row)[..line]),
        }
        sums(s, (scratch, S::LANES), (horizontal.block::<S>(block), 0, horizontal.count), output, finish);
    }
}

/// Sums over some of the taps, which lie `step` apart from `x` on.
#[inline(always)]
fn sums<S: Simd>(
    s: S,
    (x, step): (&[f32], usize),
    (block, first, end): (Block<'_>, usize, usize),
    output: &mut [f32],
    finish: Finish,
) {
    let weights = &block.weights[first * S::LANES..end * S::LANES];
    let pixels = output.len() / S::LANES;
    let mut at = 0;
    while at < pixels {
        let (x, output) = (&x[at * S::LANES..], &mut output[at * S::LANES..]);
        let taps = (weights, block.bias);
        at += match pixels - at {
            PIXELS.. => pixels_of::<S, PIXELS>(s, (x, step), taps, output, finish),
            4.. => pixels_of::<S, 4>(s, (x, step), taps, output, finish),
            _ => pixels_of::<S, 1>(s, (x, step), taps, output, finish),
        };
    }
}

/// `N` pixels.
#[inline(always)]
fn pixels_of<S: Simd, const N: usize>(
    s: S,
    (x, step): (&[f32], usize),
    (weights, bias): (&[f32], &[f32]),
    output: &mut [f32],
    finish: Finish,
) -> usize {
    let mut sums = [s.load(bias); N];
    let mut tap = 0;
    while tap * S::LANES < weights.len() {
        let weight = s.load(&weights[tap * S::LANES..]);
        let x = &x[tap * step..][..N * S::LANES];
        for n in 0..N {
            sums[n] = s.mul_add(s.load(&x[n * S::LANES..]), weight, sums[n]);
        }
        tap += 1;
    }
    let output = &mut output[..N * S::LANES];
    for n in 0..N {
        finish.store(s, &mut output[n * S::LANES..], sums[n]);
    }
    N
}
