//! The kernel of each step on this machine.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use cnn_core::backend::{Ceilings, CompileOptions, Precision};
use cnn_core::lowering::{self, Chosen, Kernels, Layout, Slot, Values};
use cnn_core::passes::{self, Program};
use cnn_core::{Error, Layer, Result, Shape, Weights};

use crate::machine::Machine;
use crate::ops::{self, Kernel, Prepared, convert, linear, plain};

/// The largest number of half precision.
const LARGEST_HALF: f32 = 65504.0;

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
            Layer::Conv2d(conv) => self.convolution(step, conv, values.home(step.inputs[0]).layout),
            Layer::Linear(_) => self.linear(step, values.home(step.inputs[0])),
            layer => {
                let inputs = network.input_shapes(step.node);
                let layout = values.common_layout(step);
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
}

impl<'a> Compiler<'a> {
    fn linear(&self, step: &passes::Step, home: &Slot) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let (weight, bias) = self.parameters(step)?;
        let name = network.parameters_of(step.node).into_iter().next().map(|parameter| parameter.name);
        let release = |range| self.weights.release(name.as_deref().unwrap_or_default(), range);
        let parameters = linear::Parameters {
            weight: &weight,
            bias: bias.as_deref(),
            activation: step.activation,
            precision: self.precision(step, &weight, &release)?,
            release: &release,
        };
        let kernel = linear::LinearKernel::new(self.machine, (&home.shape, home.layout), parameters);
        let prepared =
            Prepared { kernel: Box::new(kernel) as _, input: home.layout, output: Layout::Planar, pooled: false };
        let macs = network.flops_of(step.node) / 2;
        Ok(Chosen { macs, ..Chosen::only(prepared, linear::NAME) })
    }

    /// What a fully connected layer's weights are stored as: what was asked for, where they fit it.
    fn precision(
        &self,
        step: &passes::Step,
        weight: &[f32],
        release: &(dyn Fn(Range<usize>) + Sync),
    ) -> Result<Precision> {
        const PIECE: usize = 4 << 20;
        if self.options.linear_weights == Precision::Single {
            return Ok(Precision::Single);
        }
        let mut largest = 0.0f32;
        for (piece, start) in weight.chunks(PIECE).zip((0..).step_by(PIECE)) {
            largest = piece.iter().fold(largest, |largest, v| largest.max(v.abs()));
            release(start..start + piece.len());
        }
        if largest <= LARGEST_HALF {
            return Ok(Precision::Half);
        }
        let layer = &self.program.network.nodes()[step.node].name;
        let reason = format!("layer `{layer}`: a weight of {largest:e} does not fit half precision");
        match self.options.strict {
            true => Err(Error::Backend { backend: "cpu".to_string(), reason }),
            false => {
                tracing::warn!("{reason}; it stays in single precision");
                Ok(Precision::Single)
            }
        }
    }

    /// Weight and bias of a convolution or linear layer, with the batch norm folded in where there is one.
    pub(super) fn parameters(&self, step: &passes::Step) -> Result<WeightAndBias<'a>> {
        let mut parameters = lowering::parameters(self.program, self.weights, step)?.into_iter();
        Ok((parameters.next().unwrap_or_default(), parameters.next()))
    }
}
