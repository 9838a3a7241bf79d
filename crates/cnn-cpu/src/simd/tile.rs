//! The innermost loop of every matrix product and direct convolution: a tile of sums that stays in registers over the
//! whole depth.
//!
//! `c[row][lane] = start + sum over k of x[row][k] * w[k][lane]`: each `x` is broadcast over vectors of weights. Where
//! the `x` lie is said by a [`Walk`], so that the same loop multiplies matrices and walks the windows of a convolution
//! where its input lies, without a copy of patches.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use super::walk::Walk;
use super::{Simd, Task, prefetch, prefetch_near};

/// The most steps that one sum should have: longer ones lose accuracy.
pub const LONGEST_SUM: usize = 512;

/// Rows of the highest tile of any instruction set.
const MOST_ROWS: usize = 14;

/// Rows of the highest tile of walks whose row stride the compiler does not know: their addresses have to stay in
/// registers too.
pub const FREE_STRIDE_ROWS: usize = 8;

/// What weights are stored as.
pub trait Weight: Copy + Send + Sync {
    /// Reads a vector of them.
    ///
    /// # Safety
    /// `LANES` of them at `from` must be readable.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector {
        // SAFETY: passed on.
        unsafe { s.load_from(from) }
    }
}

/// A weight in IEEE half precision.
#[derive(Debug, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(transparent)]
pub struct Half(pub u16);

impl Weight for Half {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector {
        // SAFETY: passed on.
        unsafe { s.load_half_from(from.cast()) }
    }
}

/// What the sums start from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// A value a lane: `[vectors * LANES]`.
    Bias(&'a [f32]),
    /// Zero, and what is in `c` is added last: sums of parts lose less than one long sum.
    Sum,
}

/// The operands of a tile.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a, D, W = f32> {
    /// Holds the rows; the first row's first element is the slice's.
    pub x: &'a [f32],
    /// Where they lie.
    pub walk: D,
    /// Number of rows, at most the instruction set's [`TILE_ROWS`](Simd::TILE_ROWS) for tiles two vectors wide.
    pub rows: usize,
    /// `[depth][vectors * LANES]`.
    pub w: &'a [W],
    /// What the sums start from.
    pub start: Start<'a>,
    /// Whether negative sums are written as zeros.
    pub relu: bool,
    /// What to fetch into the second cache meanwhile: one line a step from here on.
    pub next: *const f32,
}

impl<D: Walk, W: Weight> Tile<'_, D, W> {
    /// Computes the tile of `V` vectors; `c[v]` is `[rows][c_stride]`, of which the first `LANES` of each row are
    /// written. Panics where a slice is too short.
    #[inline]
    pub fn run<S: Simd, const V: usize>(&self, s: S, c: [&mut [f32]; V], c_stride: usize) {
        self.run_with_residual(s, c, c_stride, None);
    }

    /// As [`run`](Self::run), and adds what lies at the same places of `residual`, before a ReLU.
    #[inline]
    pub fn run_with_residual<'c, S: Simd, const V: usize>(
        &self,
        s: S,
        mut c: [&'c mut [f32]; V],
        c_stride: usize,
        residual: Option<[&'c [f32]; V]>,
    ) {
        let last = self.rows.checked_sub(1).expect("a tile has rows");
        let (depth, walk) = (self.walk.runs() * self.walk.run::<S>(), self.walk);
        assert!(depth == 0 || self.x.len() >= last * walk.row_stride::<S>() + walk.furthest() + walk.run::<S>());
        assert!(self.w.len() >= depth * V * S::LANES);
        assert!(c.iter().all(|c| c.len() >= last * c_stride + S::LANES));
        assert!(residual.iter().flatten().all(|residual| residual.len() >= last * c_stride + S::LANES));
        assert!(!matches!(self.start, Start::Bias(bias) if bias.len() < V * S::LANES));
        macro_rules! rows {
            ($($rows:literal)*) => {
                match self.rows {
                    $($rows => self.tile::<S, $rows, V>(s, (&mut c, residual), c_stride),)*
                    rows => unreachable!("{rows} rows in a tile of at most {MOST_ROWS}"),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    #[inline(never)]
    fn tile<'c, S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        (c, residual): (&mut [&'c mut [f32]; V], Option<[&'c [f32]; V]>),
        c_stride: usize,
    ) {
        if R * V > S::TILE_ROWS * 2 {
            unreachable!("a tile of {R} x {V} vectors does not fit the registers");
        }
        s.vectorize(Sums::<D, W, R, V> { tile: self, c, residual, c_stride });
    }
}

/// The loop of one height and width.
struct Sums<'a, 'b, D, W, const R: usize, const V: usize> {
    tile: &'a Tile<'a, D, W>,
    c: &'a mut [&'b mut [f32]; V],
    residual: Option<[&'b [f32]; V]>,
    c_stride: usize,
}

impl<S: Simd, D: Walk, W: Weight, const R: usize, const V: usize> Task<S> for Sums<'_, '_, D, W, R, V> {
    /// To be called after `Tile::run`'s checks alone.
    #[inline(always)]
    fn run(self, s: S) {
        let Sums { tile, c, residual, c_stride } = self;
        // SAFETY: r < R, v < V and the steps of the walk keep every access inside what `run` has checked.
        unsafe {
            let stride = tile.walk.row_stride::<S>();
            let mut sums = [[s.splat(0.0); V]; R];
            for r in 0..R {
                for v in 0..V {
                    match tile.start {
                        Start::Zero | Start::Sum => {}
                        Start::Bias(bias) => sums[r][v] = s.load_from(bias.as_ptr().add(v * S::LANES)),
                    }
                }
            }
            let (mut w, mut next) = (tile.w.as_ptr(), tile.next);
            // A tile of few sums would wait for each of them: every other step has a second one, added at the end.
            let few = R * V <= 4;
            let mut second = [[s.splat(0.0); V]; R];
            for run in 0..tile.walk.runs() {
                let x = tile.x.as_ptr().add(tile.walk.begin(run));
                let steps = tile.walk.run::<S>();
                // The rows of the next run lie far away: they are fetched one a step.
                let ahead = tile.x.as_ptr().wrapping_add(tile.walk.begin((run + 1).min(tile.walk.runs() - 1)));
                let mut k = 0;
                while few && k + 1 < steps {
                    let mut weights = [[s.splat(0.0); V]; 2];
                    for v in 0..V {
                        weights[0][v] = W::load(s, w.add(v * S::LANES));
                        weights[1][v] = W::load(s, w.add((V + v) * S::LANES));
                    }
                    w = w.wrapping_add(2 * V * S::LANES);
                    for r in 0..R {
                        let x = [s.splat(*x.add(r * stride + k)), s.splat(*x.add(r * stride + k + 1))];
                        for v in 0..V {
                            sums[r][v] = s.mul_add(x[0], weights[0][v], sums[r][v]);
                            second[r][v] = s.mul_add(x[1], weights[1][v], second[r][v]);
                        }
                    }
                    k += 2;
                }
                while k < steps {
                    let mut weights = [s.splat(0.0); V];
                    for v in 0..V {
                        weights[v] = W::load(s, w.add(v * S::LANES));
                    }
                    w = w.wrapping_add(V * S::LANES);
                    prefetch(next);
                    next = next.wrapping_add(16);
                    prefetch_near(ahead.wrapping_add(k * stride));
                    for r in 0..R {
                        let x = s.splat(*x.add(r * stride + k));
                        for v in 0..V {
                            sums[r][v] = s.mul_add(x, weights[v], sums[r][v]);
                        }
                    }
                    k += 1;
                }
            }
            if few {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = s.add(sums[r][v], second[r][v]);
                    }
                }
            }
            if matches!(tile.start, Start::Sum) {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = s.add(sums[r][v], s.load_from(c[v].as_ptr().add(r * c_stride)));
                    }
                }
            }
            if let Some(residual) = residual {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = s.add(sums[r][v], s.load_from(residual[v].as_ptr().add(r * c_stride)));
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let sum = if tile.relu { s.relu(sums[r][v]) } else { sums[r][v] };
                    s.store_to(c[v].as_mut_ptr().add(r * c_stride), sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::walk::{BlockedPixels, BlockedWindows, Offsets, Panel, PlanarWindows, RowMajor};
    use crate::simd::{Instructions, with_simd};

    fn value(i: usize) -> f32 {
        ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0
    }

    fn check<S: Simd, D: Walk>(s: S, walk: D, rows: usize, start: Start<'_>, relu: bool) {
        check_with(s, walk, rows, (start, relu), false);
        check_with(s, walk, rows, (start, relu), true);
    }

    fn check_with<S: Simd, D: Walk>(s: S, walk: D, rows: usize, (start, relu): (Start<'_>, bool), with_residual: bool) {
        let depth = walk.runs() * walk.run::<S>();
        let x: Vec<f32> =
            (0..(rows - 1) * walk.row_stride::<S>() + walk.furthest() + walk.run::<S>()).map(value).collect();
        let w: Vec<f32> = (0..depth * 2 * S::LANES).map(|i| value(i + 77)).collect();
        let before: Vec<f32> = (0..2 * rows * (S::LANES + 1)).map(|i| value(i + 5)).collect();
        let residual: Vec<f32> = (0..before.len()).map(|i| value(i + 9)).collect();
        let mut c = before.clone();
        let (first, second) = c.split_at_mut(rows * (S::LANES + 1));
        let tile = Tile { x: &x, walk, rows, w: &w, start, relu, next: w.as_ptr() };
        let residuals = residual.split_at(rows * (S::LANES + 1));
        tile.run_with_residual(s, [first, second], S::LANES + 1, with_residual.then_some([residuals.0, residuals.1]));
        for (i, (&got, &before)) in c.iter().zip(&before).enumerate() {
            let (v, r, lane) = (i / (S::LANES + 1) / rows, i / (S::LANES + 1) % rows, i % (S::LANES + 1));
            if lane == S::LANES {
                assert_eq!(got, before);
                continue;
            }
            let column = v * S::LANES + lane;
            let mut sum = match start {
                Start::Zero => 0.0,
                Start::Bias(bias) => f64::from(bias[column]),
                Start::Sum => f64::from(before),
            };
            sum += if with_residual { f64::from(residual[i]) } else { 0.0 };
            for k in 0..depth {
                // SAFETY: the run is one of the walk's.
                let at = unsafe { walk.begin(k / walk.run::<S>()) } + k % walk.run::<S>();
                sum += f64::from(x[r * walk.row_stride::<S>() + at]) * f64::from(w[k * 2 * S::LANES + column]);
            }
            let want = if relu { sum.max(0.0) } else { sum };
            assert!((f64::from(got) - want).abs() < 1e-4, "{s:?} {rows} rows: {got} {want}");
        }
    }

    fn check_all<S: Simd>(s: S) {
        let bias: Vec<f32> = (0..2 * S::LANES).map(value).collect();
        for rows in 1..=S::TILE_ROWS {
            for length in [0, 1, 2, 7, 65] {
                let offsets = Offsets::new((0..length).map(|k| (k * k % 23) as u32).collect());
                let taps = offsets.part(0..length);
                check(s, RowMajor { length, stride: length + 3 }, rows, Start::Zero, false);
                check(s, Panel { length, width: 15 }, rows, Start::Bias(&bias), true);
                check(s, PlanarWindows::<0> { taps, stride: 5 }, rows, Start::Zero, true);
                check(s, PlanarWindows::<2> { taps, stride: 2 }, rows, Start::Sum, false);
                check(s, BlockedWindows::<1> { taps, stride: 1, channels: S::LANES }, rows, Start::Sum, true);
                check(s, BlockedWindows::<0> { taps, stride: 3, channels: 3 }, rows, Start::Bias(&bias), false);
                check(s, BlockedPixels { blocks: length, plane: 20 }, rows, Start::Zero, true);
            }
        }
    }

    #[test]
    fn tiles_of_every_instruction_set_agree_with_sums_in_f64() {
        for set in Instructions::supported() {
            with_simd!(set, s => check_all(s));
        }
    }
}
