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

/// As [`lay_out`], with values that are parts of others: for each value the one that it lies in, which comes later in the order, and
/// where there. The other is in use as long as any of its parts.
pub fn lay_out_joined(lifetimes: &[Lifetime], parts: &[Option<(usize, usize)>], alignment: usize) -> Layout {
    let mut roots: Vec<(usize, usize)> = (0..lifetimes.len()).map(|value| (value, 0)).collect();
    let mut lives = lifetimes.to_vec();
    for (value, part) in parts.iter().enumerate().rev() {
        if let Some((whole, at)) = *part {
            let (root, start) = roots[whole];
            roots[value] = (root, start + at);
            let life = lifetimes[value];
            lives[root].first = lives[root].first.min(life.first);
            lives[root].last = lives[root].last.max(life.last);
        }
    }
    let is_root = |value: &usize| parts[*value].is_none();
    let wholes: Vec<usize> = (0..lifetimes.len()).filter(is_root).collect();
    let placed = lay_out(&wholes.iter().map(|&value| lives[value]).collect::<Vec<_>>(), alignment);
    let mut offsets = vec![0; lifetimes.len()];
    wholes.iter().zip(&placed.offsets).for_each(|(&value, &offset)| offsets[value] = offset);
    for (value, &(root, at)) in roots.iter().enumerate().filter(|(value, _)| !is_root(value)) {
        offsets[value] = offsets[root] + at;
    }
    Layout { offsets, size: placed.size }
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
    fn parts_lie_in_their_wholes() {
        // 0 and 1 are joined to 3, which is joined with 2 to 4; 5 lives when 0 is made, 6 after all.
        let life = |size, first, last| Lifetime { size, first, last };
        let lives = [
            life(32, 0, 3),
            life(16, 1, 3),
            life(16, 2, 4),
            life(48, 3, 4),
            life(64, 4, 5),
            life(16, 0, 0),
            life(64, 6, 7),
        ];
        let parts = [Some((3, 0)), Some((3, 32)), Some((4, 48)), Some((4, 0)), None, None, None];
        let Layout { offsets, size } = lay_out_joined(&lives, &parts, ALIGNMENT);
        assert_eq!(offsets, [0, 32, 48, 0, 0, 64, 0]);
        assert_eq!(size, 80);
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
