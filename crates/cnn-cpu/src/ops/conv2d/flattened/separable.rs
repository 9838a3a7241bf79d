//! A vertical and a horizontal filter in one pass over a row: what lies between them stays in registers.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use super::filters::{Block, Finish};
use super::rows::Steps;
use crate::simd::Simd;

/// A row of a block of channels.
pub(super) struct Pass<'a> {
    /// The first row that the vertical filter sees, and those below it.
    pub(super) x: Steps<'a>,
    /// The vertical filter's taps that see a row.
    pub(super) vertical: Block<'a>,
    pub(super) horizontal: Block<'a>,
    pub(super) finish: Finish,
}

impl Pass<'_> {
    /// Whether horizontal filters of so many taps, so many of them before the pixel that they make, have a pass of their own.
    pub(super) fn accepts(taps: usize, before: usize) -> bool {
        matches!(taps, 3 | 5 | 7) && before == taps / 2
    }

    /// Writes the row, for filters that [`accepts`](Self::accepts) has taken.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, s: S, output: &mut [f32]) {
        match self.horizontal.weights.len() / S::LANES {
            3 => self.pixels::<S, 2, 1>(s, output),
            5 => self.pixels::<S, 4, 2>(s, output),
            _ => self.pixels::<S, 6, 3>(s, output),
        }
    }

    /// With `P` pixels before the one that comes next, `AFTER` of them behind the one that is made.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize, const AFTER: usize>(&self, s: S, output: &mut [f32]) {
        let width = output.len() / S::LANES;
        let mut past = [s.splat(0.0); P];
        for (column, sum) in past[P - AFTER..].iter_mut().enumerate().take(width) {
            [*sum] = self.down::<S, 1>(s, column);
        }
        let mut at = 0;
        // As many as registers hold beside those before them and the taps.
        if S::LANES >= 16 {
            while at + AFTER + 8 <= width {
                at += self.step::<S, 8, P>(s, self.down(s, at + AFTER), &mut past, &mut output[at * S::LANES..]);
            }
        }
        while at + AFTER + 4 <= width {
            at += self.step::<S, 4, P>(s, self.down(s, at + AFTER), &mut past, &mut output[at * S::LANES..]);
        }
        while at < width {
            let next = if at + AFTER < width { self.down(s, at + AFTER) } else { [s.splat(0.0)] };
            at += self.step::<S, 1, P>(s, next, &mut past, &mut output[at * S::LANES..]);
        }
    }

    /// The vertical sums of `N` columns.
    #[inline(always)]
    fn down<S: Simd, const N: usize>(&self, s: S, column: usize) -> [S::Vector; N] {
        self.vertical.sums(s, self.x, column)
    }

    /// `N` pixels, from the vertical sums before them and the next `N`.
    #[inline(always)]
    fn step<S: Simd, const N: usize, const P: usize>(
        &self,
        s: S,
        next: [S::Vector; N],
        past: &mut [S::Vector; P],
        output: &mut [f32],
    ) -> usize {
        let weights = &self.horizontal.weights[..(P + 1) * S::LANES];
        let mut sums = [s.load(self.horizontal.bias); N];
        for tap in 0..=P {
            let weight = s.load(&weights[tap * S::LANES..]);
            for n in 0..N {
                let x = if n + tap < P { past[n + tap] } else { next[n + tap - P] };
                sums[n] = s.mul_add(x, weight, sums[n]);
            }
        }
        for p in 0..P {
            past[p] = if p + N < P { past[p + N] } else { next[p + N - P] };
        }
        self.finish.store_all(s, output, sums)
    }
}
