//! Maximum pooling with a sample in each lane, both ways.

use cnn_core::window::Plane;

use super::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct MaxPool {
    pub(super) instructions: Instructions,
    pub(super) plane: Plane,
    pub(super) channels: usize,
}

impl LaneKernel for MaxPool {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        with_simd!(self.instructions, s => s.vectorize(Forward { pool: self, input: block.inputs[0], output }));
    }

    /// The first of equal maxima gets the gradient.
    fn backward(
        &self,
        block: &Block<'_>,
        (y, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            if *fresh {
                dx.fill(0.0);
            }
            with_simd!(self.instructions, s => s.vectorize(Backward { pool: self, input: block.inputs[0], y, dy, dx }));
        }
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
        let Plane { rows, columns } = &self.pool.plane;
        let mut at = 0;
        for channel in 0..self.pool.channels {
            for y in 0..rows.output {
                let down = rows.taps(y);
                for x in 0..columns.output {
                    let across = columns.taps(x);
                    let mut largest = s.splat(f32::NEG_INFINITY);
                    for ky in down.start..down.end {
                        let row = (channel * rows.input + rows.input_index(y, ky)) * columns.input;
                        for kx in across.start..across.end {
                            let value = s.load(&self.input[(row + columns.input_index(x, kx)) * S::LANES..]);
                            largest = s.max(largest, value);
                        }
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
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

/// The most lanes of any instruction set.
const MOST_LANES: usize = 16;

impl<S: Simd> Task<S> for Backward<'_> {
    #[inline(always)]
    fn run(self, _s: S) {
        let Plane { rows, columns } = &self.pool.plane;
        let mut at = 0;
        for channel in 0..self.pool.channels {
            for y in 0..rows.output {
                let down = rows.taps(y);
                for x in 0..columns.output {
                    let across = columns.taps(x);
                    let largest = &self.y[at..at + S::LANES];
                    // What is left to be given to the first that is the largest.
                    let mut left = [0.0; MOST_LANES];
                    left[..S::LANES].copy_from_slice(&self.dy[at..at + S::LANES]);
                    for ky in down.start..down.end {
                        let row = (channel * rows.input + rows.input_index(y, ky)) * columns.input;
                        for kx in across.start..across.end {
                            let first = (row + columns.input_index(x, kx)) * S::LANES;
                            let value = &self.input[first..first + S::LANES];
                            let slope = &mut self.dx[first..first + S::LANES];
                            for lane in 0..S::LANES {
                                // NaN is the largest where there is one.
                                let both_nan = value[lane].is_nan() & largest[lane].is_nan();
                                let taken = (value[lane] == largest[lane]) | both_nan;
                                slope[lane] += if taken { left[lane] } else { 0.0 };
                                left[lane] = if taken { 0.0 } else { left[lane] };
                            }
                        }
                    }
                    at += S::LANES;
                }
            }
        }
    }
}
