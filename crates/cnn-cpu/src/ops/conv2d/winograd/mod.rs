//! Winograd's minimal filtering for 3 x 3 windows of stride 1: F(m x m, 3 x 3) computes m x m outputs from
//! (m + 2) x (m + 2) products instead of 9 m², at the price of transforms and of some accuracy.
//!
//! The input's tiles are transformed, then for each of the (m + 2)² frequencies the transformed tiles meet that
//! frequency's weights in a matrix product over channels, then the results are transformed back, with bias, residual,
//! activation and a 2 x 2 maximum on the way. In memory: V `[frequency][block of C][tile][lanes]`, weights
//! `[panel][frequency][C][2 lanes]`, M `[frequency][block of O][tile][lanes]`.
//!
//! Two plans, by where the data fits. *By blocks of tiles*: each piece of work transforms a block of tiles whose V and
//! M stay in the second cache, and runs through all weights; right for few channels. *By frequency*: all tiles are
//! transformed, then each piece of work takes a frequency, so that the weights are read once; right for many channels,
//! whose weights are larger than the caches.

mod accuracy;
mod run;
mod tiles;
mod transform;
mod weights;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Axis;

use super::{Algorithm, Parameters, Problem, even_rows, tile_efficiency};
use crate::machine::Machine;
use crate::memory::Buffer;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::with_simd;
use crate::threads::Workers;
use transform::{POINTS_2, POINTS_4, POINTS_6, Transform};
use weights::TransformedWeights;

/// The rows of the table, by the outputs of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winograd {
    /// 2 x 2 outputs from 4 x 4 products: 2.25 times fewer than there are in the sums.
    F2,
    /// 4 x 4 from 6 x 6: 4 times fewer.
    F4,
    /// 6 x 6 from 8 x 8: 5.06 times fewer.
    F6,
}

impl Row<Problem> for Winograd {
    fn name(&self) -> &'static str {
        match self {
            Winograd::F2 => "winograd_f2",
            Winograd::F4 => "winograd_f4",
            Winograd::F6 => "winograd_f6",
        }
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        for axis in [problem.plane.rows, problem.plane.columns] {
            if axis.kernel != 3 {
                return Err("the window is not 3x3".to_string());
            }
            if axis.stride != 1 || axis.dilation != 1 {
                return Err("the window has a stride or a dilation".to_string());
            }
        }
        match (problem.conv.groups, problem.tolerance > 0.0) {
            (1, true) => Ok(()),
            (1, false) => Err("no error is tolerated".to_string()),
            (groups, _) => Err(format!("{groups} groups")),
        }
    }
}

impl Algorithm for Winograd {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (_, ends) = problem.blocked_bytes(batch);
        let m = match self {
            Winograd::F2 => 2,
            Winograd::F4 => 4,
            Winograd::F6 => 6,
        };
        let lanes = problem.machine.instructions().lanes();
        let full = |channels: usize| channels.next_multiple_of(lanes) as f64;
        let (inputs, outputs) = (full(problem.in_channels), full(problem.conv.out_channels));
        let tiles = problem.plane.output().map(|extent| extent.div_ceil(m)).iter().product::<usize>() * batch;
        let frequencies = ((m + 2) * (m + 2)) as f64;
        let rows = even_rows(tiles, problem.machine.instructions().tile_rows());
        // A transform of 8 x 8 does not stay in the registers.
        let passes = if m == 6 { 4.0 } else { 2.0 };
        Work {
            macs: frequencies * tiles as f64 * inputs * outputs / tile_efficiency(rows, 2),
            weight_bytes: 4.0 * frequencies * inputs * outputs,
            moved_bytes: passes * 4.0 * frequencies * tiles as f64 * (inputs + outputs) + ends,
        }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        let blocked = problem.machine.blocked();
        let kernel: Box<dyn Kernel> = match self {
            Winograd::F2 => Box::new(WinogradKernel::<1, 4, 2>::new(POINTS_2, problem, parameters)?),
            Winograd::F4 => Box::new(WinogradKernel::<2, 6, 4>::new(POINTS_4, problem, parameters)?),
            Winograd::F6 => Box::new(WinogradKernel::<3, 8, 6>::new(POINTS_6, problem, parameters)?),
        };
        Ok(Prepared { kernel, input: blocked, output: blocked, pooled: problem.pool })
    }

    fn adds_residual(&self) -> bool {
        true
    }
}

struct WinogradKernel<const P: usize, const N: usize, const M: usize> {
    transform: Transform<P, N, M>,
    machine: Machine,
    rows: Axis,
    columns: Axis,
    /// Blocks of input and of output channels.
    in_blocks: usize,
    out_blocks: usize,
    weights: TransformedWeights,
    bias: Buffer,
    activation: Option<Activation>,
    /// Whether 2 x 2 maxima are written instead of the outputs.
    pooled: bool,
    plan: Plan,
}

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// Blocks of this many tiles down and across, each through all frequencies.
    Tiles([usize; 2]),
    /// All tiles of this many images at a time, frequency by frequency.
    Frequencies { images: usize },
}

impl<const P: usize, const N: usize, const M: usize> WinogradKernel<P, N, M> {
    /// Errors where these weights lose more accuracy than is tolerated.
    fn new(points: [f64; P], problem: &Problem, parameters: Parameters<'_>) -> Result<Self, String> {
        let machine = problem.machine;
        let lanes = machine.instructions().lanes();
        let transform = Transform::new(points);
        let in_blocks = problem.in_channels.div_ceil(lanes);
        let out_blocks = problem.conv.out_channels.div_ceil(lanes);
        let mut bias = Buffer::zeroed(out_blocks * lanes);
        if let Some(values) = parameters.bias {
            bias[..values.len()].copy_from_slice(values);
        }
        let (rows, columns) = (problem.plane.rows, problem.plane.columns);
        let tiles = [rows.output.div_ceil(M), columns.output.div_ceil(M)];
        let plan = Plan::choose(N * N, [in_blocks * lanes, out_blocks * lanes], tiles, &machine);
        let weights = TransformedWeights::new(&transform, problem, parameters.weight);
        let activation = parameters.activation;
        let pooled = problem.pool;
        let kernel = WinogradKernel {
            transform,
            machine,
            rows,
            columns,
            in_blocks,
            out_blocks,
            weights,
            bias,
            activation,
            pooled,
            plan,
        };
        let error = kernel.error(problem.in_channels, parameters.weight);
        match error <= f64::from(problem.tolerance) {
            true => Ok(kernel),
            false => Err(format!("its error is {error:.1e}, {:.1e} is tolerated", problem.tolerance)),
        }
    }

    /// By frequency, whatever the caches say, where there are fewer blocks of tiles than threads: each reads other weights then.
    /// The results are the same bits.
    fn plan_for(&self, batch: usize, threads: usize) -> Plan {
        match self.plan {
            Plan::Tiles(step) => {
                let blocks: usize = self.tiles().iter().zip(step).map(|(tiles, step)| tiles.div_ceil(step)).product();
                if batch * blocks < threads { Plan::Frequencies { images: batch } } else { self.plan }
            }
            Plan::Frequencies { .. } => self.plan,
        }
    }

    fn tiles(&self) -> [usize; 2] {
        [self.rows.output.div_ceil(M), self.columns.output.div_ceil(M)]
    }

    /// Rows and columns of what is written.
    fn output(&self) -> [usize; 2] {
        let divisor = if self.pooled { 2 } else { 1 };
        [self.rows.output / divisor, self.columns.output / divisor]
    }

    /// Rows or columns that a tile writes.
    fn step(&self) -> usize {
        if self.pooled { M / 2 } else { M }
    }
}

impl Plan {
    /// Blocks of tiles where at least two full tiles of the product fit with their frequencies into three quarters of the
    /// second cache; else by frequency, as many images at a time as leave V and M in a few times that.
    fn choose(frequencies: usize, [inputs, outputs]: [usize; 2], tiles: [usize; 2], machine: &Machine) -> Plan {
        let lanes = machine.instructions().lanes();
        let tile_rows = machine.instructions().tile_rows();
        let tile_bytes = frequencies * (inputs + 2 * lanes) * size_of::<f32>();
        let fitting = machine.caches.l2 / 4 * 3 / tile_bytes;
        let wanted = 2 * tile_rows;
        if fitting < wanted {
            let image = frequencies * (inputs + outputs) * tiles[0] * tiles[1] * size_of::<f32>();
            return Plan::Frequencies { images: (16 * machine.caches.l2 / image).max(1) };
        }
        // Whole rows of tiles, or equal parts of one.
        let across = tiles[1].div_ceil(tiles[1].div_ceil(wanted));
        Plan::Tiles([(wanted / across).clamp(1, tiles[0]), across])
    }
}

impl<const P: usize, const N: usize, const M: usize> Kernel for WinogradKernel<P, N, M> {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.machine.instructions(), s => match self.plan_for(io.batch, workers.threads()) {
            Plan::Tiles(step) => self.by_tiles(s, step, io, workers),
            Plan::Frequencies { images } => self.by_frequency(s, images, io, workers),
        });
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes() + size_of_val(&self.bias[..])
    }

    fn scratch_length(&self) -> usize {
        let lanes = self.machine.instructions().lanes();
        match self.plan {
            Plan::Tiles([down, across]) => {
                let line = down * across * lanes;
                N * N * (skewed(self.in_blocks * line) + skewed(2 * line))
            }
            Plan::Frequencies { .. } => 0,
        }
    }

    fn workspace_length(&self, batch: usize, threads: usize) -> usize {
        let lanes = self.machine.instructions().lanes();
        match self.plan_for(batch, threads) {
            Plan::Tiles(_) => 0,
            Plan::Frequencies { images } => {
                let [down, across] = self.tiles();
                let line = down * across * images.min(batch) * lanes;
                N * N * (skewed(self.in_blocks * line) + skewed(self.out_blocks * line))
            }
        }
    }
}

/// The distance between frequencies that hold so many floats each: an odd number of cache lines, as a tile writes and
/// reads one line of every frequency, which would meet in a few sets of the cache at a round distance.
fn skewed(floats: usize) -> usize {
    (floats.div_ceil(16) | 1) * 16
}
