//! Symmetric positive definite systems of equations with many right-hand sides, block by block, so that nearly all of the work
//! is matrix products.

use nalgebra::{Cholesky, DMatrix};

/// Rows of a block.
const BLOCK: usize = 64;

/// Replaces `rhs` by the solution of `matrix * x = rhs`; nothing where the matrix is not positive definite to the precision
/// of `f64`.
pub(super) fn solve(mut matrix: DMatrix<f64>, rhs: &mut DMatrix<f64>) -> Option<()> {
    let n = matrix.nrows();
    let blocks = || (0..n).step_by(BLOCK).map(|start| (start, BLOCK.min(n - start), n.min(start + BLOCK)));
    for (start, size, end) in blocks() {
        let lower = Cholesky::new(matrix.view((start, start), (size, size)).into_owned())?.unpack();
        let mut panel = matrix.view((end, start), (n - end, size)).transpose();
        lower.solve_lower_triangular_mut(&mut panel);
        let transposed = panel.transpose();
        matrix.view_mut((end, end), (n - end, n - end)).gemm(-1.0, &transposed, &panel, 1.0);
        matrix.view_mut((end, start), (n - end, size)).copy_from(&transposed);

        let mut solved = rhs.rows(start, size).into_owned();
        lower.solve_lower_triangular_mut(&mut solved);
        rhs.rows_mut(end, n - end).gemm(-1.0, &transposed, &solved, 1.0);
        rhs.rows_mut(start, size).copy_from(&solved);
        matrix.view_mut((start, start), (size, size)).copy_from(&lower);
    }
    for (start, size, end) in blocks().collect::<Vec<_>>().into_iter().rev() {
        let panel = matrix.view((end, start), (n - end, size)).transpose();
        let mut solved = rhs.rows(start, size).into_owned();
        solved.gemm(-1.0, &panel, &rhs.rows(end, n - end), 1.0);
        matrix.view((start, start), (size, size)).tr_solve_lower_triangular_mut(&mut solved);
        rhs.rows_mut(start, size).copy_from(&solved);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_of_one_block_and_of_several_are_solved() {
        for n in [1, 2, BLOCK, BLOCK + 1, 3 * BLOCK - 5] {
            let entry = |i: usize, j: usize| ((i * 7 + j * 13) % 11) as f64 - 5.0;
            let root = DMatrix::from_fn(n, n, entry);
            let matrix = &root * root.transpose() + DMatrix::identity(n, n) * n as f64;
            let expected = DMatrix::from_fn(n, 3, |i, j| entry(j, i));
            let mut solution = &matrix * &expected;
            solve(matrix, &mut solution).unwrap();
            assert!((solution - expected).amax() < 1e-9, "{n}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_told() {
        for value in [-1.0, 0.0, f64::NAN] {
            let matrix = DMatrix::from_diagonal_element(BLOCK + 2, BLOCK + 2, value);
            assert!(solve(matrix, &mut DMatrix::zeros(BLOCK + 2, 1)).is_none());
        }
    }
}
