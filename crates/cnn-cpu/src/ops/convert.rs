//! Between the planar and the blocked layout, where two layers do not agree on one.

use cnn_core::Shape;

use super::{Io, Kernel};
use crate::threads::Workers;
use cnn_core::lowering::Layout;

/// Copies a value into the other layout.
pub struct Convert {
    channels: usize,
    plane: usize,
    lanes: usize,
    /// Whether the result is blocked.
    blocks: bool,
}

impl Convert {
    /// From one layout to another; one of them is blocked. `shape` is `[C, H, W]`.
    pub fn new(shape: &Shape, from: Layout, to: Layout) -> Self {
        let (channels, [h, w]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
        let (lanes, blocks) = match (from, to) {
            (_, Layout::Blocked { lanes }) => (lanes, true),
            (Layout::Blocked { lanes }, _) => (lanes, false),
            (Layout::Planar, Layout::Planar) => (1, false),
        };
        Convert { channels, plane: h * w, lanes, blocks }
    }
}

impl Kernel for Convert {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let Convert { channels, plane, lanes, blocks } = *self;
        let block_count = channels.div_ceil(lanes);
        let input = io.inputs[0];
        if blocks {
            workers.for_each_chunk(io.output, lanes * plane, |index, block| {
                let (n, first) = (index / block_count, index % block_count * lanes);
                let used = lanes.min(channels - first);
                let input = &input[(n * channels + first) * plane..][..used * plane];
                for (p, pixel) in block.chunks_mut(lanes).enumerate() {
                    pixel[used..].fill(0.0);
                    pixel[..used].iter_mut().zip(input[p..].iter().step_by(plane)).for_each(|(o, i)| *o = *i);
                }
            });
        } else {
            workers.for_each_chunk(io.output, plane, |index, output| {
                let (n, channel) = (index / channels, index % channels);
                let block = &input[(n * block_count + channel / lanes) * lanes * plane..][..lanes * plane];
                let lane = block[channel % lanes..].iter().step_by(lanes);
                output.iter_mut().zip(lane).for_each(|(o, i)| *o = *i);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::threads::{Crew, enter};

    #[test]
    fn there_and_back_is_the_same() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let shape = Shape::from([5, 2, 3]);
        let planar: Vec<f32> = (0..60).map(|v| v as f32).collect();
        let layout = Layout::Blocked { lanes: 4 };
        let (mut blocked, mut back) = (vec![f32::NAN; 2 * layout.elements(&shape)], vec![0.0; 60]);
        enter(&pool, &Crew::new(1, 0), 0, |workers| {
            let run = |from, to, input: &[f32], output: &mut [f32]| {
                let io = Io { batch: 2, inputs: &[input], output, workspace: &mut [] };
                Convert::new(&shape, from, to).run(io, workers);
            };
            run(Layout::Planar, layout, &planar, &mut blocked);
            run(layout, Layout::Planar, &blocked, &mut back);
        });
        assert_eq!(blocked[..8], [0.0, 6.0, 12.0, 18.0, 1.0, 7.0, 13.0, 19.0]);
        assert_eq!(blocked[24..28], [24.0, 0.0, 0.0, 0.0]);
        assert_eq!(back, planar);
    }
}
