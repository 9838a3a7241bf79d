//! ReLU, both ways.

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct Relu(pub(super) Instructions);

impl LaneKernel for Relu {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        with_simd!(self.0, s => s.vectorize(Forward { x: block.inputs[0], y: output }));
    }

    fn backward(
        &self,
        _block: &Block<'_>,
        (y, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            with_simd!(self.0, s => s.vectorize(Backward { y, dy, dx, fresh: *fresh }));
        }
    }
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<S: Simd> Task<S> for Forward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        for at in (0..self.y.len()).step_by(S::LANES) {
            s.store(&mut self.y[at..], s.relu(s.load(&self.x[at..])));
        }
    }
}

struct Backward<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd> Task<S> for Backward<'_> {
    #[inline(always)]
    fn run(self, _s: S) {
        let length = self.dx.len();
        let (y, dy) = (&self.y[..length], &self.dy[..length]);
        for i in 0..length {
            let slope = if y[i] > 0.0 { dy[i] } else { 0.0 };
            self.dx[i] = if self.fresh { slope } else { self.dx[i] + slope };
        }
    }
}
