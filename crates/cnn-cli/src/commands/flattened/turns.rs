//! Times of two things that take turns, so that what else the machine does meets both.

use std::time::{Duration, Instant};

use cnn::CoreError;

/// Runs of each: at least, at most, and while this time lasts.
const LEAST: usize = 3;
const MOST: usize = 25;
const BUDGET: Duration = Duration::from_secs(3);

/// The median of the milliseconds that `work` tells of each. A first run counts only where it is long beside what it does once.
pub(super) fn in_turns<T>(
    pair: &mut [T; 2],
    mut work: impl FnMut(&mut T) -> anyhow::Result<f64>,
) -> anyhow::Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    let mut start = Instant::now();
    let mut is_first = true;
    while times[0].len() < LEAST || (times[0].len() < MOST && start.elapsed() < BUDGET) {
        for (one, times) in pair.iter_mut().zip(&mut times) {
            times.push(work(one)?);
        }
        if is_first && start.elapsed() < BUDGET {
            times.iter_mut().for_each(Vec::clear);
            start = Instant::now();
        }
        is_first = false;
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// Milliseconds of one run.
pub(super) fn ms<T>(work: impl FnOnce() -> Result<T, CoreError>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(1e3 * start.elapsed().as_secs_f64())
}
