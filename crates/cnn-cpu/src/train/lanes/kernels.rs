//! What a layer does with a vector of samples, and which kernel does it.

use cnn_core::layers::{Activation, Mode};
use cnn_core::{Layer, Misfit, Network};
use smallvec::SmallVec;

use super::convolution::{Convolution, FullyConnected};
use super::dropout::Dropout;
use super::mean::GlobalAvgPool;
use super::norm::{BatchNorm, Moments};
use super::plain::{Copy, Plain};
use super::pointwise::Pointwise;
use super::pool::MaxPool;
use super::relu::{Relu, Relu6};
use crate::machine::Machine;
use crate::ops::conv2d;

/// How a layer works on a vector of samples. A value is `[elements, lanes]`.
pub(super) trait LaneKernel: Send + Sync {
    /// Writes every element of the output.
    fn forward(&self, block: &Block<'_>, output: &mut [f32], scratch: &mut [f32]);

    /// The gradients of inputs and parameters, from the output and its gradient.
    fn backward(&self, block: &Block<'_>, output: (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, scratch: &mut [f32]);

    /// The batch norm that it is, where it is one: what that needs of the whole batch is in [`Block::of_batch`].
    fn norm(&self) -> Option<&BatchNorm> {
        None
    }

    /// Floats of scratch that both need.
    fn scratch_length(&self) -> usize {
        0
    }
}

/// What a layer works on.
pub(super) struct Block<'a> {
    pub(super) inputs: SmallVec<[&'a [f32]; 4]>,
    pub(super) parameters: SmallVec<[&'a [f32]; 4]>,
    /// Lanes that hold a sample; the others hold zeros, or what became of them.
    pub(super) samples: usize,
    pub(super) mode: Mode,
    /// For a batch norm, what its input shows in the whole batch, by channel; in the backward pass with the gradients.
    pub(super) of_batch: &'a [Moments],
}

impl Block<'_> {
    /// Whether its samples are the first of the batch.
    pub(super) fn is_first(&self) -> bool {
        matches!(self.mode, Mode::Training { first_sample: 0, .. })
    }
}

/// Where the gradients of a layer go.
pub(super) struct Slopes<'a, 'b> {
    /// One an input; nothing where none is wanted. Written where it is the first to reach the value (`true`), else added.
    pub(super) inputs: &'a mut [Option<(&'b mut [f32], bool)>],
    pub(super) parameters: &'a mut [&'b mut [f32]],
    /// Whether the parameters' are wanted. Where they are not, they may be left or written.
    pub(super) is_due: bool,
    /// Whether the parameters' are written, else added.
    pub(super) fresh: bool,
}

/// The kernel of a node.
pub(super) fn kernel(network: &Network, node: usize, machine: &Machine) -> Result<Box<dyn LaneKernel>, Misfit> {
    let instructions = machine.instructions();
    let (layer, inputs) = (&network.nodes()[node].layer, network.input_shapes(node));
    let output = network.shape(network.output_of(node));
    let fully_connected = || Box::new(FullyConnected::new(instructions, [inputs[0].elements(), output.elements()]));
    Ok(match layer {
        Layer::Linear(_) => fully_connected(),
        Layer::Conv2d(conv) => {
            let problem = conv2d::Problem::new(conv, inputs[0], machine)?;
            let accepts = |row: &dyn conv2d::Algorithm| row.accepts(&problem).is_ok();
            match (accepts(&conv2d::Linear), accepts(&conv2d::Pointwise) && conv.groups == 1) {
                (true, _) => fully_connected(),
                (false, true) => Box::new(Pointwise::new(instructions, conv, inputs[0][0], problem.in_plane())),
                (false, false) => Box::new(Convolution::new(instructions, conv, inputs[0][0], conv.plane(inputs[0])?)),
            }
        }
        Layer::MaxPool2d(pool) => Box::new(MaxPool::new(instructions, inputs[0][0], pool.plane(inputs[0])?)),
        Layer::GlobalAvgPool(_) => Box::new(GlobalAvgPool { instructions, plane: [inputs[0][1], inputs[0][2]] }),
        Layer::Activation(Activation::Relu) => Box::new(Relu(instructions)),
        Layer::Activation(Activation::Relu6) => Box::new(Relu6(instructions)),
        Layer::Flatten(_) => Box::new(Copy),
        Layer::Dropout(layer) => Box::new(Dropout { instructions, layer: layer.clone() }),
        Layer::BatchNorm2d(norm) => {
            let extents = [inputs[0][0], inputs[0][1..].iter().product()];
            Box::new(BatchNorm::new(instructions, norm, extents))
        }
        layer => Box::new(Plain {
            layer: layer.clone(),
            inputs: inputs.into_iter().cloned().collect(),
            output: output.clone(),
            lanes: instructions.lanes(),
            elementwise: matches!(layer, Layer::Activation(_) | Layer::Add(_)),
        }),
    })
}
