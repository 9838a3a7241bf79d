//! Maximum pooling with a sample in each lane, both ways.

use std::ops::Range;

use cnn_core::window::{Axis, Plane};

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct MaxPool {
    instructions: Instructions,
    channels: usize,
    /// Rows and columns of the input, and of it those that each window sees.
    input: [usize; 2],
    windows: [Vec<Range<usize>>; 2],
    /// Pixels between taps.
    dilation: [usize; 2],
    /// Whether every pixel lies in one window.
    tiles: bool,
}

impl MaxPool {
    pub(super) fn new(instructions: Instructions, channels: usize, plane: Plane) -> Self {
        let axes = [plane.rows, plane.columns];
        let windows = |axis: Axis| {
            let window = |output: usize| match axis.taps(output) {
                taps if taps.is_empty() => 0..0,
                taps => axis.input_index(output, taps.start)..axis.input_index(output, taps.end - 1) + 1,
            };
            (0..axis.output).map(window).collect()
        };
        let tiles = |axis: &Axis| {
            let Axis { kernel, stride, dilation, before, .. } = *axis;
            kernel == stride && dilation == 1 && before == 0 && axis.output * stride == axis.input
        };
        MaxPool {
            instructions,
            channels,
            input: axes.map(|axis| axis.input),
            windows: axes.map(windows),
            dilation: axes.map(|axis| axis.dilation),
            tiles: axes.iter().all(tiles),
        }
    }

    /// Where the taps of a window lie, in pixels from the image's first, in rows.
    #[inline(always)]
    fn row(&self, channel: usize, y: usize) -> usize {
        (channel * self.input[0] + y) * self.input[1]
    }
}

impl LaneKernel for MaxPool {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        with_simd!(self.instructions, s => s.vectorize(Forward { pool: self, input: block.inputs[0], output }));
    }

    /// The first of equal maxima gets the gradient.
    fn backward(
        &self,
        block: &Block<'_>,
        (largest, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        let Some((dx, fresh)) = &mut slopes.inputs[0] else { return };
        if *fresh && !self.tiles {
            dx.fill(0.0);
        }
        let once = *fresh && self.tiles;
        let pass = Backward { pool: self, input: block.inputs[0], largest, dy, dx, once };
        with_simd!(self.instructions, s => s.vectorize(pass));
    }
}

struct Forward<'a> {
    pool: &'a MaxPool,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl<S: Simd> Task<S> for Forward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let MaxPool { windows: [rows, columns], dilation, .. } = self.pool;
        let mut at = 0;
        for channel in 0..self.pool.channels {
            for down in rows {
                for across in columns {
                    let mut largest = s.splat(f32::NEG_INFINITY);
                    let mut y = down.start;
                    while y < down.end {
                        let (row, mut x) = (self.pool.row(channel, y), across.start);
                        while x < across.end {
                            largest = s.max(largest, s.load(&self.input[(row + x) * S::LANES..]));
                            x += dilation[1];
                        }
                        y += dilation[0];
                    }
                    s.store(&mut self.output[at..], largest);
                    at += S::LANES;
                }
            }
        }
    }
}

struct Backward<'a> {
    pool: &'a MaxPool,
    input: &'a [f32],
    largest: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// Whether each gradient is written once, not added to.
    once: bool,
}

impl<S: Simd> Task<S> for Backward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let MaxPool { windows: [rows, columns], dilation, .. } = self.pool;
        let zero = s.splat(0.0);
        let mut at = 0;
        for channel in 0..self.pool.channels {
            for down in rows {
                for across in columns {
                    let largest = s.load(&self.largest[at..]);
                    // What is left to be given to the first that is not less than the largest.
                    let mut left = s.load(&self.dy[at..]);
                    let mut y = down.start;
                    while y < down.end {
                        let (row, mut x) = (self.pool.row(channel, y), across.start);
                        while x < across.end {
                            let value = s.load(&self.input[(row + x) * S::LANES..]);
                            let slope = &mut self.dx[(row + x) * S::LANES..];
                            let given = s.where_less(value, largest, zero, left);
                            left = s.where_less(value, largest, left, zero);
                            let sum = if self.once { given } else { s.add(s.load(slope), given) };
                            s.store(slope, sum);
                            x += dilation[1];
                        }
                        y += dilation[0];
                    }
                    at += S::LANES;
                }
            }
        }
    }
}
