//! The thread pool, and the few ways in which the backend cuts work into pieces. Pieces depend on the problem alone,
//! never on the number of threads, so neither do results.

#![allow(unsafe_code)]

mod block;
mod list;
mod team;

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::layers::View;

pub use block::Block;
pub(crate) use list::with_list;
use team::Team;

use crate::memory::Buffer;

/// Runs pieces of work, on a pool or in the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct Workers<'a> {
    crew: &'a Crew,
    parallel: bool,
}

/// The threads that work for one session, and memory for each to work in: a block, and lists of a layer's operands.
#[derive(Debug)]
pub struct Crew {
    team: Team,
    scratch: Vec<Mutex<Buffer>>,
    lists: Vec<Mutex<Lists>>,
}

/// Room for a layer's inputs and parameters. Empty between two uses.
#[derive(Debug, Default)]
struct Lists {
    inputs: Vec<View<'static>>,
    parameters: Vec<&'static [f32]>,
}

impl Crew {
    /// For `threads`, with a block of `length` floats for each.
    pub fn new(threads: usize, length: usize) -> Self {
        let scratch = (0..threads.max(1)).map(|_| Mutex::new(Buffer::zeroed(length))).collect();
        let lists = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        Crew { team: Team::new(threads), scratch, lists }
    }

    /// With room for layers of so many inputs and parameters from the start.
    pub fn with_lists(mut self, inputs: usize, parameters: usize) -> Self {
        for lists in &mut self.lists {
            let lists = lists.get_mut().unwrap_or_else(PoisonError::into_inner);
            *lists = Lists { inputs: Vec::with_capacity(inputs), parameters: Vec::with_capacity(parameters) };
        }
        self
    }

    /// Bytes of all blocks.
    pub fn bytes(threads: usize, length: usize) -> usize {
        threads.max(1) * length * size_of::<f32>()
    }

    /// Lends the calling thread its block, grown to `length`. Its content is whatever was left there.
    fn lend<R>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut block = self.scratch[self.thread()].lock().unwrap_or_else(PoisonError::into_inner);
        if block.len() < length {
            *block = Buffer::zeroed(length);
        }
        work(&mut block[..length])
    }

    /// The calling thread's number.
    fn thread(&self) -> usize {
        rayon::current_thread_index().unwrap_or(0) % self.scratch.len()
    }
}

/// Work below this many floating-point operations runs in the calling thread: waking a pool costs some ten
/// microseconds, in which one core does as much.
const WORTH_A_POOL: u64 = 4_000_000;

/// Runs `work` on the pool where its `flops` are worth it, else in the calling thread.
pub fn enter<R: Send>(
    pool: &Arc<rayon::ThreadPool>,
    crew: &Crew,
    flops: u64,
    work: impl FnOnce(Workers<'_>) -> R + Send,
) -> R {
    match pool.current_num_threads() > 1 && flops >= WORTH_A_POOL {
        true => pool.install(|| crew.team.lead(|| work(Workers { crew, parallel: true }))),
        false => work(Workers { crew, parallel: false }),
    }
}

impl Workers<'_> {
    /// Lends the calling thread its scratch block, grown to `length`.
    pub fn scratch<R>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        self.crew.lend(length, work)
    }

    /// Lends the calling thread its lists, filled with a layer's inputs and parameters.
    pub fn operands<'a>(
        &self,
        inputs: impl Iterator<Item = View<'a>>,
        parameters: impl Iterator<Item = &'a [f32]>,
        work: impl FnOnce(&[View<'a>], &[&'a [f32]]),
    ) {
        let place = &self.crew.lists[self.crew.thread()];
        // Not locked meanwhile: the work may be a layer of the caller's, which waits for other threads.
        let mut lists = mem::take(&mut *place.lock().unwrap_or_else(PoisonError::into_inner));
        with_list(&mut lists.inputs, inputs, |inputs| {
            with_list(&mut lists.parameters, parameters, |parameters| work(inputs, parameters));
        });
        *place.lock().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    /// Those that work at a time.
    pub fn threads(&self) -> usize {
        if self.parallel { self.crew.team.threads() } else { 1 }
    }

    /// Works on each number below `tasks`.
    pub fn for_each(&self, tasks: usize, work: impl Fn(usize) + Sync) {
        match self.parallel {
            true => self.crew.team.run(tasks, &work),
            false => (0..tasks).for_each(work),
        }
    }

    /// Cuts `data` into pieces of `length` (the last may be shorter) and works on each by its number.
    pub fn for_each_chunk(&self, data: &mut [f32], length: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
        let whole = Shared::new(data);
        // SAFETY: pieces of different numbers do not overlap, and each number is worked on once.
        self.for_each(whole.length.div_ceil(length), |i| work(i, unsafe { whole.piece(i, length) }));
    }

    /// Cuts two slices into as many pieces each and works on the pairs.
    pub fn for_each_pair(
        &self,
        (a, a_length): (&mut [f32], usize),
        (b, b_length): (&mut [f32], usize),
        work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let (a, b) = (Shared::new(a), Shared::new(b));
        let pieces = a.length.div_ceil(a_length).min(b.length.div_ceil(b_length));
        // SAFETY: pieces of different numbers do not overlap, and each number is worked on once.
        self.for_each(pieces, |i| unsafe { work(i, a.piece(i, a_length), b.piece(i, b_length)) });
    }

    /// Cuts `data`, an array of `[planes, rows, columns]`, into blocks of at most `steps` and works on each. Planes
    /// change slowest, columns fastest.
    pub fn for_each_block(
        &self,
        data: &mut [f32],
        extents: [usize; 3],
        steps: [usize; 3],
        work: impl Fn(Block<'_>) + Sync,
    ) {
        self.for_each_block_of(data, extents, (extents[0].max(1), steps), work);
    }

    /// As [`for_each_block`](Self::for_each_block), with planes in groups of `group`, across which no block reaches.
    pub fn for_each_block_of(
        &self,
        data: &mut [f32],
        extents: [usize; 3],
        (group, steps): (usize, [usize; 3]),
        work: impl Fn(Block<'_>) + Sync,
    ) {
        assert_eq!(data.len(), extents.iter().product::<usize>());
        let within = [group, extents[1], extents[2]];
        let counts: [usize; 3] = std::array::from_fn(|i| within[i].div_ceil(steps[i]));
        let whole = Shared::new(data);
        let blocks = counts.iter().product::<usize>();
        self.for_each(extents[0].div_ceil(group) * blocks, |task| {
            let (first, task) = (task / blocks * group, task % blocks);
            let at = [task / counts[2] / counts[1], task / counts[2] % counts[1], task % counts[2]];
            let mut ranges = std::array::from_fn(|i| at[i] * steps[i]..((at[i] + 1) * steps[i]).min(within[i]));
            ranges[0] = (first + ranges[0].start).min(extents[0])..(first + ranges[0].end).min(extents[0]);
            // SAFETY: the ranges lie inside the extents, which are the array's; blocks of different numbers do not
            // overlap, and each number is worked on once.
            work(unsafe { Block::new(whole.start(), [extents[1], extents[2]], ranges) });
        });
    }
}

/// A slice that several threads take disjoint pieces of.
#[derive(Clone, Copy)]
struct Shared {
    start: *mut f32,
    length: usize,
}

impl Shared {
    fn new(data: &mut [f32]) -> Self {
        Shared { start: data.as_mut_ptr(), length: data.len() }
    }

    fn start(self) -> *mut f32 {
        self.start
    }

    /// # Safety
    /// The slice must be alive, and no piece may be taken twice or overlap another.
    unsafe fn piece<'a>(self, index: usize, length: usize) -> &'a mut [f32] {
        let begin = (index * length).min(self.length);
        let length = length.min(self.length - begin);
        // SAFETY: the piece lies inside the slice; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(begin), length) }
    }
}

// SAFETY: used only for pieces of which no two share an element.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_belongs_to_one_block() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        for flops in [0, WORTH_A_POOL] {
            let mut data = vec![0.0; 3 * 5 * 10];
            enter(&pool, &Crew::new(2, 0), flops, |workers| {
                workers.for_each_block(&mut data, [3, 5, 10], [2, 2, 4], |mut block| {
                    let (planes, rows, columns) = (block.planes(), block.rows(), block.columns());
                    for plane in 0..planes.len() {
                        for row in 0..rows.len() {
                            for (value, column) in block.line(plane, row).iter_mut().zip(columns.clone()) {
                                *value += (((planes.start + plane) * 5 + rows.start + row) * 10 + column) as f32;
                            }
                        }
                    }
                });
            });
            assert!(data.iter().enumerate().all(|(i, &v)| v == i as f32), "{data:?}");
        }
    }

    #[test]
    fn the_last_piece_is_shorter() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        let mut data = vec![0.0; 10];
        enter(&pool, &Crew::new(2, 0), WORTH_A_POOL, |workers| {
            workers.for_each_chunk(&mut data, 4, |i, piece| piece.fill((10 * i + piece.len()) as f32));
        });
        assert_eq!(data, [4.0, 4.0, 4.0, 4.0, 14.0, 14.0, 14.0, 14.0, 22.0, 22.0]);
    }
}
