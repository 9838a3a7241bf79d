//! Canonical polyadic decomposition (Hitchcock 1927): the weights of a convolution as a sum of products of four vectors,
//! `W[f, c, y, x] = sum_r w_r a_r(f) b_r(c) v_r(y) h_r(x)`, as Lebedev et al. 2014 (arXiv 1412.6553) have it for
//! convolutions. All in `f64`, and the same on any number of threads.

mod als;
mod cholesky;
mod start;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

pub(crate) use als::{Effort, fit};
pub(crate) use start::start;

/// Columns of a product that one task makes.
const BLOCK: usize = 64;

/// The weights of a convolution, scaled to a Euclidean norm of 1.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Filters, channels, rows, columns.
    pub(crate) extents: [usize; 4],
    /// What they were scaled by; 0 where all are 0.
    pub(crate) norm: f64,
    /// `[C * kh * kw, F]`: a column a filter.
    filters: DMatrix<f64>,
    /// Its transpose.
    taps: DMatrix<f64>,
}

impl Kernel {
    /// Of weights `[F, C, kh, kw]`, all finite, as many as the extents say.
    pub(crate) fn new(extents: [usize; 4], weights: &[f32]) -> Self {
        let norm = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
        let scaled = weights.iter().map(|&w| f64::from(w) * scale);
        let filters = DMatrix::from_iterator(weights.len() / extents[0], extents[0], scaled);
        Kernel { extents, norm, taps: filters.transpose(), filters }
    }

    /// The norm of what `factors` leave of the scaled weights.
    pub(crate) fn distance(&self, factors: &Factors) -> f64 {
        let weighted = factors.weighted(0);
        let approximation = product(&factors.taps(), &weighted.transpose());
        (&self.filters - approximation).norm()
    }
}

/// The terms of a sum of products of four vectors.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    /// Of filters, channels, rows and columns: `[extent, rank]`, each column of norm 1, or 0.
    pub(crate) modes: [DMatrix<f64>; 4],
    /// What each term counts.
    pub(crate) weights: DVector<f64>,
}

impl Factors {
    /// One term that is 0.
    pub(crate) fn zero(extents: [usize; 4]) -> Self {
        Factors { modes: extents.map(|extent| DMatrix::zeros(extent, 1)), weights: DVector::zeros(1) }
    }

    /// Number of terms.
    pub(crate) fn rank(&self) -> usize {
        self.weights.len()
    }

    /// Those `rank` terms that count most.
    pub(crate) fn truncated(&self, rank: usize) -> Factors {
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.sort_by(|&a, &b| self.weights[b].total_cmp(&self.weights[a]));
        order.truncate(rank);
        Factors {
            modes: self.modes.each_ref().map(|mode| mode.select_columns(&order)),
            weights: self.weights.select_rows(&order),
        }
    }

    /// A mode's vectors times what their terms count.
    fn weighted(&self, mode: usize) -> DMatrix<f64> {
        let mut vectors = self.modes[mode].clone();
        vectors.column_iter_mut().zip(self.weights.iter()).for_each(|(mut column, &weight)| column *= weight);
        vectors
    }

    /// Splits a mode's vectors into norms, which become what the terms count, and directions.
    fn set_weighted(&mut self, mode: usize, mut vectors: DMatrix<f64>) {
        for (mut column, weight) in vectors.column_iter_mut().zip(self.weights.iter_mut()) {
            *weight = column.norm();
            if *weight > 0.0 {
                column /= *weight;
            }
        }
        self.modes[mode] = vectors;
    }

    /// `[kw, kh]`: the two-dimensional filter of a term.
    fn plane(&self, term: usize) -> DMatrix<f64> {
        let [_, _, rows, columns] = &self.modes;
        columns.column(term) * rows.column(term).transpose()
    }

    /// `[C * kh * kw, rank]`: the three-dimensional filter of each term (the Khatri-Rao product of three modes).
    fn taps(&self) -> DMatrix<f64> {
        let [_, channels, rows, columns] = &self.modes;
        let taps = channels.nrows() * rows.nrows() * columns.nrows();
        let mut values = vec![0.0; taps * self.rank()];
        values.par_chunks_mut(taps).enumerate().for_each(|(term, values)| {
            let plane = self.plane(term);
            for (values, channel) in values.chunks_exact_mut(plane.len()).zip(channels.column(term).iter()) {
                values.iter_mut().zip(plane.iter()).for_each(|(value, tap)| *value = channel * tap);
            }
        });
        DMatrix::from_vec(taps, self.rank(), values)
    }
}

/// `a * b`, in blocks of columns.
fn product(a: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    let columns = b.ncols();
    let block = |first: usize| a * b.columns(first, BLOCK.min(columns - first));
    let blocks: Vec<DMatrix<f64>> = (0..columns).into_par_iter().step_by(BLOCK).map(block).collect();
    let values = blocks.iter().flat_map(|block| block.as_slice()).copied().collect();
    DMatrix::from_vec(a.nrows(), columns, values)
}

#[cfg(test)]
mod tests {
    use cnn_testkit::uniform;

    use super::*;

    const EFFORT: Effort = Effort { sweeps: 2000, change: 0.0 };

    /// Weights that are the sum of `rank` products.
    fn of_rank(rank: usize, extents: [usize; 4]) -> Kernel {
        let [f, c, kh, kw] = extents;
        let vectors = [0, 1, 2, 3].map(|mode| uniform(mode as u64 + 1, extents[mode] * rank));
        let entry = |i: usize| {
            let at = [i / (c * kh * kw), i / (kh * kw) % c, i / kw % kh, i % kw];
            (0..rank).map(|r| (0..4).map(|mode| vectors[mode][at[mode] * rank + r]).product::<f32>()).sum()
        };
        Kernel::new(extents, &(0..f * c * kh * kw).map(entry).collect::<Vec<f32>>())
    }

    fn error(kernel: &Kernel, rank: usize) -> f64 {
        let mut factors = start(kernel).unwrap().truncated(rank);
        let error = fit(kernel, &mut factors, 1e-8, EFFORT).unwrap();
        assert!((error - kernel.distance(&factors)).abs() < 1e-7, "{error}");
        error
    }

    #[test]
    fn weights_of_a_known_rank_are_found_again() {
        for (rank, extents) in
            [(1, [3, 4, 3, 3]), (3, [6, 5, 3, 3]), (4, [8, 9, 5, 5]), (7, [12, 16, 3, 3]), (2, [7, 1, 3, 5])]
        {
            let error = error(&of_rank(rank, extents), rank);
            assert!(error < 1e-6, "{rank} of {extents:?}: {error:e}");
        }
    }

    #[test]
    fn terms_that_it_starts_from_are_orthogonal_and_all_there_is() {
        for extents in [[5, 3, 3, 3], [3, 5, 3, 2], [4, 1, 5, 5], [1, 1, 1, 7], [70, 3, 3, 1]] {
            let [f, c, kh, kw] = extents;
            let kernel = Kernel::new(extents, &uniform(7, f * c * kh * kw));
            let all = start(&kernel).unwrap();
            assert!(kernel.distance(&all) < 1e-12 && all.rank() <= kh * kw * f.min(c), "{extents:?}");
            let kept = all.truncated(all.rank().div_ceil(2));
            let expected = (1.0 - kept.weights.norm_squared()).max(0.0).sqrt();
            assert!((kernel.distance(&kept) - expected).abs() < 1e-7, "{extents:?}");
        }
    }

    #[test]
    fn the_error_falls_with_the_rank_and_with_every_sweep() {
        let kernel = Kernel::new([10, 8, 3, 3], &uniform(3, 720));
        let mut last = 1.0;
        for rank in [1, 2, 4, 8, 16, 32, 64] {
            let mut factors = start(&kernel).unwrap().truncated(rank);
            let mut before = kernel.distance(&factors);
            for _ in 0..20 {
                let error = fit(&kernel, &mut factors, 0.0, Effort { sweeps: 1, change: 0.0 }).unwrap();
                assert!(error <= before + 1e-9, "rank {rank}: {error} after {before}");
                before = error;
            }
            assert!(before < last, "rank {rank}");
            last = before;
        }
    }

    #[test]
    fn nothing_but_zeros_is_one_term_of_zeros() {
        let kernel = Kernel::new([2, 3, 3, 3], &[0.0; 54]);
        assert_eq!((kernel.norm, start(&kernel).unwrap().rank(), error(&kernel, 1)), (0.0, 1, 0.0));
    }

    #[test]
    fn the_largest_and_the_smallest_numbers_are_weights_too() {
        for scale in [f32::MAX, 1e-45] {
            let weights: Vec<f32> = uniform(5, 36).iter().map(|v| if *v > 0.0 { scale } else { -scale }).collect();
            assert!(error(&Kernel::new([2, 2, 3, 3], &weights), 18) < 1e-7);
        }
    }
}
