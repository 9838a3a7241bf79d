//! Where a part of a chain reads rows, and where it writes them.

use crate::threads::Block;

/// Rows of blocks of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) data: &'a [f32],
    /// Floats from block to block.
    pub(super) plane: usize,
    /// The row that comes first.
    pub(super) first: usize,
    /// Floats of a row.
    pub(super) line: usize,
}

impl<'a> Source<'a> {
    /// What begins with a row of a block.
    pub(super) fn from(&self, block: usize, row: usize) -> &'a [f32] {
        &self.data[block * self.plane + (row - self.first) * self.line..]
    }
}

/// Rows that are written: a buffer's, as [`Source`] has them, or those of the output.
#[derive(Debug)]
pub(super) enum Target<'a, 'b> {
    Buffer {
        data: &'a mut [f32],
        plane: usize,
        first: usize,
        line: usize,
    },
    /// Whether past the caches, too.
    Output(&'a mut Block<'b>, bool),
}

impl Target<'_, '_> {
    /// How many of some rows lie side by side.
    pub(super) fn together(&self, rows: usize) -> usize {
        match self {
            Target::Buffer { .. } => rows,
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
            Target::Buffer { data, plane, first, line } => {
                let (start, length) = ((row - *first) * *line, rows * *line);
                let mut planes = data[block * *plane..].chunks_mut(*plane);
                std::array::from_fn(|_| &mut planes.next().expect("a block of the buffer")[start..start + length])
            }
            Target::Output(output, _) => {
                let first = output.rows().start;
                output.lines(block, row - first)
            }
        }
    }
}
