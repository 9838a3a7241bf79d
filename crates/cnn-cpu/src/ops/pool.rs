//! Pooling over the blocked layout: a vector holds one pixel of several channels, so every window is a few whole
//! vectors.

use cnn_core::window::Plane;
use cnn_core::{Layer, Shape};

use super::{Io, Kernel};
use crate::machine::Machine;
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::Workers;

/// Name in reports.
pub const NAME: &str = "pool/blocked";

/// The kernel of a pooling layer on an input of `[C, H, W]`.
pub fn prepare(layer: &Layer, input: &Shape, machine: &Machine) -> Option<Box<dyn Kernel>> {
    let (_, [h, w]) = input.channels_and_plane()?;
    let kind = match layer {
        Layer::MaxPool2d(pool) => Pool { plane: pool.plane(input).ok()?, reduce: Reduce::Maximum },
        Layer::AvgPool2d(pool) => {
            Pool { plane: pool.plane(input).ok()?, reduce: Reduce::Mean { count_padding: pool.count_padding } }
        }
        Layer::GlobalAvgPool(_) => {
            let window = cnn_core::window::Window::new([h, w]);
            let plane = window.resolve([h, w], cnn_core::window::Rounding::Floor).ok()?;
            Pool { plane, reduce: Reduce::Mean { count_padding: false } }
        }
        _ => return None,
    };
    Some(Box::new(PoolKernel { pool: kind, instructions: machine.instructions() }))
}

#[derive(Debug, Clone, Copy)]
struct Pool {
    plane: Plane,
    reduce: Reduce,
}

#[derive(Debug, Clone, Copy)]
enum Reduce {
    Maximum,
    Mean { count_padding: bool },
}

struct PoolKernel {
    pool: Pool,
    instructions: Instructions,
}

impl Kernel for PoolKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.instructions, s => run(s, self.pool, io, workers));
    }
}

fn run<S: Simd>(s: S, pool: Pool, io: Io<'_>, workers: Workers<'_>) {
    let Plane { rows, columns } = pool.plane;
    let in_plane = rows.input * columns.input * S::LANES;
    let line = columns.output * S::LANES;
    let input = io.inputs[0];
    // Pieces of whole rows, several to a plane where planes are large.
    let step = (1_usize << 12).div_ceil(line * rows.kernel).min(rows.output);
    let extents = [io.output.len() / (rows.output * line), rows.output, line];
    workers.for_each_block(io.output, extents, [1, step, line], |mut block| {
        let input = &input[block.planes().start * in_plane..][..in_plane];
        for (i, y) in block.rows().enumerate() {
            let output = block.line(0, i);
            s.vectorize(Line { pool, input, y, output });
        }
    });
}

/// One row of one block of channels.
struct Line<'a> {
    pool: Pool,
    input: &'a [f32],
    y: usize,
    output: &'a mut [f32],
}

impl<S: Simd> Task<S> for Line<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let Line { pool, input, y, output } = self;
        let Plane { rows, columns } = pool.plane;
        let taps_y = rows.taps(y);
        for (x, output) in output.chunks_exact_mut(S::LANES).enumerate() {
            let taps_x = columns.taps(x);
            let mut sum = match pool.reduce {
                Reduce::Maximum => s.splat(f32::NEG_INFINITY),
                Reduce::Mean { .. } => s.splat(0.0),
            };
            for ky in taps_y.clone() {
                let row = rows.input_index(y, ky) * columns.input;
                for kx in taps_x.clone() {
                    let pixel = s.load(&input[(row + columns.input_index(x, kx)) * S::LANES..]);
                    sum = match pool.reduce {
                        Reduce::Maximum => s.max(sum, pixel),
                        Reduce::Mean { .. } => s.add(sum, pixel),
                    };
                }
            }
            if let Reduce::Mean { count_padding } = pool.reduce {
                let count = match count_padding {
                    true => rows.padded_taps(y) * columns.padded_taps(x),
                    false => taps_y.len() * taps_x.len(),
                };
                sum = s.mul(sum, s.splat(1.0 / count as f32));
            }
            s.store(output, sum);
        }
    }
}
