//! Where the decomposition starts from: rows and columns are turned to their principal axes (a Tucker decomposition of the
//! two short modes), and the matrix `[F, C]` at each pair of axes is decomposed into singular values. Their terms are
//! orthogonal to each other, so the best of them are known, what each leaves is known, and all of them together are the
//! weights.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;

use super::{Factors, Kernel};

/// All terms of a kernel, those that count most first; nothing where no singular values were found. There are at most
/// `kh * kw * min(F, C)`, and at least one.
pub(crate) fn start(kernel: &Kernel) -> Option<Factors> {
    let [_, channels, rows, columns] = kernel.extents;
    let at = |c: usize, y: usize, x: usize| (c * rows + y) * columns + x;
    // Lines of taps along an axis, as the columns of a matrix.
    let lines = |length: usize, line: &dyn Fn(usize, usize, usize) -> usize, across: usize| {
        let mut lines = DMatrix::zeros(length, kernel.filters.ncols() * channels * across);
        for (i, mut column) in lines.column_iter_mut().enumerate() {
            let (f, c, other) = (i / (channels * across), i / across % channels, i % across);
            column.iter_mut().enumerate().for_each(|(tap, value)| *value = kernel.filters[(line(c, other, tap), f)]);
        }
        lines
    };
    let row_axes = axes(&lines(rows, &|c, x, y| at(c, y, x), columns))?;
    let column_axes = axes(&lines(columns, &|c, y, x| at(c, y, x), rows))?;

    let pairs: Vec<(usize, usize)> = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).collect();
    let slices: Option<Vec<Factors>> = pairs
        .into_par_iter()
        .map(|(i, j)| {
            let (v, h) = (row_axes.column(i), column_axes.column(j));
            let mut slice = DMatrix::zeros(channels, kernel.extents[0]);
            for (mut filter, taps) in slice.column_iter_mut().zip(kernel.filters.column_iter()) {
                for (c, value) in filter.iter_mut().enumerate() {
                    let plane = (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
                    *value = plane.map(|(y, x)| taps[at(c, y, x)] * v[y] * h[x]).sum();
                }
            }
            terms(&slice, v.into_owned(), h.into_owned())
        })
        .collect();
    Some(joined(&slices?).filter(|factors| factors.rank() > 0).unwrap_or_else(|| Factors::zero(kernel.extents)))
}

/// The terms of the matrix `[C, F]` at a pair of axes.
fn terms(slice: &DMatrix<f64>, v: DVector<f64>, h: DVector<f64>) -> Option<Factors> {
    let transposed = slice.transpose();
    let shorter_is_channels = slice.nrows() <= slice.ncols();
    let short = if shorter_is_channels { axes(slice)? } else { axes(&transposed)? };
    let long = if shorter_is_channels { &transposed * &short } else { slice * &short };
    let rank = short.ncols();
    let (channels, filters) = if shorter_is_channels { (short, long) } else { (long, short) };
    let repeated = |axis: &DVector<f64>| DMatrix::from_columns(&vec![axis.clone(); rank]);
    let modes = [filters, channels, repeated(&v), repeated(&h)];
    let mut factors = Factors { weights: DVector::from_element(rank, 1.0), modes };
    let long = factors.modes[usize::from(!shorter_is_channels)].clone();
    factors.set_weighted(usize::from(!shorter_is_channels), long);
    Some(factors)
}

/// The principal axes of a matrix's columns, orthonormal.
fn axes(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let squares = super::product(matrix, &matrix.transpose());
    let most = 1000 + 100 * matrix.nrows();
    Some(SymmetricEigen::try_new(squares, f64::EPSILON, most)?.eigenvectors)
}

/// The terms of all that count for more than rounding, those that count most first.
fn joined(slices: &[Factors]) -> Option<Factors> {
    let columns = |mode: usize| {
        let all: Vec<_> = slices.iter().flat_map(|slice| slice.modes[mode].column_iter()).collect();
        DMatrix::from_columns(&all)
    };
    let weights: Vec<f64> = slices.iter().flat_map(|slice| slice.weights.iter().copied()).collect();
    let count = weights.iter().filter(|&&weight| weight > f64::EPSILON).count();
    let all = Factors { modes: [0, 1, 2, 3].map(columns), weights: DVector::from_vec(weights) };
    (count > 0).then(|| all.truncated(count))
}
