//! Dropout with a sample in each lane.

use cnn_core::layers::{Dropout as Layer, Mode};

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct Dropout {
    pub(super) instructions: Instructions,
    pub(super) layer: Layer,
}

impl Dropout {
    /// Writes or adds `from`, each number with its factor. Factors are drawn anew each time: that takes less than to keep them.
    fn scale(&self, mode: Mode, from: &[f32], to: &mut [f32], fresh: bool) {
        with_simd!(self.instructions, s => s.vectorize(Scale { layer: &self.layer, mode, from, to, fresh }));
    }
}

impl LaneKernel for Dropout {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        self.scale(block.mode, block.inputs[0], output, true);
    }

    fn backward(&self, block: &Block<'_>, (_, dy): (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, _: &mut [f32]) {
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            self.scale(block.mode, dy, dx, *fresh);
        }
    }
}

struct Scale<'a> {
    layer: &'a Layer,
    mode: Mode,
    from: &'a [f32],
    to: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd> Task<S> for Scale<'_> {
    #[inline(always)]
    fn run(self, _s: S) {
        let Scale { layer, mode, from, to, fresh } = self;
        let elements = from.len() / S::LANES;
        for (element, (from, to)) in from.chunks_exact(S::LANES).zip(to.chunks_exact_mut(S::LANES)).enumerate() {
            for lane in 0..S::LANES {
                let scaled = from[lane] * layer.factor(mode, lane * elements + element, elements);
                to[lane] = if fresh { scaled } else { to[lane] + scaled };
            }
        }
    }
}
