//! Vectors at regular distances, with one check for all of them.

use std::marker::PhantomData;

use super::Simd;

/// `ROWS` x `COLUMNS` vectors, to be read. In a loop whose bounds the compiler knows, no check is left.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a, S, const ROWS: usize, const COLUMNS: usize> {
    s: S,
    start: *const f32,
    strides: [usize; 2],
    lifetime: PhantomData<&'a [f32]>,
}

impl<'a, S: Simd, const ROWS: usize, const COLUMNS: usize> Grid<'a, S, ROWS, COLUMNS> {
    /// The grid at the start of a slice, with these distances between rows and columns. Panics where the slice is too
    /// short.
    #[inline(always)]
    pub fn new(s: S, data: &'a [f32], strides: [usize; 2]) -> Self {
        assert!((ROWS - 1) * strides[0] + (COLUMNS - 1) * strides[1] + S::LANES <= data.len());
        Grid { s, start: data.as_ptr(), strides, lifetime: PhantomData }
    }

    /// Reads a vector.
    #[inline(always)]
    pub fn load(&self, row: usize, column: usize) -> S::Vector {
        assert!(row < ROWS && column < COLUMNS);
        // SAFETY: the last vector was checked against the slice, and this one lies before it.
        unsafe { self.s.load_from(self.start.add(row * self.strides[0] + column * self.strides[1])) }
    }
}

/// `ROWS` x `COLUMNS` vectors, to be written.
#[derive(Debug)]
pub struct GridMut<'a, S, const ROWS: usize, const COLUMNS: usize> {
    s: S,
    start: *mut f32,
    strides: [usize; 2],
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<S: Simd, const ROWS: usize, const COLUMNS: usize> GridMut<'_, S, ROWS, COLUMNS> {
    /// # Safety
    /// Every vector of the grid must be writable while it lives, and nothing else may use it.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, start: *mut f32, strides: [usize; 2]) -> Self {
        GridMut { s, start, strides, lifetime: PhantomData }
    }

    /// Writes a vector.
    #[inline(always)]
    pub fn store(&mut self, row: usize, column: usize, vector: S::Vector) {
        assert!(row < ROWS && column < COLUMNS);
        // SAFETY: whoever made the grid vouches for its vectors.
        unsafe { self.s.store_to(self.start.add(row * self.strides[0] + column * self.strides[1]), vector) }
    }
}
