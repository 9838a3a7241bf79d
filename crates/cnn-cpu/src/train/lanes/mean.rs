//! Mean over each channel's plane with a sample in each lane, both ways.

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct GlobalAvgPool {
    pub(super) instructions: Instructions,
    /// Rows and columns of a channel's plane.
    pub(super) plane: [usize; 2],
}

impl LaneKernel for GlobalAvgPool {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        let forward = Forward { plane: self.plane, input: block.inputs[0], output };
        with_simd!(self.instructions, s => s.vectorize(forward));
    }

    fn backward(
        &self,
        _block: &Block<'_>,
        (_, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            let backward = Backward { pixels: self.plane.iter().product(), dy, dx, fresh: *fresh };
            with_simd!(self.instructions, s => s.vectorize(backward));
        }
    }
}

struct Forward<'a> {
    plane: [usize; 2],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl<S: Simd> Task<S> for Forward<'_> {
    /// Adds up each row before the rows, which loses less to rounding than one long sum.
    #[inline(always)]
    fn run(self, s: S) {
        let [rows, columns] = self.plane;
        let share = s.splat(1.0 / (rows * columns) as f32);
        let planes = self.input.chunks_exact(rows * columns * S::LANES);
        for (mean, plane) in self.output.chunks_exact_mut(S::LANES).zip(planes) {
            let mut sum = s.splat(0.0);
            for row in plane.chunks_exact(columns * S::LANES) {
                let mut of_row = s.splat(0.0);
                for pixel in row.chunks_exact(S::LANES) {
                    of_row = s.add(of_row, s.load(pixel));
                }
                sum = s.add(sum, of_row);
            }
            s.store(mean, s.mul(sum, share));
        }
    }
}

struct Backward<'a> {
    pixels: usize,
    dy: &'a [f32],
    dx: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd> Task<S> for Backward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let share = s.splat(1.0 / self.pixels as f32);
        let planes = self.dx.chunks_exact_mut(self.pixels * S::LANES);
        for (dy, plane) in self.dy.chunks_exact(S::LANES).zip(planes) {
            let slope = s.mul(s.load(dy), share);
            for pixel in plane.chunks_exact_mut(S::LANES) {
                s.store(pixel, if self.fresh { slope } else { s.add(s.load(pixel), slope) });
            }
        }
    }
}
