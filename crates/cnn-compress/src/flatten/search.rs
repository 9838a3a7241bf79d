//! Which convolutions become flat, and with how many terms.

use cnn_core::Network;
use cnn_core::layers::Conv2d;

use super::{FlattenOptions, Terms, name};
use crate::decompose::{Effort, Factors, Kernel, fit, start};

/// The share of the number of terms that it may be off by: one in so many.
const PRECISION: usize = 64;

/// What a search came to.
pub(super) enum Found {
    Terms(Factors),
    /// More than may be, and why.
    TooMany(String),
}

/// Why a convolution cannot become flat, or is not to.
pub(super) fn refusal(network: &Network, node: usize, conv: &Conv2d, options: &FlattenOptions) -> Option<String> {
    let asked_for = |layers: &Vec<String>| layers.iter().any(|layer| layer == name(network, node));
    if !options.layers.as_ref().is_none_or(asked_for) {
        Some("not among the layers asked for".to_string())
    } else if conv.groups != 1 {
        Some(format!("has {} groups", conv.groups))
    } else if conv.window.kernel == [1, 1] {
        Some("is 1x1".to_string())
    } else {
        None
    }
}

/// The terms that are asked for, at most `most` of them. Nothing where the numbers cannot be decomposed.
pub(super) fn search(kernel: &Kernel, terms: Terms, most: usize, effort: Effort) -> Option<Found> {
    if most == 0 {
        return Some(Found::TooMany("a single term takes as many multiply-adds".to_string()));
    }
    let start = start(kernel)?;
    match terms {
        Terms::Fixed(rank) if rank.min(start.rank()) > most => {
            Some(Found::TooMany(format!("{rank} terms take as many multiply-adds; {most} would take fewer")))
        }
        Terms::Fixed(rank) => {
            let mut factors = start.truncated(rank);
            fit(kernel, &mut factors, 0.0, effort)?;
            Some(Found::Terms(factors))
        }
        Terms::Error(bound) => fewest(kernel, &start, (bound, most), effort),
    }
}

/// The fewest terms within a bound, by bisection. Each fit starts from the best terms of the last one that was within it.
fn fewest(kernel: &Kernel, start: &Factors, (bound, most): (f64, usize), effort: Effort) -> Option<Found> {
    let mut high = enough(start, bound).min(most);
    let mut best = start.truncated(high);
    let error = fit(kernel, &mut best, bound, effort)?;
    if error > bound {
        let reason =
            format!("an error of {bound} takes as many multiply-adds; {most} terms, which take fewer, have {error:.3}");
        return Some(Found::TooMany(reason));
    }
    let mut low = 0;
    while high - low > 1 + high / PRECISION {
        let middle = low + (high - low) / 2;
        let mut factors = best.truncated(middle);
        if fit(kernel, &mut factors, bound, effort)? <= bound {
            (best, high) = (factors, middle);
        } else {
            low = middle;
        }
    }
    fit(kernel, &mut best, 0.0, effort)?;
    Some(Found::Terms(best))
}

/// How many of the terms that a search starts from are within a bound: they are orthogonal, and the best come first.
fn enough(start: &Factors, bound: f64) -> usize {
    let mut left: f64 = start.weights.norm_squared();
    let mut terms = 0;
    while left > bound * bound && terms < start.rank() {
        left -= start.weights[terms].powi(2);
        terms += 1;
    }
    terms.max(1)
}
