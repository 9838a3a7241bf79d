//! Filters, transformed in `f64` and packed for the product: `[panel][frequency][C][lanes of its blocks]`.

use rayon::prelude::*;

use super::Problem;
use super::transform::Transform;
use crate::memory::Buffer;

pub(super) struct TransformedWeights {
    data: Buffer,
    lanes: usize,
    /// Input channels, rounded up to whole blocks.
    channels: usize,
    out_blocks: usize,
}

impl TransformedWeights {
    /// Transforms `[O, C, 3, 3]`.
    pub(super) fn new<const P: usize, const N: usize, const M: usize>(
        transform: &Transform<P, N, M>,
        problem: &Problem,
        weight: &[f32],
    ) -> Self {
        let lanes = problem.machine.instructions().lanes();
        let (in_channels, out_channels) = (problem.in_channels, problem.conv.out_channels);
        let channels = in_channels.next_multiple_of(lanes);
        let out_blocks = out_channels.div_ceil(lanes);
        let mut data = Buffer::zeroed(N * N * out_blocks * lanes * channels);
        let panel_length = N * N * 2 * lanes * channels;
        data.par_chunks_mut(panel_length).enumerate().for_each(|(panel, data)| {
            let width = data.len() / (N * N * channels);
            for c in 0..in_channels {
                for lane in 0..width.min(out_channels - panel * 2 * lanes) {
                    let filter = &weight[((panel * 2 * lanes + lane) * in_channels + c) * 9..][..9];
                    for (f, value) in transform.filter(filter).as_flattened().iter().enumerate() {
                        data[(f * channels + c) * width + lane] = *value as f32;
                    }
                }
            }
        });
        TransformedWeights { data, lanes, channels, out_blocks }
    }

    /// The weights of one frequency and of the panel that starts at this block: `[C][lanes of its blocks]`.
    pub(super) fn panel(&self, frequencies: usize, (frequency, block): (usize, usize)) -> &[f32] {
        let width = (self.out_blocks - block).min(2) * self.lanes;
        let start = frequencies * block * self.lanes * self.channels + frequency * width * self.channels;
        &self.data[start..start + width * self.channels]
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.data[..])
    }
}
