//! ReLU and ReLU6, both ways.

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct Relu(pub(super) Instructions);

pub(super) struct Relu6(pub(super) Instructions);

/// One for each function, as what is cut off is known when it is compiled.
macro_rules! lane_kernel {
    ($layer:ident, $cut:literal) => {
        impl LaneKernel for $layer {
            fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
                with_simd!(self.0, s => s.vectorize(Forward::<$cut> { x: block.inputs[0], y: output }));
            }

            fn backward(
                &self,
                _block: &Block<'_>,
                (y, dy): (&[f32], &[f32]),
                slopes: &mut Slopes<'_, '_>,
                _scratch: &mut [f32],
            ) {
                if let Some((dx, fresh)) = &mut slopes.inputs[0] {
                    with_simd!(self.0, s => s.vectorize(Backward::<$cut> { y, dy, dx, fresh: *fresh }));
                }
            }
        }
    };
}
lane_kernel!(Relu, false);
lane_kernel!(Relu6, true);

/// With `CUT`, no more than 6.
struct Forward<'a, const CUT: bool> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<S: Simd, const CUT: bool> Task<S> for Forward<'_, CUT> {
    #[inline(always)]
    fn run(self, s: S) {
        let six = s.splat(6.0);
        for at in (0..self.y.len()).step_by(S::LANES) {
            let y = s.relu(s.load(&self.x[at..]));
            s.store(&mut self.y[at..], if CUT { s.where_less(six, y, six, y) } else { y });
        }
    }
}

struct Backward<'a, const CUT: bool> {
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd, const CUT: bool> Task<S> for Backward<'_, CUT> {
    #[inline(always)]
    fn run(self, _s: S) {
        let length = self.dx.len();
        let (y, dy) = (&self.y[..length], &self.dy[..length]);
        for i in 0..length {
            let slope = if y[i] > 0.0 && (!CUT || y[i] < 6.0) { dy[i] } else { 0.0 };
            self.dx[i] = if self.fresh { slope } else { self.dx[i] + slope };
        }
    }
}
