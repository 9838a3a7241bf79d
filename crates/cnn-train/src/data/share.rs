//! A worker's part of a batch that several workers share.

use std::ops::Range;

/// Samples of a batch that a worker learns from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// Their places in the batch.
    pub(crate) samples: Range<usize>,
    /// How much their mean counts in the mean of the batch.
    pub(crate) weight: f32,
}

impl Share {
    /// All of a batch of `count`, at least 1, cut into runs that differ by a sample at most, the longer ones first. A worker for whom there is no
    /// sample takes the last one, which then does not count: all workers walk the same road through the network.
    pub(crate) fn of(count: usize, rank: usize, workers: usize) -> Self {
        let (each, more) = (count / workers, count % workers);
        let start = |rank: usize| rank * each + rank.min(more);
        let samples = start(rank)..start(rank + 1);
        match samples.is_empty() {
            true => Share { samples: count - 1..count, weight: 0.0 },
            false => Share { weight: (samples.len() as f64 / count as f64) as f32, samples },
        }
    }

    /// Whether its samples count.
    pub(crate) fn counts(&self) -> bool {
        self.weight > 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_counts_once(count in 1usize..200, workers in 1usize..30) {
            let shares: Vec<_> = (0..workers).map(|rank| Share::of(count, rank, workers)).collect();
            let counting: Vec<_> = shares.iter().filter(|share| share.counts()).collect();
            let samples: Vec<usize> = counting.iter().flat_map(|share| share.samples.clone()).collect();
            prop_assert_eq!(samples, (0..count).collect::<Vec<_>>());
            prop_assert!((counting.iter().map(|share| share.weight).sum::<f32>() - 1.0).abs() < 1e-6);
            let lengths = || counting.iter().map(|share| share.samples.len());
            prop_assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
            prop_assert!(shares.iter().all(|share| !share.samples.is_empty() && share.samples.end <= count));
            prop_assert!(shares[0].counts());
        }
    }
}
