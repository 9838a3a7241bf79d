//! One row of one block of channels, a few pixels at a time: their sums stay in registers over all taps.
//!
//! Taps beyond the border are left out where the input lies: a copy with zeros around it would take a store a pixel, a fifth of what nine products
//! take. As the numbers of places before the border wrap around, one comparison finds those on either side.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use cnn_core::layers::Activation;
use cnn_core::window::{Axis, Plane};

use crate::ops::conv2d::even_rows;
use crate::ops::elementwise::of_vectors;
use crate::simd::grid::Grid;
use crate::simd::{Simd, prefetch_near};

/// The most pixels that are summed at a time: with a row of seven taps and a pixel of the input they fill sixteen registers.
const PIXELS: usize = 8;

/// How many pixels before they are written the output's cache lines are asked for.
const AHEAD: usize = 32;

/// The filters of a block of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filters<'a> {
    /// `[tap][lanes]`.
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
}

/// A row of the output, and what it is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) window: &'a Plane,
    pub(super) filters: Filters<'a>,
    /// Applied where vectors have it.
    pub(super) activation: Option<Activation>,
    /// `[row][column][lanes]`.
    pub(super) input: &'a [f32],
    pub(super) y: usize,
}

impl Line<'_> {
    /// Writes the row.
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, s: S, output: &mut [f32]) {
        let Axis { kernel, stride, dilation, .. } = self.window.columns;
        match (kernel, stride, dilation) {
            (3, 1, 1) => self.groups::<S, 3, 1>(s, output),
            (3, 2, 1) => self.groups::<S, 3, 2>(s, output),
            (5, 1, 1) => self.groups::<S, 5, 1>(s, output),
            (5, 2, 1) => self.groups::<S, 5, 2>(s, output),
            (7, 1, 1) => self.groups::<S, 7, 1>(s, output),
            _ => self.groups::<S, 0, 0>(s, output),
        }
    }

    /// Writes the row in groups of nearly as many pixels each, for so many taps a row and such a stride; 0 stands for any.
    #[inline(always)]
    fn groups<S: Simd, const TAPS: usize, const STRIDE: usize>(self, s: S, output: &mut [f32]) {
        let group = even_rows(output.len() / S::LANES, PIXELS);
        for (i, output) in output.chunks_mut(group * S::LANES).enumerate() {
            macro_rules! pixels {
                ($($pixels:literal)*) => {
                    match output.len() / S::LANES {
                        $($pixels => self.pixels::<S, $pixels, TAPS, STRIDE>(s, i * group, output),)*
                        pixels => unreachable!("{pixels} pixels in a group of at most {PIXELS}"),
                    }
                };
            }
            pixels!(1 2 3 4 5 6 7 8);
        }
    }

    /// `N` pixels from `x` on.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize, const TAPS: usize, const STRIDE: usize>(
        self,
        s: S,
        x: usize,
        output: &mut [f32],
    ) {
        let Plane { rows, columns } = self.window;
        for n in 0..N {
            prefetch_near(output.as_ptr().wrapping_add((AHEAD + n) * S::LANES));
        }
        let left = (x * columns.stride).wrapping_sub(columns.before);
        let (line, taps) = (columns.input * S::LANES, columns.kernel * S::LANES);
        let mut sums = [s.load(self.filters.bias); N];
        for tap in 0..rows.kernel {
            let row = (self.y * rows.stride + tap * rows.dilation).wrapping_sub(rows.before);
            if row < rows.input {
                let (line, weights) = (&self.input[row * line..][..line], &self.filters.weights[tap * taps..][..taps]);
                match TAPS {
                    0 => any(s, (line, left), weights, columns, &mut sums),
                    _ => dense::<S, N, TAPS, STRIDE>(s, (line, left), weights, &mut sums),
                }
            }
        }
        of_vectors(s, self.activation, &mut sums);
        let output = &mut output[..N * S::LANES];
        for n in 0..N {
            s.store(&mut output[n * S::LANES..], sums[n]);
        }
    }
}

/// The pixel at a place in a row of the input, if it has one there.
#[inline(always)]
fn pixel<S: Simd>(s: S, line: &[f32], place: usize) -> Option<S::Vector> {
    let at = place.wrapping_mul(S::LANES);
    let pixel = line.get(at..at.wrapping_add(S::LANES))?;
    Some(s.load(pixel))
}

/// Adds a row of taps side by side: every pixel of the input is loaded once, and meets its taps in registers.
#[inline(always)]
fn dense<S: Simd, const N: usize, const TAPS: usize, const STRIDE: usize>(
    s: S,
    (line, left): (&[f32], usize),
    weights: &[f32],
    sums: &mut [S::Vector; N],
) {
    let mut taps = [s.splat(0.0); TAPS];
    for tap in 0..TAPS {
        taps[tap] = s.load(&weights[tap * S::LANES..]);
    }
    // A tap is `phase` places behind the first of the output that lies `steps` before the place's own.
    for n in 0..N - 1 + TAPS.div_ceil(STRIDE) {
        for phase in 0..STRIDE {
            if let Some(x) = pixel(s, line, left.wrapping_add(n * STRIDE + phase)) {
                for steps in 0..TAPS.div_ceil(STRIDE) {
                    let tap = steps * STRIDE + phase;
                    if tap < TAPS && steps <= n && n - steps < N {
                        sums[n - steps] = s.mul_add(x, taps[tap], sums[n - steps]);
                    }
                }
            }
        }
    }
}

/// Adds a row of taps of any window.
#[inline(always)]
fn any<S: Simd, const N: usize>(
    s: S,
    (line, left): (&[f32], usize),
    weights: &[f32],
    columns: &Axis,
    sums: &mut [S::Vector; N],
) {
    let right = left.wrapping_add((N - 1) * columns.stride + (columns.kernel - 1) * columns.dilation);
    let inside = left < columns.input && right < columns.input;
    for tap in 0..columns.kernel {
        let weight = s.load(&weights[tap * S::LANES..]);
        let place = left.wrapping_add(tap * columns.dilation);
        if inside {
            let pixels = Grid::<S, 1, N>::new(s, &line[place * S::LANES..], [0, columns.stride * S::LANES]);
            for n in 0..N {
                sums[n] = s.mul_add(pixels.load(0, n), weight, sums[n]);
            }
        } else {
            for n in 0..N {
                if let Some(x) = pixel(s, line, place.wrapping_add(n * columns.stride)) {
                    sums[n] = s.mul_add(x, weight, sums[n]);
                }
            }
        }
    }
}
