//! Weights as the tile reads them: two blocks of output channels side by side, one step of depth after the other.

use super::{Parameters, Problem};
use crate::memory::Buffer;
use crate::simd::{Simd, Task};
use cnn_core::lowering::Layout;

/// Packed weights and biases of a convolution: `[groups][panel][depth][2][lanes]`, where the last panel of a group with
/// an odd number of blocks holds one.
pub(super) struct Panels {
    weights: Buffer,
    bias: Buffer,
    lanes: usize,
    depth: usize,
    /// Blocks of a group.
    group_blocks: usize,
    /// Lanes of a group's last block that hold channels.
    last_lanes: usize,
    groups: usize,
}

/// The weights and biases of one panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel<'a> {
    /// `[depth][blocks of the panel][lanes]`.
    pub(super) weights: &'a [f32],
    /// `[blocks of the panel][lanes]`.
    pub(super) bias: &'a [f32],
}

impl Panels {
    /// Packs `[O, C / groups, kh, kw]`, in the order of depth that the input's layout asks for: channels of a block
    /// fastest, then taps, then blocks.
    pub(super) fn pack(problem: &Problem, input: Layout, parameters: Parameters<'_>) -> Self {
        let lanes = problem.machine.instructions().lanes();
        let width = if input == Layout::Planar { 1 } else { lanes };
        let (group_in, group_out) = (problem.group_in(), problem.group_out());
        let taps = problem.plane.rows.kernel * problem.plane.columns.kernel;
        // A single block that is not full has no steps for the rest.
        let width = width.min(group_in);
        let depth = group_in.next_multiple_of(width) * taps;
        let (groups, group_blocks) = (problem.conv.groups, group_out.div_ceil(lanes));
        let mut weights = Buffer::zeroed(groups * group_blocks * lanes * depth);
        let mut bias = Buffer::zeroed(groups * group_blocks * lanes);
        for o in 0..problem.conv.out_channels {
            let (group, channel) = (o / group_out, o % group_out);
            let block = channel / lanes;
            // A panel starts at an even block, and all before it are full.
            let (panel, second) = (block / 2 * 2, block % 2);
            let width_here = lanes * (group_blocks - panel).min(2);
            let base = (group * group_blocks + panel) * lanes * depth + second * lanes + channel % lanes;
            let filter = &parameters.weight[o * group_in * taps..(o + 1) * group_in * taps];
            for (i, &value) in filter.iter().enumerate() {
                let (c, tap) = (i / taps, i % taps);
                let step = (c / width * taps + tap) * width + c % width;
                weights[base + step * width_here] = value;
            }
            if let Some(values) = parameters.bias {
                bias[(group * group_blocks + block) * lanes + channel % lanes] = values[o];
            }
        }
        let last_lanes = group_out - (group_blocks - 1) * lanes;
        Panels { weights, bias, lanes, depth, group_blocks, last_lanes, groups }
    }

    /// Blocks of output channels, of all groups.
    pub(super) fn blocks(&self) -> usize {
        self.groups * self.group_blocks
    }

    /// Panels of all groups.
    pub(super) fn panels(&self) -> usize {
        self.groups * self.group_blocks.div_ceil(2)
    }

    /// The panel that starts at this block, counted over all groups; an even one of its group.
    pub(super) fn panel(&self, block: usize) -> Panel<'_> {
        let blocks = (self.group_blocks - block % self.group_blocks).min(2);
        let range = block * self.lanes..(block + blocks) * self.lanes;
        Panel { weights: &self.weights[range.start * self.depth..range.end * self.depth], bias: &self.bias[range] }
    }

    /// Writes zeros to the lanes of a finished line that hold no channel, where its block has any. Their weights are zeros, and
    /// the product of a zero and an infinity is NaN, which whoever reads the line would spread to all its sums.
    pub(super) fn clear_idle_lanes<S: Simd>(&self, s: S, block: usize, line: &mut [f32]) {
        let is_last = (block + 1) % self.group_blocks == 0;
        if is_last && self.last_lanes < self.lanes {
            s.vectorize(Clear { used: self.last_lanes, line });
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }
}

/// Of the lanes of the longest vectors.
const LANE_NUMBERS: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// Leaves the first lanes of each vector of a line.
struct Clear<'a> {
    used: usize,
    line: &'a mut [f32],
}

impl<S: Simd> Task<S> for Clear<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let (used, zero) = (s.splat(self.used as f32), s.splat(0.0));
        let mut at = 0;
        while at < self.line.len() {
            let kept = s.where_less(s.load(&LANE_NUMBERS), used, s.load(&self.line[at..]), zero);
            s.store(&mut self.line[at..], kept);
            at += S::LANES;
        }
    }
}
