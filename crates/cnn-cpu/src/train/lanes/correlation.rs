//! The gradient of a convolution's weights: the correlation of the input with the output's gradient, summed over pixels
//! in registers, a sample a lane; lanes are added last.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop, unsafe_code)]

use std::ops::Range;

use crate::simd::{Instructions, Simd, Task, with_simd};

/// The products of one row of taps.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The first value of each line that meets the row, and the same line of gradients.
    pub(super) lines: Vec<[usize; 2]>,
    /// Where its weights begin.
    pub(super) weight: usize,
}

/// `weights[channel][row][tap] (+)= sum over lines, pixels and lanes of gradient[channel] * value[tap]`.
#[derive(Debug, Clone)]
pub(super) struct Correlation {
    pub(super) instructions: Instructions,
    pub(super) rows: Vec<Row>,
    /// Offsets of the values and weights of each tap of a row.
    pub(super) taps: Vec<[usize; 2]>,
    pub(super) channels: usize,
    pub(super) pixels: usize,
    /// Floats from channel to channel of gradients and of weights.
    pub(super) channel_steps: [usize; 2],
    /// Floats from pixel to pixel of values.
    pub(super) pixel_step: usize,
}

impl Correlation {
    /// Adds to the weights' gradients unless they are fresh. Panics where a slice is too short.
    pub(super) fn run(&self, values: &[f32], gradients: &[f32], weights: &mut [f32], fresh: bool) {
        with_simd!(self.instructions, s => s.vectorize(All { all: self, values, gradients, weights, fresh }));
    }
}

/// `sums[channel] (+)= sum over pixels and lanes of gradients[channel]`: the gradient of a bias.
pub(super) fn sum_channels(instructions: Instructions, gradients: &[f32], sums: &mut [f32], fresh: bool) {
    with_simd!(instructions, s => s.vectorize(Channels { gradients, sums, fresh }));
}

struct Channels<'a> {
    gradients: &'a [f32],
    sums: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd> Task<S> for Channels<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let plane = self.gradients.len() / self.sums.len();
        for channel in 0..self.sums.len() {
            let gradients = &self.gradients[channel * plane..][..plane];
            // Sums that do not wait for each other.
            let mut parts = [s.splat(0.0); 4];
            let mut at = 0;
            while at + 4 * S::LANES <= plane {
                for part in 0..4 {
                    parts[part] = s.add(parts[part], s.load(&gradients[at + part * S::LANES..]));
                }
                at += 4 * S::LANES;
            }
            while at < plane {
                parts[0] = s.add(parts[0], s.load(&gradients[at..]));
                at += S::LANES;
            }
            let sum = s.sum_of_lanes(s.add(s.add(parts[0], parts[1]), s.add(parts[2], parts[3])));
            self.sums[channel] = if self.fresh { sum } else { self.sums[channel] + sum };
        }
    }
}

struct All<'a> {
    all: &'a Correlation,
    values: &'a [f32],
    gradients: &'a [f32],
    weights: &'a mut [f32],
    fresh: bool,
}

/// The highest tile: channels by taps.
const fn tile<S: Simd>() -> [usize; 2] {
    match S::TILE_ROWS {
        8.. => [4, 6],
        _ => [3, 4],
    }
}

fn even(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

impl<S: Simd> Task<S> for All<'_> {
    #[inline(always)]
    fn run(mut self, s: S) {
        let all = self.all;
        let [most_channels, most_taps] = tile::<S>();
        let (height, width) = (even(all.channels, most_channels), even(all.taps.len(), most_taps));
        let last_tap = all.taps.iter().map(|tap| tap[0]).max().unwrap_or(0);
        for row in 0..all.rows.len() {
            let lines = &all.rows[row].lines;
            let furthest = |i: usize| lines.iter().map(|line| line[i]).max().unwrap_or(0);
            assert!(furthest(0) + last_tap + (all.pixels - 1) * all.pixel_step + S::LANES <= self.values.len());
            let last_channel = (all.channels - 1) * all.channel_steps[0];
            assert!(furthest(1) + last_channel + all.pixels * S::LANES <= self.gradients.len());
            let mut channel = 0;
            while channel < all.channels {
                let channels = channel..(channel + height).min(all.channels);
                let mut tap = 0;
                while tap < all.taps.len() {
                    let taps = tap..(tap + width).min(all.taps.len());
                    // SAFETY: the furthest value and gradient were checked above.
                    unsafe { self.tile(s, row, channels.clone(), taps.clone()) };
                    tap = taps.end;
                }
                channel = channels.end;
            }
        }
    }
}

impl All<'_> {
    /// # Safety
    /// Every value and gradient of the row must lie inside its slice.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&mut self, s: S, row: usize, channels: Range<usize>, taps: Range<usize>) {
        macro_rules! tiles {
            ($channels:literal: $($taps:literal)*) => {
                match taps.len() {
                    // SAFETY: the caller's.
                    $($taps => unsafe { self.sums::<S, $channels, $taps>(s, row, channels.start, taps.start) },)*
                    taps => unreachable!("{taps} taps do not fit the registers"),
                }
            };
        }
        match channels.len() {
            1 => tiles!(1: 1 2 3 4 5 6),
            2 => tiles!(2: 1 2 3 4 5 6),
            3 => tiles!(3: 1 2 3 4 5 6),
            _ => tiles!(4: 1 2 3 4 5 6),
        }
    }

    /// # Safety
    /// As [`tile`](Self::tile).
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const T: usize>(&mut self, s: S, row: usize, channel: usize, tap: usize) {
        let all = self.all;
        let [gradient_step, weight_step] = all.channel_steps;
        let mut offsets = [0; T];
        for t in 0..T {
            offsets[t] = all.taps[tap + t][0];
        }
        let mut sums = [[s.splat(0.0); T]; R];
        for line in &all.rows[row].lines {
            // SAFETY: the caller vouches for every offset.
            unsafe {
                let values = self.values.as_ptr().add(line[0]);
                let gradients = self.gradients.as_ptr().add(line[1] + channel * gradient_step);
                for pixel in 0..all.pixels {
                    let mut gradient = [s.splat(0.0); R];
                    for r in 0..R {
                        gradient[r] = s.load_from(gradients.add(r * gradient_step + pixel * S::LANES));
                    }
                    for t in 0..T {
                        let value = s.load_from(values.add(offsets[t] + pixel * all.pixel_step));
                        for r in 0..R {
                            sums[r][t] = s.mul_add(gradient[r], value, sums[r][t]);
                        }
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                let weight =
                    &mut self.weights[(channel + r) * weight_step + all.rows[row].weight + all.taps[tap + t][1]];
                let sum = s.sum_of_lanes(sums[r][t]);
                *weight = if self.fresh { sum } else { *weight + sum };
            }
        }
    }
}
