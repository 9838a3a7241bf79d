//! The transforms of F(m x m, 3 x 3) (Winograd 1980; Lavin and Gray 2016), for any points that come in pairs.
//!
//! With the points 0, ±p_1, .. ±p_P and infinity, and q(x) the product of all (x² - p_j²), the input's transform takes the
//! coefficients of q, of x q, and for each pair those of (x ± p_i) x q / (x² - p_i²). Both signs share their even and odd
//! parts, which is all the factoring that the code below needs.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::array::from_fn;

use crate::simd::Simd;
use crate::simd::grid::{Grid, GridMut};

/// The points of F(2 x 2).
pub(super) const POINTS_2: [f64; 1] = [1.0];
/// The points of F(4 x 4): half the error of ±1, ±2.
pub(super) const POINTS_4: [f64; 2] = [std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2];
/// The points of F(6 x 6).
pub(super) const POINTS_6: [f64; 3] = [1.0, 2.0, 0.5];

/// Where a tile's pixels come from.
pub(super) trait Pixels<S: Simd> {
    /// A pixel of a block of channels. To be inlined.
    fn pixel(&self, row: usize, column: usize) -> S::Vector;
}

impl<S: Simd, const ROWS: usize, const COLUMNS: usize> Pixels<S> for Grid<'_, S, ROWS, COLUMNS> {
    #[inline(always)]
    fn pixel(&self, row: usize, column: usize) -> S::Vector {
        self.load(row, column)
    }
}

/// The transforms for `P` pairs of points: `N = 2 P + 2` inputs, `M = 2 P` outputs an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transform<const P: usize, const N: usize, const M: usize> {
    points: [f64; P],
    /// By pair: the coefficients of q / (x² - p_i²), of even powers, the lowest first. The highest is 1.
    others: [[f32; P]; P],
    /// The coefficients of q below the highest, which is 1.
    all: [f32; P],
    /// By output: each point to that power.
    powers: [[f32; P]; M],
}

impl<const P: usize, const N: usize, const M: usize> Transform<P, N, M> {
    pub(super) fn new(points: [f64; P]) -> Self {
        assert!(N == 2 * P + 2 && M == 2 * P);
        let product = |skipped: Option<usize>| {
            let mut coefficients = vec![1.0];
            for (_, p) in points.iter().enumerate().filter(|(j, _)| Some(*j) != skipped) {
                let mut next = vec![0.0; coefficients.len() + 1];
                for (k, c) in coefficients.iter().enumerate() {
                    next[k] -= c * p * p;
                    next[k + 1] += c;
                }
                coefficients = next;
            }
            coefficients
        };
        let all = product(None);
        Transform {
            points,
            others: from_fn(|i| {
                let others = product(Some(i));
                from_fn(|k| others[k] as f32)
            }),
            all: from_fn(|k| all[k] as f32),
            powers: from_fn(|r| from_fn(|i| points[i].powi(r as i32) as f32)),
        }
    }

    /// One axis of the input's transform.
    #[inline(always)]
    fn input_axis<S: Simd>(&self, s: S, d: &[S::Vector; N]) -> [S::Vector; N] {
        let mut out = [s.splat(0.0); N];
        out[0] = every_other(s, d, 0, &self.all);
        out[N - 1] = every_other(s, d, 1, &self.all);
        for i in 0..P {
            let even = every_other(s, d, 2, &self.others[i][..P - 1]);
            let odd = every_other(s, d, 1, &self.others[i][..P - 1]);
            let point = self.points[i] as f32;
            out[1 + 2 * i] = s.mul_add(s.splat(point), odd, even);
            out[2 + 2 * i] = s.mul_add(s.splat(-point), odd, even);
        }
        out
    }

    /// One axis of the output's transform.
    #[inline(always)]
    fn output_axis<S: Simd>(&self, s: S, m: &[S::Vector; N]) -> [S::Vector; M] {
        let (mut sums, mut differences) = ([m[0]; P], [m[0]; P]);
        let mut out = [m[0]; M];
        for i in 0..P {
            sums[i] = s.add(m[1 + 2 * i], m[2 + 2 * i]);
            differences[i] = s.sub(m[1 + 2 * i], m[2 + 2 * i]);
            out[0] = s.add(out[0], sums[i]);
        }
        out[M - 1] = m[N - 1];
        for r in 1..M {
            let pairs = if r % 2 == 0 { &sums } else { &differences };
            for i in 0..P {
                let term = (s.splat(self.powers[r][i]), pairs[i]);
                out[r] = if i == 0 && r < M - 1 { s.mul(term.0, term.1) } else { s.mul_add(term.0, term.1, out[r]) };
            }
        }
        out
    }

    /// Transforms a tile of `N` x `N` pixels.
    #[inline(always)]
    pub(super) fn input<S: Simd>(&self, s: S, tile: &impl Pixels<S>, out: &mut GridMut<'_, S, N, N>) {
        let mut half = [[s.splat(0.0); N]; N];
        for j in 0..N {
            let mut column = [s.splat(0.0); N];
            for i in 0..N {
                column[i] = tile.pixel(i, j);
            }
            let column = self.input_axis(s, &column);
            for i in 0..N {
                half[i][j] = column[i];
            }
        }
        for i in 0..N {
            let row = self.input_axis(s, &half[i]);
            for j in 0..N {
                out.store(i, j, row[j]);
            }
        }
    }

    /// Transforms a tile back to `M` x `M` pixels.
    #[inline(always)]
    pub(super) fn output<S: Simd>(&self, s: S, m: Grid<'_, S, N, N>) -> [[S::Vector; M]; M] {
        let mut half = [[s.splat(0.0); N]; M];
        for j in 0..N {
            let mut column = [s.splat(0.0); N];
            for i in 0..N {
                column[i] = m.load(i, j);
            }
            let column = self.output_axis(s, &column);
            for i in 0..M {
                half[i][j] = column[i];
            }
        }
        let mut out = [[s.splat(0.0); M]; M];
        for i in 0..M {
            out[i] = self.output_axis(s, &half[i]);
        }
        out
    }

    /// Transforms a filter of 3 x 3, in `f64`: `[N][N]`.
    pub(super) fn filter(&self, filter: &[f32]) -> [[f64; N]; N] {
        let mut points = [0.0; N];
        for (i, p) in self.points.into_iter().enumerate() {
            (points[1 + 2 * i], points[2 + 2 * i]) = (p, -p);
        }
        let axis = |g: [f64; 3]| -> [f64; N] {
            from_fn(|i| {
                if i == N - 1 {
                    return g[2];
                }
                let p = points[i];
                let scale: f64 = (0..N - 1).filter(|&j| j != i).map(|j| p - points[j]).product();
                (g[0] + p * (g[1] + p * g[2])) / scale
            })
        };
        let columns: [[f64; N]; 3] = from_fn(|j| axis(from_fn(|i| f64::from(filter[3 * i + j]))));
        from_fn(|i| axis(from_fn(|j| columns[j][i])))
    }
}

/// The sum of coefficients times every other element from `first` on; one more has the coefficient 1.
#[inline(always)]
fn every_other<S: Simd, const N: usize>(s: S, d: &[S::Vector; N], first: usize, coefficients: &[f32]) -> S::Vector {
    let mut sum = d[first + 2 * coefficients.len()];
    for (k, &c) in coefficients.iter().enumerate() {
        sum = s.mul_add(s.splat(c), d[first + 2 * k], sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;
    use crate::threads::Block;

    fn value(i: usize) -> f32 {
        ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0
    }

    fn check<const P: usize, const N: usize, const M: usize>(points: [f64; P]) {
        let transform = Transform::<P, N, M>::new(points);
        let filter: Vec<f32> = (0..9).map(|i| value(i + 3)).collect();
        let u = transform.filter(&filter);
        // One pixel in every lane.
        let tile: Vec<f32> = (0..N * N * 4).map(|i| value(i / 4)).collect();
        let tile = Grid::<Portable, N, N>::new(Portable, &tile, [N * 4, 4]);
        let mut product = vec![0.0; N * N * 4];
        let mut block = Block::whole(&mut product, [N * N, 1, 4]);
        transform.input(Portable, &tile, &mut block.vectors(Portable, 0));
        for (product, &u) in product.chunks_mut(4).zip(u.as_flattened()) {
            product.iter_mut().for_each(|v| *v *= u as f32);
        }
        let y = transform.output(Portable, Grid::new(Portable, &product, [N * 4, 4]));
        for (i, row) in y.iter().enumerate() {
            for (j, got) in row.iter().enumerate() {
                let tap = |k: usize| f64::from(filter[k]) * f64::from(value((i + k / 3) * N + j + k % 3));
                let want: f64 = (0..9).map(tap).sum();
                assert!((f64::from(got[0]) - want).abs() < 2e-5, "F({M}): {} {want}", got[0]);
            }
        }
    }

    #[test]
    fn a_tile_comes_out_as_its_sums() {
        check::<1, 4, 2>(POINTS_2);
        check::<2, 6, 4>(POINTS_4);
        check::<3, 8, 6>(POINTS_6);
    }
}
