//! Pooling over the blocked layout: a vector holds one pixel of several channels, so every window is a few whole
//! vectors.

use std::ops::Range;

use cnn_core::window::{Axis, Plane};
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

impl Pool {
    /// The commonest pooling, which has a loop of its own.
    fn is_maximum_of_touching_pairs(&self) -> bool {
        let touching =
            |axis: Axis| axis.kernel == 2 && axis.stride == 2 && axis.before == 0 && 2 * axis.output <= axis.input;
        let dense = self.plane.rows.dilation == 1 && self.plane.columns.dilation == 1;
        matches!(self.reduce, Reduce::Maximum) && dense && touching(self.plane.rows) && touching(self.plane.columns)
    }
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
    fn run(mut self, s: S) {
        let Plane { rows, columns } = self.pool.plane;
        if self.pool.is_maximum_of_touching_pairs() {
            return self.pairs(s);
        }
        // The windows whose every tap lies inside: their places need no division.
        let inside = columns.outputs(0).start..columns.outputs(columns.kernel - 1).end;
        let taps_y = rows.taps(self.y);
        for x in 0..columns.output {
            let taps_x = if inside.contains(&x) { 0..columns.kernel } else { columns.taps(x) };
            self.window(s, x, (&taps_y, &taps_x));
        }
    }
}

impl Line<'_> {
    /// Maxima of 2 x 2 windows side by side.
    #[inline(always)]
    fn pairs<S: Simd>(self, s: S) {
        let row = self.pool.plane.columns.input * S::LANES;
        let (top, bottom) = self.input[2 * self.y * row..][..2 * row].split_at(row);
        let pairs = top.chunks_exact(2 * S::LANES).zip(bottom.chunks_exact(2 * S::LANES));
        for ((top, bottom), output) in pairs.zip(self.output.chunks_exact_mut(S::LANES)) {
            let top = s.max(s.load(top), s.load(&top[S::LANES..]));
            let bottom = s.max(s.load(bottom), s.load(&bottom[S::LANES..]));
            s.store(output, s.max(top, bottom));
        }
    }

    /// One window over these taps.
    #[inline(always)]
    fn window<S: Simd>(&mut self, s: S, x: usize, (taps_y, taps_x): (&Range<usize>, &Range<usize>)) {
        let Plane { rows, columns } = self.pool.plane;
        let mut sum = match self.pool.reduce {
            Reduce::Maximum => s.splat(f32::NEG_INFINITY),
            Reduce::Mean { .. } => s.splat(0.0),
        };
        for ky in taps_y.clone() {
            let row = rows.input_index(self.y, ky) * columns.input;
            let pixels = &self.input[(row + columns.input_index(x, taps_x.start)) * S::LANES..];
            for kx in 0..taps_x.len() {
                let pixel = s.load(&pixels[kx * columns.dilation * S::LANES..]);
                sum = match self.pool.reduce {
                    Reduce::Maximum => s.max(sum, pixel),
                    Reduce::Mean { .. } => s.add(sum, pixel),
                };
            }
        }
        if let Reduce::Mean { count_padding } = self.pool.reduce {
            let count = match count_padding {
                true => rows.padded_taps(self.y) * columns.padded_taps(x),
                false => taps_y.len() * taps_x.len(),
            };
            sum = s.mul(sum, s.splat(1.0 / count as f32));
        }
        s.store(&mut self.output[x * S::LANES..], sum);
    }
}
