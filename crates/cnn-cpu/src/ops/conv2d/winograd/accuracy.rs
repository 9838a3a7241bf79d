//! How much the transforms cost a layer in accuracy, with its own weights: one tile of random input against sums in `f64`.

use super::WinogradKernel;
use crate::simd::grid::Grid;
use crate::simd::{Simd, Task, with_simd};
use crate::threads::Block;

/// Panels of output channels that are looked at: the first ones.
const PANELS: usize = 2;

impl<const P: usize, const N: usize, const M: usize> WinogradKernel<P, N, M> {
    /// The relative root-mean-square error of one tile of outputs, of the filters `[O, in_channels, 3, 3]`. The input is
    /// what a ReLU leaves of a normal distribution.
    pub(super) fn error(&self, in_channels: usize, weight: &[f32]) -> f64 {
        with_simd!(self.machine.instructions(), s => self.error_of_tile(s, in_channels, weight))
    }

    fn error_of_tile<S: Simd>(&self, s: S, in_channels: usize, weight: &[f32]) -> f64 {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut input = vec![0.0; self.in_blocks * N * N * S::LANES];
        for c in 0..in_channels {
            for pixel in 0..N * N {
                // Three uniform numbers are close enough to a normal one.
                let value = uniform() + uniform() + uniform() - 1.5;
                input[(c / S::LANES * N * N + pixel) * S::LANES + c % S::LANES] = value.max(0.0);
            }
        }
        let stride = self.in_blocks * S::LANES;
        let mut v = vec![0.0; N * N * stride];
        let mut frequencies = Block::whole(&mut v, [N * N, 1, stride]);
        for block in 0..self.in_blocks {
            let tile = &input[block * N * N * S::LANES..];
            s.vectorize(ForwardTile { kernel: self, tile, out: (&mut frequencies, block * S::LANES) });
        }
        let (mut errors, mut squares) = (0.0, 0.0);
        for panel in (0..self.out_blocks).step_by(2).take(PANELS) {
            let blocks = (self.out_blocks - panel).min(2);
            let mut m = vec![0.0; N * N * blocks * S::LANES];
            for (frequency, m) in m.chunks_mut(blocks * S::LANES).enumerate() {
                self.multiply(s, [(frequency, panel); 2], &v[frequency * stride..][..stride], m);
            }
            for block in 0..blocks {
                let mut out = vec![0.0; M * M * S::LANES];
                s.vectorize(BackwardTile {
                    kernel: self,
                    m: (&m[block * S::LANES..], blocks * S::LANES),
                    out: &mut out,
                });
                let first = (panel + block) * S::LANES;
                for (lane, filters) in weight.chunks(in_channels * 9).skip(first).take(S::LANES).enumerate() {
                    for pixel in 0..M * M {
                        let want = direct::<N, M>(&input, filters, pixel, S::LANES);
                        let error = f64::from(out[pixel * S::LANES + lane]) - want;
                        (errors, squares) = (errors + error * error, squares + want * want);
                    }
                }
            }
        }
        // Filters of zeros come out exact.
        if squares > 0.0 { (errors / squares).sqrt() } else { errors.sqrt() }
    }
}

/// One output of the convolution, summed in `f64`.
fn direct<const N: usize, const M: usize>(input: &[f32], filters: &[f32], pixel: usize, lanes: usize) -> f64 {
    let mut sum = 0.0;
    for (c, filter) in filters.chunks(9).enumerate() {
        for (tap, &weight) in filter.iter().enumerate() {
            let at = (pixel / M + tap / 3) * N + pixel % M + tap % 3;
            sum += f64::from(input[(c / lanes * N * N + at) * lanes + c % lanes]) * f64::from(weight);
        }
    }
    sum
}

struct ForwardTile<'a, 'b, const P: usize, const N: usize, const M: usize> {
    kernel: &'a WinogradKernel<P, N, M>,
    /// `[N * N][lanes]`.
    tile: &'a [f32],
    out: (&'a mut Block<'b>, usize),
}

impl<S: Simd, const P: usize, const N: usize, const M: usize> Task<S> for ForwardTile<'_, '_, P, N, M> {
    #[inline(always)]
    fn run(self, s: S) {
        let pixels = Grid::<S, N, N>::new(s, self.tile, [N * S::LANES, S::LANES]);
        self.kernel.transform.input(s, &pixels, &mut self.out.0.vectors(s, self.out.1));
    }
}

struct BackwardTile<'a, const P: usize, const N: usize, const M: usize> {
    kernel: &'a WinogradKernel<P, N, M>,
    /// The products of one block, and the distance between frequencies.
    m: (&'a [f32], usize),
    out: &'a mut [f32],
}

impl<S: Simd, const P: usize, const N: usize, const M: usize> Task<S> for BackwardTile<'_, P, N, M> {
    #[inline(always)]
    fn run(self, s: S) {
        let (m, stride) = self.m;
        let y = self.kernel.transform.output(s, Grid::new(s, m, [N * stride, stride]));
        for (i, row) in y.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                s.store(&mut self.out[(i * M + j) * S::LANES..], v);
            }
        }
    }
}
