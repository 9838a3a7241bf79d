//! The kernel of each step on this machine.

use std::borrow::Cow;
use std::sync::Arc;

use cnn_core::backend::{Ceilings, CompileOptions};
use cnn_core::lowering::{self, Chosen, Kernels, Layout, Slot, Values};
use cnn_core::passes::{self, Program};
use cnn_core::{Layer, Result, Shape, Weights};

use crate::machine::Machine;
use crate::ops::{self, Kernel, Prepared, convert, linear, plain};

type WeightAndBias<'a> = (Cow<'a, [f32]>, Option<Cow<'a, [f32]>>);

pub(super) struct Compiler<'a> {
    pub(super) program: &'a Program<'a>,
    pub(super) weights: &'a Weights,
    pub(super) options: &'a CompileOptions,
    pub(super) machine: &'a Machine,
    pub(super) pool: &'a Arc<rayon::ThreadPool>,
    /// Measured where a choice needs them.
    pub(super) ceilings: &'a (dyn Fn() -> Ceilings + Sync),
}

impl Kernels for Compiler<'_> {
    type Kernel = Box<dyn Kernel>;

    fn choose(&self, step: &passes::Step, values: &Values<'_>) -> Result<Chosen<Self::Kernel>> {
        let network = self.program.network;
        match self.program.layer(step) {
            Layer::Conv2d(_) if !step.chain.is_empty() => self.chain(step),
            Layer::Conv2d(conv) => self.convolution(step, conv, values.home(step.inputs[0]).layout),
            Layer::Linear(_) => self.linear(step, values.home(step.inputs[0])),
            layer => {
                let inputs = network.input_shapes(step.node);
                let layout = self.layout(layer, step, values);
                if let Some((prepared, name)) = ops::prepare(layer, &inputs, (layout, step.activation), self.machine) {
                    return Ok(Chosen::only(prepared, name));
                }
                let parameters = self.weights.of_node(network, step.node)?.into_iter().map(Vec::from).collect();
                let output = network.shape(network.output_of(step.node));
                let kernel = plain::PlainKernel::new(layer, &inputs, output, parameters);
                Ok(Chosen::only(Prepared::planar(Box::new(kernel)), plain::NAME))
            }
        }
    }

    fn convert(&self, shape: &Shape, from: Layout, to: Layout) -> Result<Self::Kernel> {
        Ok(Box::new(convert::Convert::new(shape, from, to)))
    }

    fn weight_bytes(&self, kernel: &Self::Kernel) -> usize {
        kernel.weight_bytes()
    }

    fn joins(&self, kernel: &Self::Kernel) -> bool {
        kernel.joins()
    }
}

impl<'a> Compiler<'a> {
    /// The layout that a layer without parameters is best read in: the one that its inputs have, and blocks of channels where
    /// reading them takes longer than making them.
    fn layout(&self, layer: &Layer, step: &passes::Step, values: &Values<'_>) -> Layout {
        let blocked = self.machine.blocked();
        let inputs = step.inputs.iter().zip(self.program.network.input_shapes(step.node));
        let fills_a_block =
            |shape: &Shape| shape.channels_and_plane().is_some_and(|(c, _)| c >= self.machine.instructions().lanes());
        let pays = match layer {
            Layer::MaxPool2d(_) | Layer::AvgPool2d(_) => inputs.clone().all(|(_, shape)| fills_a_block(shape)),
            Layer::Concat(_) => inputs.clone().any(|(&value, _)| values.home(value).layout == blocked),
            _ => false,
        };
        // A value that is read as another shape is planar.
        let same_shapes = inputs.clone().all(|(&value, shape)| &values.home(value).shape == shape);
        if pays && same_shapes { blocked } else { values.common_layout(step) }
    }

    fn linear(&self, step: &passes::Step, home: &Slot) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let (weight, bias) = self.parameters(step)?;
        let name = network.parameters_of(step.node).into_iter().next().map(|parameter| parameter.name);
        let release = |range| self.weights.release(name.as_deref().unwrap_or_default(), range);
        let layer = &network.nodes()[step.node].name;
        let parameters = linear::Parameters {
            weight: &weight,
            bias: bias.as_deref(),
            activation: step.activation,
            precision: lowering::linear_precision("cpu", layer, &weight, self.options, &release)?,
            release: &release,
        };
        let kernel = linear::LinearKernel::new(self.machine, (&home.shape, home.layout), parameters);
        let prepared =
            Prepared { kernel: Box::new(kernel) as _, input: home.layout, output: Layout::Planar, pooled: false };
        let macs = network.flops_of(step.node) / 2;
        Ok(Chosen { macs, ..Chosen::only(prepared, linear::NAME) })
    }

    /// Weight and bias of a convolution or linear layer, with the batch norm folded in where there is one.
    pub(super) fn parameters(&self, step: &passes::Step) -> Result<WeightAndBias<'a>> {
        let mut parameters = lowering::parameters(self.program, self.weights, step)?.into_iter();
        Ok((parameters.next().unwrap_or_default(), parameters.next()))
    }
}
