//! Two convolutions with a filter a channel, one after the other, as the vertical and the horizontal filters of a flattened
//! convolution are (Jin et al. 2015, section 3), with a sample in each lane. A channel goes through both at a time, so what lies between them is a
//! plane that stays in a cache; it is linear in what the first one reads, and the backward pass makes it again.

use cnn_core::{Layer, Misfit, Network};

use super::convolution::Convolution;
use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::Instructions;

pub(super) struct DepthwisePair {
    first: Convolution,
    second: Convolution,
    /// Parameters of the first: its filters, and their biases where it has them.
    own: usize,
}

impl DepthwisePair {
    /// The pair that `node` is the second of; nothing where it is not, or where something else reads what the first makes.
    pub(super) fn of(network: &Network, node: usize, instructions: Instructions) -> Result<Option<Self>, Misfit> {
        let Some(before) = node.checked_sub(1) else { return Ok(None) };
        let between = network.output_of(before);
        let readers = network.nodes().iter().filter(|n| n.inputs.contains(&between)).count();
        if network.nodes()[node].inputs[..] != [between] || readers != 1 {
            return Ok(None);
        }
        let depthwise = |node: usize| match &network.nodes()[node].layer {
            Layer::Conv2d(conv) => {
                let input = network.input_shapes(node)[0];
                (conv.groups == input[0] && conv.out_channels == input[0]).then_some((conv, input))
            }
            _ => None,
        };
        let (Some((first, input)), Some((second, middle))) = (depthwise(before), depthwise(node)) else {
            return Ok(None);
        };
        Ok(Some(DepthwisePair {
            first: Convolution::new(instructions, first, input[0], first.plane(input)?),
            second: Convolution::new(instructions, second, middle[0], second.plane(middle)?),
            own: 1 + usize::from(first.bias),
        }))
    }
}

impl LaneKernel for DepthwisePair {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let ([input, between], [_, length]) = (self.first.group_lengths(), self.second.group_lengths());
        let (first, second) = block.parameters.split_at(self.own);
        let (between, scratch) = scratch.split_at_mut(between);
        let channels = block.inputs[0].chunks_exact(input).zip(output.chunks_exact_mut(length));
        for (channel, (input, output)) in channels.enumerate() {
            self.first.group_forward(channel, input, first, between, scratch);
            self.second.group_forward(channel, between, second, output, scratch);
        }
    }

    fn backward(&self, block: &Block<'_>, (_, dy): (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, scratch: &mut [f32]) {
        let ([length, between], [_, output]) = (self.first.group_lengths(), self.second.group_lengths());
        let (first, second) = block.parameters.split_at(self.own);
        let (between, scratch) = scratch.split_at_mut(between);
        let (slope, scratch) = scratch.split_at_mut(between.len());
        let (to_first, to_second) = slopes.parameters.split_at_mut(self.own);
        let fresh = slopes.fresh;
        let channels = block.inputs[0].chunks_exact(length).zip(dy.chunks_exact(output));
        for (channel, (input, dy)) in channels.enumerate() {
            if slopes.is_due {
                self.first.group_forward(channel, input, first, between, scratch);
                self.second.group_to_parameters(channel, (between, dy), (to_second, fresh), scratch);
            }
            self.second.group_to_input(channel, dy, second, (slope, true), scratch);
            if slopes.is_due {
                self.first.group_to_parameters(channel, (input, slope), (to_first, fresh), scratch);
            }
            if let Some((dx, fresh)) = &mut slopes.inputs[0] {
                let dx = &mut dx[channel * length..][..length];
                self.first.group_to_input(channel, slope, first, (dx, *fresh), scratch);
            }
        }
    }

    fn scratch_length(&self) -> usize {
        2 * self.first.group_lengths()[1] + self.first.scratch_length().max(self.second.scratch_length())
    }
}
