//! Block sizes of the matrix product, from the sizes of the caches.

use super::Microkernel;
use crate::cache::Caches;

/// Sizes of the blocks that the matrix product works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Terms of the sums that one pass adds.
    pub depth: usize,
    /// Rows of A that one block holds, a multiple of the micro-kernel's.
    pub rows: usize,
    /// Columns of B that one piece of work holds, a multiple of the micro-kernel's.
    pub columns: usize,
}

impl Blocking {
    /// A panel of B (`depth` x the tile's columns) takes half of the first cache, the other half is left to the
    /// panels of A that stream past it. A block of A (`rows` x `depth`) takes half of the second cache, and the
    /// packed block of B (`depth` x `columns`) a quarter.
    pub fn for_caches(caches: Caches, kernel: &Microkernel) -> Self {
        let floats = |bytes: usize| bytes / size_of::<f32>();
        let depth = (floats(caches.l1) / 2 / kernel.columns).clamp(64, 512) / 64 * 64;
        let multiple = |limit: usize, of: usize| (limit / of).max(1) * of;
        Blocking {
            depth,
            rows: multiple(floats(caches.l2) / 2 / depth, kernel.rows),
            columns: multiple(floats(caches.l2) / 4 / depth, kernel.columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_panels_and_fit() {
        for kernel in crate::simd::Instructions::supported().iter().map(|set| set.microkernel()) {
            for (l1, l2) in [(8 << 10, 64 << 10), (32 << 10, 512 << 10), (48 << 10, 2 << 20), (1, 1)] {
                let blocking = Blocking::for_caches(Caches { l1, l2 }, kernel);
                assert_eq!((blocking.rows % kernel.rows, blocking.columns % kernel.columns), (0, 0));
                assert!(blocking.depth >= 64 && blocking.rows > 0 && blocking.columns > 0);
            }
        }
    }
}
