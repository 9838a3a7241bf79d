//! Parts of an array that one piece of work owns.

use std::marker::PhantomData;
use std::ops::Range;

use crate::simd::Simd;
use crate::simd::grid::GridMut;

/// A box cut out of an array of `[planes, rows, columns]`, owned by one piece of work.
#[derive(Debug)]
pub struct Block<'a> {
    start: *mut f32,
    /// Rows of a plane, columns of a row.
    extents: [usize; 2],
    planes: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<'a> Block<'a> {
    /// All of an array of `[planes, rows, columns]`.
    pub fn whole(data: &'a mut [f32], [planes, rows, columns]: [usize; 3]) -> Self {
        assert_eq!(data.len(), planes * rows * columns);
        // SAFETY: the extents are the array's, and the borrow makes it this block's alone.
        unsafe { Block::new(data.as_mut_ptr(), [rows, columns], [0..planes, 0..rows, 0..columns]) }
    }

    /// # Safety
    /// The ranges must lie inside an array of planes of `extents` at `start`, which lives as long as `'a` and of which
    /// nothing else uses this block's elements.
    pub(super) unsafe fn new(start: *mut f32, extents: [usize; 2], [planes, rows, columns]: [Range<usize>; 3]) -> Self {
        Block { start, extents, planes, rows, columns, lifetime: PhantomData }
    }

    /// The planes, counted in the whole array.
    pub fn planes(&self) -> Range<usize> {
        self.planes.clone()
    }

    /// The rows, counted in the whole plane.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns, counted in the whole row.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// This block's part of a row; plane and row are counted in the block.
    pub fn line(&mut self, plane: usize, row: usize) -> &mut [f32] {
        let [line] = self.lines(plane, row);
        line
    }

    /// One vector of the first row of each plane, all from the same column on, as a grid of `N` x `N` planes.
    #[inline(always)]
    pub fn vectors<S: Simd, const N: usize>(&mut self, s: S, column: usize) -> GridMut<'_, S, N, N> {
        assert!(self.planes.len() == N * N && !self.rows.is_empty() && column + S::LANES <= self.columns.len());
        let [rows, columns] = self.extents;
        let first = self.first(0, 0) + column;
        // SAFETY: planes, row and columns lie inside this block, which nothing else uses and which stays borrowed.
        unsafe { GridMut::new(s, self.start.add(first), [N * rows * columns, rows * columns]) }
    }

    /// This block's parts of the same row of `N` planes one after the other.
    pub fn lines<const N: usize>(&mut self, plane: usize, row: usize) -> [&mut [f32]; N] {
        assert!(plane + N <= self.planes.len() && row < self.rows.len());
        let [rows, columns] = self.extents;
        let first = self.first(plane, row);
        std::array::from_fn(|n| {
            // SAFETY: plane, row and columns lie inside this block, which nothing else uses; the lines of different
            // planes do not overlap, and none can be borrowed again while these are.
            unsafe {
                let start = self.start.add(first + n * rows * columns);
                std::slice::from_raw_parts_mut(start, self.columns.len())
            }
        })
    }

    /// What lies where [`lines`](Self::lines) lie, in another array of the same extents.
    pub fn lines_of<'b, const N: usize>(&self, other: &'b [f32], plane: usize, row: usize) -> [&'b [f32]; N] {
        let [rows, columns] = self.extents;
        let first = self.first(plane, row);
        std::array::from_fn(|n| &other[first + n * rows * columns..][..self.columns.len()])
    }

    /// Where this block's part of a row begins in the whole array.
    fn first(&self, plane: usize, row: usize) -> usize {
        let [rows, columns] = self.extents;
        ((self.planes.start + plane) * rows + self.rows.start + row) * columns + self.columns.start
    }
}
