//! Weights as the tile reads them: two blocks of output channels side by side, one step of depth after the other.

use super::{Parameters, Problem};
use crate::memory::Buffer;
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
        Panels { weights, bias, lanes, depth, group_blocks, groups }
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

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }
}
