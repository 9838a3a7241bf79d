//! Where a part of a chain reads rows, and where it writes them.

use std::ops::Range;

use crate::threads::Block;

/// Rows of blocks of channels: all of an image, or the last few, each where the one that left was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) data: &'a [f32],
    pub(super) ring: Ring,
}

/// How rows of blocks lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    /// Rows of a block.
    pub(super) rows: usize,
    /// Floats of a row.
    pub(super) line: usize,
}

impl Ring {
    /// Floats of a block.
    pub(super) fn plane(self) -> usize {
        self.rows * self.line
    }

    /// Where a row lies in its block.
    fn start(self, row: usize) -> usize {
        row % self.rows * self.line
    }

    /// How many of some rows lie side by side.
    fn together(self, rows: &Range<usize>) -> usize {
        rows.len().min(self.rows - rows.start % self.rows)
    }
}

impl<'a> Source<'a> {
    /// What begins with a row of a block.
    pub(super) fn from(&self, block: usize, row: usize) -> &'a [f32] {
        &self.data[block * self.ring.plane() + self.ring.start(row)..]
    }

    /// A row of a block and those below it.
    pub(super) fn down(&self, block: usize, row: usize) -> Steps<'a> {
        let plane = self.ring.plane();
        Steps { data: &self.data[block * plane..][..plane], start: self.ring.start(row), step: self.ring.line }
    }

    /// How many of some rows lie side by side.
    pub(super) fn together(&self, rows: &Range<usize>) -> usize {
        self.ring.together(rows)
    }
}

/// What the taps of a filter read: floats at even steps from a start, those behind the end at the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<'a> {
    pub(super) data: &'a [f32],
    pub(super) start: usize,
    pub(super) step: usize,
}

impl<'a> Steps<'a> {
    /// `length` floats from `at` on, as a tap sees them.
    #[inline(always)]
    pub(super) fn of(self, tap: usize, at: usize, length: usize) -> &'a [f32] {
        let from = self.start + tap * self.step;
        let from = if from < self.data.len() { from } else { from - self.data.len() };
        &self.data[from + at..][..length]
    }
}

/// Rows that are written: a buffer's, as [`Source`] has them, or those of the output.
#[derive(Debug)]
pub(super) enum Target<'a, 'b> {
    Buffer(&'a mut [f32], Ring),
    /// Whether past the caches, too.
    Output(&'a mut Block<'b>, bool),
}

impl Target<'_, '_> {
    /// How many of some rows lie side by side.
    pub(super) fn together(&self, rows: &Range<usize>) -> usize {
        match self {
            Target::Buffer(_, ring) => ring.together(rows),
            Target::Output(..) => 1,
        }
    }

    /// Whether rows are better written past the caches.
    pub(super) fn streams(&self) -> bool {
        matches!(self, Target::Output(_, true))
    }

    /// A row of a block.
    pub(super) fn row(&mut self, block: usize, row: usize) -> &mut [f32] {
        let [line] = self.lines(block, (row, 1));
        line
    }

    /// As many rows as lie side by side, of `N` blocks one after the other.
    pub(super) fn lines<const N: usize>(&mut self, block: usize, (row, rows): (usize, usize)) -> [&mut [f32]; N] {
        match self {
            Target::Buffer(data, ring) => {
                let (start, length) = (ring.start(row), rows * ring.line);
                let mut planes = data[block * ring.plane()..].chunks_mut(ring.plane());
                std::array::from_fn(|_| &mut planes.next().expect("a block of the buffer")[start..start + length])
            }
            Target::Output(output, _) => {
                let first = output.rows().start;
                output.lines(block, row - first)
            }
        }
    }
}
