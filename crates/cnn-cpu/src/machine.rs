//! What kernels are prepared for, and how fast a machine computes and reads: what the choice between algorithms rests on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cnn_core::backend::Ceilings;

use crate::cache::Caches;
use crate::gemm::Gemm;
use crate::memory::Buffer;
use crate::simd::tile::{Start, Tile};
use crate::simd::walk::BlockedPixels;
use crate::simd::{Instructions, Simd, with_simd};
use crate::threads::{Crew, Workers, enter};
use cnn_core::lowering::Layout;

/// What kernels are prepared for.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// The packed matrix product.
    pub gemm: Gemm,
    /// What a core has.
    pub caches: Caches,
}

impl Machine {
    /// This machine, with the given instructions.
    pub fn new(instructions: Instructions) -> Self {
        let caches = Caches::detect();
        Machine { gemm: Gemm::new(instructions, caches), caches }
    }

    /// What the kernels are compiled for.
    pub fn instructions(&self) -> Instructions {
        self.gemm.instructions
    }

    /// The blocked layout of this machine's vectors.
    pub fn blocked(&self) -> Layout {
        Layout::Blocked { lanes: self.instructions().lanes() }
    }

    /// What one core computes and reads, measured once a process: algorithms are chosen by it, so that the choice, and with
    /// it every bit of a result, is the same for any number of threads.
    pub fn one_core(&self, pool: &Arc<rayon::ThreadPool>) -> Ceilings {
        static MEASURED: Mutex<Vec<(&str, Ceilings)>> = Mutex::new(Vec::new());
        let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.instructions().name();
        if let Some(&(_, ceilings)) = measured.iter().find(|(known, _)| *known == name) {
            return ceilings;
        }
        let ceilings = self.measure_threads(pool, 1, 0);
        measured.push((name, ceilings));
        ceilings
    }

    /// The most that all threads of a pool compute and read. Takes some hundredths of a second.
    pub fn measure(&self, pool: &Arc<rayon::ThreadPool>) -> Ceilings {
        self.measure_threads(pool, pool.current_num_threads(), u64::MAX)
    }

    /// On the pool where `flops` are worth it, else in the calling thread.
    fn measure_threads(&self, pool: &Arc<rayon::ThreadPool>, threads: usize, flops: u64) -> Ceilings {
        enter(pool, &Crew::new(threads, 0), flops, |workers| Ceilings {
            macs_per_second: with_simd!(self.instructions(), s => measure_macs(s, threads, workers)),
            bytes_per_second: measure_bytes(threads, workers),
        })
    }
}

/// Pieces that each thread takes in a turn: several, as helpers may come late to the first.
const PIECES: usize = 8;

/// The fastest of some turns, in units a second. The first may find both threads on one core still.
fn fastest(units: usize, mut turn: impl FnMut()) -> f64 {
    let seconds = (0..12).map(|_| {
        let start = Instant::now();
        turn();
        start.elapsed().as_secs_f64()
    });
    units as f64 / seconds.fold(f64::INFINITY, f64::min).max(1e-9)
}

/// The tile on operands that stay in the first cache.
fn measure_macs<S: Simd>(s: S, threads: usize, workers: Workers<'_>) -> f64 {
    const BLOCKS: usize = 8;
    const TURNS: usize = 150;
    let (x, w) = (vec![0.5; BLOCKS * S::TILE_ROWS * S::LANES], vec![0.5; BLOCKS * S::LANES * 2 * S::LANES]);
    let tasks = PIECES * threads;
    let macs = tasks * TURNS * S::TILE_ROWS * 2 * S::LANES * BLOCKS * S::LANES;
    let walk = BlockedPixels { blocks: BLOCKS, plane: S::TILE_ROWS * S::LANES };
    fastest(macs, || {
        workers.for_each(tasks, |_| {
            let mut c = [[0.0; 16 * 14]; 2];
            let [left, right] = &mut c;
            for _ in 0..TURNS {
                let next = w.as_ptr();
                let tile = Tile { x: &x, walk, rows: S::TILE_ROWS, w: &w, start: Start::Zero, relu: false, next };
                tile.run(s, [&mut left[..], &mut right[..]], S::LANES);
            }
            std::hint::black_box(&c);
        });
    })
}

/// Reads more than the caches hold.
fn measure_bytes(threads: usize, workers: Workers<'_>) -> f64 {
    const LENGTH: usize = 16 << 20;
    let mut data = Buffer::try_zeroed(LENGTH).unwrap_or_default();
    // Pages that nobody has written are one and the same page of zeros.
    data.fill(1.0);
    let piece = data.len().div_ceil(PIECES * threads).max(1);
    fastest(size_of_val(&data[..]), || {
        workers.for_each(data.len().div_ceil(piece), |i| {
            // Eight sums, so that the additions do not wait for each other.
            let mut sums = [0.0; 8];
            for values in data[i * piece..].chunks_exact(8).take(piece / 8) {
                sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
            }
            std::hint::black_box(sums);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_what_machines_do() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let Ceilings { macs_per_second, bytes_per_second } = Machine::new(Instructions::detect()).measure(&pool);
        assert!((1e7..1e13).contains(&macs_per_second) && (1e7..1e13).contains(&bytes_per_second));
    }
}
