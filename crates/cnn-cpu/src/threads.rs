//! The thread pool, and the few ways in which the backend cuts work into pieces. Pieces depend on the problem alone,
//! never on the number of threads, so neither do results.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

/// Runs pieces of work, on a pool or in the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct Workers<'a> {
    scratch: &'a Scratch,
    parallel: bool,
}

/// Memory that a thread works in, one block a thread of the pool.
#[derive(Debug, Default)]
pub struct Scratch {
    blocks: Vec<Mutex<Vec<f32>>>,
}

impl Scratch {
    /// A block of `length` for each of `threads`.
    pub fn new(threads: usize, length: usize) -> Self {
        Scratch { blocks: (0..threads.max(1)).map(|_| Mutex::new(vec![0.0; length])).collect() }
    }

    /// Bytes of all blocks.
    pub fn bytes(threads: usize, length: usize) -> usize {
        threads.max(1) * length * size_of::<f32>()
    }

    /// Lends the calling thread its block, grown to `length`. Its content is whatever was left there.
    pub fn lend<R>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.blocks.len();
        let mut block = self.blocks[thread].lock().unwrap_or_else(PoisonError::into_inner);
        if block.len() < length {
            block.resize(length, 0.0);
        }
        work(&mut block[..length])
    }
}

/// Work below this many floating-point operations runs in the calling thread: waking a pool costs about ten
/// microseconds, in which one core does as much.
const WORTH_A_POOL: u64 = 500_000;

/// Runs `work` on the pool where its `flops` are worth it, else in the calling thread.
pub fn enter<R: Send>(
    pool: &Arc<rayon::ThreadPool>,
    scratch: &Scratch,
    flops: u64,
    work: impl FnOnce(Workers<'_>) -> R + Send,
) -> R {
    match pool.current_num_threads() > 1 && flops >= WORTH_A_POOL {
        true => pool.install(|| work(Workers { scratch, parallel: true })),
        false => work(Workers { scratch, parallel: false }),
    }
}

impl Workers<'_> {
    /// Lends the calling thread its scratch block, grown to `length`.
    pub fn scratch<R>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        self.scratch.lend(length, work)
    }

    /// Cuts `data` into pieces of `length` (the last may be shorter) and works on each by its number.
    pub fn for_each_chunk(&self, data: &mut [f32], length: usize, work: impl Fn(usize, &mut [f32]) + Sync + Send) {
        match self.parallel {
            true => data.par_chunks_mut(length).enumerate().for_each(|(i, chunk)| work(i, chunk)),
            false => data.chunks_mut(length).enumerate().for_each(|(i, chunk)| work(i, chunk)),
        }
    }

    /// Cuts two slices into as many pieces each and works on the pairs.
    pub fn for_each_pair(
        &self,
        (a, a_length): (&mut [f32], usize),
        (b, b_length): (&mut [f32], usize),
        work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
    ) {
        if self.parallel {
            let pairs = a.par_chunks_mut(a_length).zip(b.par_chunks_mut(b_length));
            pairs.enumerate().for_each(|(i, (a, b))| work(i, a, b));
        } else {
            let pairs = a.chunks_mut(a_length).zip(b.chunks_mut(b_length));
            pairs.enumerate().for_each(|(i, (a, b))| work(i, a, b));
        }
    }

    /// Cuts `data`, matrices of `rows` x `columns` one after the other, into blocks of at most `width` columns and
    /// works on each: the matrix's number and the block.
    pub fn for_each_column_block(
        &self,
        data: &mut [f32],
        (rows, columns): (usize, usize),
        width: usize,
        work: impl Fn(usize, ColumnBlock<'_>) + Sync + Send,
    ) {
        let matrices = data.len() / (rows * columns);
        let blocks = columns.div_ceil(width);
        let base = SendPointer(data.as_mut_ptr());
        let run = |task: usize| {
            let (matrix, block) = (task / blocks, task % blocks);
            let range = block * width..((block + 1) * width).min(columns);
            // SAFETY: `matrix` < `matrices`, so the pointer stays inside `data`.
            let start = unsafe { base.get().add(matrix * rows * columns) };
            work(matrix, ColumnBlock { start, rows, stride: columns, range, lifetime: PhantomData });
        };
        match self.parallel {
            true => (0..matrices * blocks).into_par_iter().for_each(run),
            false => (0..matrices * blocks).for_each(run),
        }
    }
}

#[derive(Clone, Copy)]
struct SendPointer(*mut f32);

impl SendPointer {
    fn get(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: the pointer is used only through `ColumnBlock`s, of which no two share an element.
unsafe impl Send for SendPointer {}
// SAFETY: as above.
unsafe impl Sync for SendPointer {}

/// Some columns of a row-major matrix, owned by one piece of work.
#[derive(Debug)]
pub struct ColumnBlock<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    range: Range<usize>,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<'a> ColumnBlock<'a> {
    /// The columns `range` of a matrix of `columns` columns.
    pub fn new(data: &'a mut [f32], columns: usize, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= columns);
        let rows = data.len() / columns;
        ColumnBlock { start: data.as_mut_ptr(), rows, stride: columns, range, lifetime: PhantomData }
    }

    /// The columns, counted in the whole matrix.
    pub fn columns(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// This block's part of a row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: row < rows and range.end <= stride (`for_each_column_block`), so the slice lies inside the matrix.
        // Blocks of one matrix have disjoint columns and each is handed out once; two rows of this block cannot be
        // borrowed at a time, as `self` is borrowed mutably.
        unsafe {
            let start = self.start.add(row * self.stride + self.range.start);
            std::slice::from_raw_parts_mut(start, self.range.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_belongs_to_one_column_block() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        for flops in [0, WORTH_A_POOL] {
            let mut data = vec![0.0; 2 * 3 * 10];
            enter(&pool, &Scratch::new(2, 0), flops, |workers| {
                workers.for_each_column_block(&mut data, (3, 10), 4, |matrix, mut block| {
                    for row in 0..block.rows() {
                        let columns = block.columns();
                        for (value, column) in block.row(row).iter_mut().zip(columns) {
                            *value += (matrix * 30 + row * 10 + column) as f32;
                        }
                    }
                });
            });
            assert!(data.iter().enumerate().all(|(i, &v)| v == i as f32), "{data:?}");
        }
    }
}
