//! The vertical and horizontal filters of a chain: one of each a channel, so that what lies between them is a single row.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use cnn_core::layers::Activation;

use super::rows::{Source, Steps, Target};
use super::separable::Pass;
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

    /// For a vertical filter and a row that it makes, in an image of some height: the rows that it sees, and the taps that see one.
    fn over<'a, S: Simd>(
        &'a self,
        (source, height): (Source<'a>, usize),
        (block, row): (usize, usize),
    ) -> (Steps<'a>, Block<'a>) {
        let (first, end) = (self.before.saturating_sub(row), self.count.min(height + self.before - row));
        (source.down(block, row + first - self.before), self.block::<S>(block).taps::<S>(first..end))
    }
}

/// The taps of a block of channels.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[tap][lanes]`.
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl<'a> Block<'a> {
    /// Some of the taps.
    fn taps<S: Simd>(self, taps: Range<usize>) -> Self {
        Block { weights: &self.weights[taps.start * S::LANES..taps.end * S::LANES], ..self }
    }

    /// The sums of `N` pixels side by side.
    #[inline(always)]
    pub(super) fn sums<S: Simd, const N: usize>(self, s: S, x: Steps<'_>, pixel: usize) -> [S::Vector; N] {
        let mut sums = [s.load(self.bias); N];
        let mut tap = 0;
        while tap * S::LANES < self.weights.len() {
            let weight = s.load(&self.weights[tap * S::LANES..]);
            let x = x.of(tap, pixel * S::LANES, N * S::LANES);
            for n in 0..N {
                sums[n] = s.mul_add(s.load(&x[n * S::LANES..]), weight, sums[n]);
            }
            tap += 1;
        }
        sums
    }
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
                    apply(s, activation, output);
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
pub(super) struct Finish {
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

    /// Stores `N` pixels, and says how many those are.
    #[inline(always)]
    pub(super) fn store_all<S: Simd, const N: usize>(self, s: S, to: &mut [f32], sums: [S::Vector; N]) -> usize {
        let to = &mut to[..N * S::LANES];
        for n in 0..N {
            self.store(s, &mut to[n * S::LANES..], sums[n]);
        }
        N
    }
}

impl<'a, S: Simd> Task<S> for Line<'a> {
    #[inline(always)]
    fn run(self, s: S) {
        let Line { filters, source, height, at: (block, row), scratch, output, streams } = self;
        let finish = Finish { relu: filters.activation == Some(Activation::Relu), streams };
        let line = source.ring.line;
        let down = |vertical: &'a Taps| vertical.over::<S>((source, height), (block, row));
        let Some(horizontal) = &filters.horizontal else {
            if let Some(vertical) = &filters.vertical {
                let (x, taps) = down(vertical);
                sums(s, x, taps, output, finish);
            }
            return;
        };
        if let Some(vertical) = filters.vertical.as_ref().filter(|_| Pass::accepts(horizontal.count, horizontal.before))
        {
            let (x, vertical) = down(vertical);
            return Pass { x, vertical, horizontal: horizontal.block::<S>(block), finish }.run(s, output);
        }
        let (before, border) = (horizontal.before * S::LANES, (horizontal.count - 1) * S::LANES);
        let scratch = &mut scratch[..line + border];
        scratch[..before].fill(0.0);
        scratch[before + line..].fill(0.0);
        let between = &mut scratch[before..before + line];
        match &filters.vertical {
            Some(vertical) => {
                let (x, taps) = down(vertical);
                sums(s, x, taps, between, Finish::default());
            }
            None => between.copy_from_slice(&source.from(block, row)[..line]),
        }
        let x = Steps { data: scratch, start: 0, step: S::LANES };
        sums(s, x, horizontal.block::<S>(block), output, finish);
    }
}

/// Sums over taps.
#[inline(always)]
fn sums<S: Simd>(s: S, x: Steps<'_>, taps: Block<'_>, output: &mut [f32], finish: Finish) {
    let pixels = output.len() / S::LANES;
    let mut at = 0;
    while at < pixels {
        let output = &mut output[at * S::LANES..];
        at += match pixels - at {
            PIXELS.. => finish.store_all(s, output, taps.sums::<S, PIXELS>(s, x, at)),
            4.. => finish.store_all(s, output, taps.sums::<S, 4>(s, x, at)),
            _ => finish.store_all(s, output, taps.sums::<S, 1>(s, x, at)),
        };
    }
}
