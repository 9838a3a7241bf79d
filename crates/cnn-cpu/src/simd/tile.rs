//! The innermost loop of every matrix product and direct convolution: a tile of sums that stays in registers over the
//! whole depth.
//!
//! `c[row][lane] = start + sum over k of x[row * row_stride + at(k)] * w[k][lane]`: each `x` is broadcast over vectors
//! of weights. Where the `x` of a step lie is said by [`Depth`], so that the same loop multiplies packed matrices and
//! walks the windows of a convolution where the input lies, without a copy of patches.

use super::{Simd, prefetch};

/// Rows of the highest tile of any instruction set.
const MOST_ROWS: usize = 14;

/// Where the operand of step `k` lies, relative to that of the row's first step.
pub trait Depth: Copy {
    /// Number of steps.
    fn length(self) -> usize;
    /// At most this far from the row's first element.
    fn reach(self) -> usize;
    /// The offset of a step.
    ///
    /// # Safety
    /// `k` must be less than `length`. The offset is at most `reach`.
    unsafe fn at(self, k: usize) -> usize;
}

/// Steps side by side.
#[derive(Debug, Clone, Copy)]
pub struct Contiguous(pub usize);

impl Depth for Contiguous {
    fn length(self) -> usize {
        self.0
    }
    fn reach(self) -> usize {
        self.0.saturating_sub(1)
    }
    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        k
    }
}

/// Steps at a fixed distance.
#[derive(Debug, Clone, Copy)]
pub struct Strided {
    /// Number of steps.
    pub length: usize,
    /// Distance between them.
    pub stride: usize,
}

impl Depth for Strided {
    fn length(self) -> usize {
        self.length
    }
    fn reach(self) -> usize {
        self.length.saturating_sub(1) * self.stride
    }
    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        k * self.stride
    }
}

/// Steps at listed offsets: the taps of a window.
#[derive(Debug, Clone)]
pub struct Offsets {
    offsets: Vec<u32>,
    reach: usize,
}

impl Offsets {
    /// The offsets, in the order of the steps.
    pub fn new(offsets: Vec<u32>) -> Self {
        let reach = offsets.iter().max().map_or(0, |&offset| offset as usize);
        Offsets { offsets, reach }
    }

    /// A part of the steps.
    pub fn part(&self, range: std::ops::Range<usize>) -> Listed<'_> {
        Listed { offsets: &self.offsets[range], reach: self.reach }
    }
}

/// A part of [`Offsets`].
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    offsets: &'a [u32],
    reach: usize,
}

impl Depth for Listed<'_> {
    fn length(self) -> usize {
        self.offsets.len()
    }
    fn reach(self) -> usize {
        self.reach
    }
    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        // SAFETY: the caller vouches for `k`.
        unsafe { *self.offsets.get_unchecked(k) as usize }
    }
}

/// What the sums start from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// A value a lane: `[vectors * LANES]`.
    Bias(&'a [f32]),
    /// What is in `c`.
    Sum,
}

/// The operands of a tile.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a, D> {
    /// Holds the rows; the first row's first element is the slice's.
    pub x: &'a [f32],
    /// Distance between rows of `x`.
    pub x_stride: usize,
    /// Number of rows, at most the instruction set's [`TILE_ROWS`](Simd::TILE_ROWS) for tiles two vectors wide.
    pub rows: usize,
    /// The steps.
    pub depth: D,
    /// `[depth][vectors * LANES]`.
    pub w: &'a [f32],
    /// What the sums start from.
    pub start: Start<'a>,
    /// Whether negative sums are written as zeros.
    pub relu: bool,
    /// What to fetch into the second cache meanwhile: one line a step from here on.
    pub next: *const f32,
}

// SAFETY: `next` is an address to prefetch and is never read through.
unsafe impl<D: Send> Send for Tile<'_, D> {}

impl<D: Depth> Tile<'_, D> {
    /// Computes the tile of `V` vectors; `c[v]` is `[rows][c_stride]`, of which the first `LANES` of each row are
    /// written. Panics where a slice is too short.
    #[inline]
    pub fn run<S: Simd, const V: usize>(&self, s: S, mut c: [&mut [f32]; V], c_stride: usize) {
        let (last, depth) = (self.rows.checked_sub(1).expect("a tile has rows"), self.depth.length());
        assert!(depth == 0 || self.x.len() > last * self.x_stride + self.depth.reach());
        assert!(self.w.len() >= depth * V * S::LANES);
        assert!(c.iter().all(|c| c.len() >= last * c_stride + S::LANES));
        assert!(!matches!(self.start, Start::Bias(bias) if bias.len() < V * S::LANES));
        macro_rules! rows {
            ($($rows:literal)*) => {
                match self.rows {
                    // SAFETY: every length is checked above.
                    $($rows => unsafe { self.tile::<S, $rows, V>(s, &mut c, c_stride) },)*
                    rows => unreachable!("{rows} rows in a tile of at most {MOST_ROWS}"),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// # Safety
    /// The slices must be as long as `run` checks.
    #[inline(never)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, c: &mut [&mut [f32]; V], c_stride: usize) {
        if R * V > S::TILE_ROWS * 2 {
            unreachable!("a tile of {R} x {V} vectors does not fit the registers");
        }
        // SAFETY: passed on.
        s.vectorize(|| unsafe { self.body::<S, R, V>(s, c, c_stride) });
    }

    /// # Safety
    /// The slices must be as long as `run` checks.
    #[inline(always)]
    unsafe fn body<S: Simd, const R: usize, const V: usize>(&self, s: S, c: &mut [&mut [f32]; V], c_stride: usize) {
        // SAFETY (all blocks): r < R, v < V and k < depth keep every access inside what `run` has checked.
        let rows: [*const f32; R] = std::array::from_fn(|r| self.x.as_ptr().wrapping_add(r * self.x_stride));
        let mut sums = [[s.splat(0.0); V]; R];
        match self.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                let bias: [_; V] = std::array::from_fn(|v| unsafe { s.load_from(bias.as_ptr().add(v * S::LANES)) });
                sums = [bias; R];
            }
            Start::Sum => {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = unsafe { s.load_from(c[v].as_ptr().add(r * c_stride)) };
                    }
                }
            }
        }
        let mut w = self.w.as_ptr();
        for k in 0..self.depth.length() {
            let weights: [_; V] = std::array::from_fn(|v| unsafe { s.load_from(w.add(v * S::LANES)) });
            w = w.wrapping_add(V * S::LANES);
            prefetch(self.next.wrapping_add(k * 16));
            let at = unsafe { self.depth.at(k) };
            for r in 0..R {
                let x = s.splat(unsafe { *rows[r].add(at) });
                for v in 0..V {
                    sums[r][v] = s.mul_add(x, weights[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let sum = if self.relu { s.relu(sums[r][v]) } else { sums[r][v] };
                unsafe { s.store_to(c[v].as_mut_ptr().add(r * c_stride), sum) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Instructions, with_simd};

    fn value(i: usize) -> f32 {
        ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0
    }

    fn check<S: Simd, D: Depth>(s: S, depth: D, rows: usize, start: Start<'_>, relu: bool) {
        let x: Vec<f32> = (0..rows * 7 + depth.reach() + 1).map(value).collect();
        let w: Vec<f32> = (0..depth.length() * 2 * S::LANES).map(|i| value(i + 77)).collect();
        let before: Vec<f32> = (0..2 * rows * (S::LANES + 1)).map(|i| value(i + 5)).collect();
        let mut c = before.clone();
        let (first, second) = c.split_at_mut(rows * (S::LANES + 1));
        let tile = Tile { x: &x, x_stride: 7, rows, depth, w: &w, start, relu, next: w.as_ptr() };
        tile.run(s, [first, second], S::LANES + 1);
        for v in 0..2 {
            for r in 0..rows {
                for lane in 0..S::LANES {
                    let i = v * rows * (S::LANES + 1) + r * (S::LANES + 1) + lane;
                    let column = v * S::LANES + lane;
                    let mut sum = match start {
                        Start::Zero => 0.0,
                        Start::Bias(bias) => f64::from(bias[column]),
                        Start::Sum => f64::from(before[i]),
                    };
                    for k in 0..depth.length() {
                        // SAFETY: k is less than the length.
                        let x = x[r * 7 + unsafe { depth.at(k) }];
                        sum += f64::from(x) * f64::from(w[k * 2 * S::LANES + column]);
                    }
                    let want = if relu { sum.max(0.0) } else { sum };
                    assert!((f64::from(c[i]) - want).abs() < 1e-4, "{s:?} {rows} rows: {} {want}", c[i]);
                }
                assert_eq!(
                    c[(v * rows + r) * (S::LANES + 1) + S::LANES],
                    before[(v * rows + r) * (S::LANES + 1) + S::LANES]
                );
            }
        }
    }

    fn check_all<S: Simd>(s: S) {
        let bias: Vec<f32> = (0..2 * S::LANES).map(value).collect();
        for rows in 1..=S::TILE_ROWS {
            for length in [0, 1, 2, 7, 65] {
                let offsets = Offsets::new((0..length).map(|k| (k * k % 23) as u32).collect());
                check(s, Contiguous(length), rows, Start::Zero, false);
                check(s, Strided { length, stride: 3 }, rows, Start::Bias(&bias), true);
                check(s, offsets.part(0..length), rows, Start::Sum, false);
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
