//! Alternating least squares: each mode's vectors in turn are the best for the others'. Every step is held a little by
//! where it starts from (Li, Kindermann and Navasca 2013), which keeps the systems of equations positive definite, never
//! raises the error, and does not move the minimum.

use nalgebra::DMatrix;

use super::{Factors, Kernel, cholesky, product};

/// How strongly a step is held, of terms of norm 1; more where the system is singular to the precision of `f64`.
const HELD: [f64; 3] = [1e-8, 1e-6, 1e-3];

/// Sweeps that are not judged: orthogonal terms are close to a saddle, which it takes some to leave.
const FIRST: usize = 8;

/// When alternating ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Sweeps over all modes at most.
    pub(crate) sweeps: usize,
    /// The smallest share of the error that a sweep after the first ones has to save for another to follow.
    pub(crate) change: f64,
}

/// Improves `factors` until their relative error is `bound` or there is no hope of it; returns it. Nothing where no system
/// could be solved.
pub(crate) fn fit(kernel: &Kernel, factors: &mut Factors, bound: f64, effort: Effort) -> Option<f64> {
    let mut grams = factors.modes.each_ref().map(gram);
    let mut error = kernel.distance(factors);
    for sweep in 1..=effort.sweeps {
        if error <= bound {
            break;
        }
        let before = std::mem::replace(&mut error, self::sweep(kernel, factors, &mut grams)?);
        let saved = before - error;
        // From here on sweeps save less and less: as many of this one would not do.
        let out_of_reach = bound > 0.0 && error - saved * (effort.sweeps - sweep) as f64 > bound;
        if sweep >= FIRST && (saved < effort.change * before || out_of_reach) {
            break;
        }
    }
    Some(error)
}

/// One step a mode. Returns the relative error.
fn sweep(kernel: &Kernel, factors: &mut Factors, grams: &mut [DMatrix<f64>; 4]) -> Option<f64> {
    step(factors, grams, 0, product(&kernel.taps, &factors.taps()))?;
    // What the other three modes have in common: the weights, summed over filters. [C * kh * kw, rank]
    let summed = product(&kernel.filters, &factors.modes[0]);
    let [_, channels, rows, columns] = kernel.extents;
    let mut sums = DMatrix::zeros(channels, factors.rank());
    for (term, mut sum) in sums.column_iter_mut().enumerate() {
        let plane = factors.plane(term);
        let taps = summed.column(term);
        for (sum, taps) in sum.iter_mut().zip(taps.as_slice().chunks_exact(rows * columns)) {
            *sum = taps.iter().zip(plane.iter()).map(|(a, b)| a * b).sum();
        }
    }
    step(factors, grams, 1, sums)?;

    let mut planes = DMatrix::<f64>::zeros(rows * columns, factors.rank());
    for (term, mut plane) in planes.column_iter_mut().enumerate() {
        let taps = summed.column(term);
        for (taps, &channel) in taps.as_slice().chunks_exact(rows * columns).zip(factors.modes[1].column(term).iter()) {
            plane.iter_mut().zip(taps).for_each(|(sum, tap)| *sum += channel * tap);
        }
    }
    let along = |factors: &Factors, extent: usize, mode: usize, at: &dyn Fn(usize, usize) -> usize| {
        let other = &factors.modes[mode];
        DMatrix::from_fn(extent, factors.rank(), |i, term| {
            other.column(term).iter().enumerate().map(|(j, tap)| planes[(at(i, j), term)] * tap).sum()
        })
    };
    let sums = along(factors, rows, 3, &|y, x| y * columns + x);
    step(factors, grams, 2, sums)?;
    let sums = along(factors, columns, 2, &|x, y| y * columns + x);
    step(factors, grams, 3, sums.clone())?;

    // |W - V|^2 with |W| = 1, from what is there anyway.
    let inner = sums.dot(&factors.weighted(3));
    let own = others(grams, 3).dot(&gram(&factors.weighted(3)));
    Some((1.0 - 2.0 * inner + own).max(0.0).sqrt())
}

/// Makes the vectors of a mode the best for the others', given the weights' inner products with those.
fn step(factors: &mut Factors, grams: &mut [DMatrix<f64>; 4], mode: usize, sums: DMatrix<f64>) -> Option<()> {
    let (system, old) = (others(grams, mode), factors.weighted(mode));
    let vectors = HELD.iter().find_map(|&held| {
        let mut system = system.clone();
        (0..system.nrows()).for_each(|i| system[(i, i)] += held);
        let mut vectors = (&sums + &old * held).transpose();
        cholesky::solve(system, &mut vectors)?;
        Some(vectors.transpose())
    })?;
    factors.set_weighted(mode, vectors);
    grams[mode] = gram(&factors.modes[mode]);
    Some(())
}

/// The inner products of the terms, leaving one mode out.
fn others(grams: &[DMatrix<f64>; 4], left_out: usize) -> DMatrix<f64> {
    let n = grams[0].nrows();
    let rest = grams.iter().enumerate().filter(|&(mode, _)| mode != left_out);
    rest.fold(DMatrix::from_element(n, n, 1.0), |all, (_, gram)| all.component_mul(gram))
}

/// The inner products of a mode's vectors.
fn gram(vectors: &DMatrix<f64>) -> DMatrix<f64> {
    product(&vectors.transpose(), vectors)
}
