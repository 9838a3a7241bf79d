//! The kernel of each step on this device.

use std::time::Duration;

use cnn_core::backend::{Candidate, CompileOptions};
use cnn_core::choose::{self, choose};
use cnn_core::layers::Conv2d;
use cnn_core::lowering::{self, Chosen, Kernels, Layout, Slot, Values};
use cnn_core::passes::{self, Program};
use cnn_core::{Layer, Result, Shape, Weights};

use crate::driver::Driver;
use crate::kernel::{HostLayer, Kernel};
use crate::ops::conv2d::{self, Parameters, Prepared, Problem};
use crate::ops::{self, Convert, Failure, LinearKernel};

pub(super) struct Compiler<'a> {
    pub(super) program: &'a Program<'a>,
    pub(super) weights: &'a Weights,
    pub(super) options: &'a CompileOptions,
    pub(super) driver: &'a Driver,
}

impl Kernels for Compiler<'_> {
    type Kernel = Box<dyn Kernel>;

    fn choose(&self, step: &passes::Step, values: &Values<'_>) -> Result<Chosen<Self::Kernel>> {
        let home = values.home(step.inputs[0]);
        match self.program.layer(step) {
            Layer::Conv2d(conv) => self.convolution(step, conv, home.layout),
            Layer::Linear(_) => self.linear(step, home),
            layer => self.simple(step, layer, values.common_layout(step)),
        }
    }

    fn convert(&self, shape: &Shape, from: Layout, to: Layout) -> Result<Self::Kernel> {
        Ok(Box::new(Convert::new(shape, from, to)))
    }

    fn weight_bytes(&self, kernel: &Self::Kernel) -> usize {
        kernel.weight_bytes()
    }

    fn alignment(&self) -> usize {
        self.driver.traits().alignment / size_of::<f32>()
    }
}

impl Compiler<'_> {
    fn convolution(&self, step: &passes::Step, conv: &Conv2d, layout: Layout) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let (layer, input) = (&network.nodes()[step.node].name, network.input_shapes(step.node)[0]);
        let misfit = |reason| network.layer_error(step.node, reason);
        let problem = Problem::new(conv, input, &self.driver.tuning).map_err(misfit)?;
        let problem = Problem { layout, pool: step.pool.is_some(), tolerance: self.options.tolerance, ..problem };
        let parameters = lowering::parameters(self.program, self.weights, step)?;
        let bias = parameters.get(1).map(|bias| &bias[..]);
        let parameters = Parameters { weight: &parameters[0], bias, activation: step.activation };
        let ranked = conv2d::ranked(&problem, self.options.batch);
        let rows: Vec<_> = ranked.iter().map(|&(row, _)| row).collect();
        let wish = self.options.algorithm.as_deref();
        let choice = choose("conv2d", &rows, &problem, layer, wish)?;
        choose::heed_wish("ocl", layer, wish, &choice.refused, self.options.strict)?;
        let prepared = choice.row.prepare(self.driver, &problem, parameters)?;
        for parameter in network.parameters_of(step.node) {
            self.weights.release(&parameter.name, 0..parameter.shape.elements());
        }
        // The model counts bytes; at a rate of one a nanosecond they are candidates' times relative to each other.
        let considered = ranked.iter().filter(|(_, cost)| cost.is_finite()).map(|&(row, cost)| Candidate {
            algorithm: format!("conv2d/{}", row.name()),
            time: Duration::from_nanos(cost as u64),
        });
        Ok(Chosen {
            prepared,
            algorithm: format!("conv2d/{}", choice.row.name()),
            refused: choice.refused,
            considered: considered.collect(),
            macs: choice.row.work(&problem, 1).macs as u64,
        })
    }

    fn linear(&self, step: &passes::Step, home: &Slot) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let parameters = lowering::parameters(self.program, self.weights, step)?;
        let name = network.parameters_of(step.node).into_iter().next().map(|parameter| parameter.name);
        let release = |range| self.weights.release(name.as_deref().unwrap_or_default(), range);
        let both = (&parameters[0][..], parameters.get(1).map(|bias| &bias[..]));
        let kernel = LinearKernel::new(self.driver, home, both, step.activation, &release)?;
        let prepared = Prepared { kernel: Box::new(kernel), input: home.layout, output: Layout::Planar, pooled: false };
        let macs = network.flops_of(step.node) / 2;
        Ok(Chosen { macs, ..Chosen::only(prepared, ops::LINEAR) })
    }

    fn simple(&self, step: &passes::Step, layer: &Layer, layout: Layout) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let inputs = network.input_shapes(step.node);
        let parameters = self.weights.of_node(network, step.node)?;
        let slices: Vec<&[f32]> = parameters.iter().map(|values| &values[..]).collect();
        let how = (layout, step.activation);
        let simple = ops::simple(self.driver, layer, &inputs, how, &slices).map_err(|failure| match failure {
            Failure::Misfit(misfit) => network.layer_error(step.node, misfit),
            Failure::Error(error) => error,
        })?;
        if let Some(simple) = simple {
            return Ok(Chosen::only(Prepared::alike(simple.kernel, simple.layout), simple.name));
        }
        tracing::warn!("layer `{}` has no OpenCL kernel: it runs on the host", network.nodes()[step.node].name);
        let host = HostLayer {
            layer: layer.clone(),
            inputs: inputs.into_iter().cloned().collect(),
            output: network.shape(network.output_of(step.node)).clone(),
            parameters: parameters.into_iter().map(Vec::from).collect(),
        };
        Ok(Chosen::only(Prepared::planar(Box::new(host)), "host"))
    }
}
