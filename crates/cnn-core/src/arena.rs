//! Lifetimes -> offsets: places values that do not live at the same time on top of each other.

use std::ops::Range;

/// When a value lives and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Elements.
    pub size: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// Where each value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One a value, in the order given; multiples of the alignment.
    pub offsets: Vec<usize>,
    /// Elements that all of them need.
    pub size: usize,
}

/// An alignment that suits processors: a cache line of `f32`.
pub const ALIGNMENT: usize = 16;

/// Greedy by size: the largest first, each at the lowest offset that is free for its whole life (Pisarchyk and Lee
/// 2020, section 5.2). Offsets are multiples of `alignment`.
pub fn lay_out(lifetimes: &[Lifetime], alignment: usize) -> Layout {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].size), i));
    let mut placed: Vec<(Range<usize>, Lifetime)> = Vec::new();
    let mut offsets = vec![0; lifetimes.len()];
    for i in order {
        let life = lifetimes[i];
        let mut taken: Vec<&Range<usize>> = placed
            .iter()
            .filter(|(_, other)| other.first <= life.last && life.first <= other.last)
            .map(|(range, _)| range)
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut offset = 0;
        for range in taken {
            if offset + life.size <= range.start {
                break;
            }
            offset = offset.max(range.end.next_multiple_of(alignment));
        }
        offsets[i] = offset;
        placed.push((offset..offset + life.size, life));
    }
    let size = placed.iter().map(|(range, _)| range.end).max().unwrap_or(0);
    Layout { offsets, size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let sizes = [160, 320, 64, 640];
        let chain: Vec<Lifetime> =
            sizes.iter().enumerate().map(|(i, &size)| Lifetime { size, first: i, last: i + 1 }).collect();
        assert_eq!(lay_out(&chain, ALIGNMENT).size, 64 + 640);
    }

    #[test]
    fn what_lives_together_never_overlaps() {
        let mut state = 1u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) % n) as usize
        };
        for _ in 0..200 {
            let lives: Vec<Lifetime> = (0..12)
                .map(|_| {
                    let first = next(10);
                    Lifetime { size: next(100) + 1, first, last: first + next(5) }
                })
                .collect();
            let layout = lay_out(&lives, ALIGNMENT);
            for (i, a) in lives.iter().enumerate() {
                assert!(layout.offsets[i] + a.size <= layout.size && layout.offsets[i] % ALIGNMENT == 0);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let (x, y) = (layout.offsets[i], layout.offsets[j]);
                    assert!(!together || x + a.size <= y || y + b.size <= x, "{a:?} at {x}, {b:?} at {y}");
                }
            }
        }
    }
}
