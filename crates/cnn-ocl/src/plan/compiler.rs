//! The kernel of each step on this device.

use std::time::Duration;

use cnn_core::backend::{Candidate, CompileOptions, Precision};
use cnn_core::choose::{self, choose};
use cnn_core::layers::Conv2d;
use cnn_core::lowering::{self, Chosen, Kernels, Layout, Slot, Values};
use cnn_core::passes::{self, Program};
use cnn_core::{Layer, Result, Shape, Weights};

use crate::driver::Driver;
use crate::format::Format;
use crate::kernel::{HostLayer, Kernel};
use crate::ops::conv2d::{self, Parameters, Prepared, Problem};
use crate::ops::{self, Convert, Failure, LinearKernel};
use crate::single;

/// A row, and its cost in bytes that the device could have read meanwhile.
type Ranked = (&'static dyn conv2d::Algorithm, f64);

/// What the model takes a byte for, to show its costs as times: 50 GB/s.
const SECONDS_A_BYTE: f64 = 2e-11;

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
            Layer::Conv2d(_) if !step.chain.is_empty() => self.chain(step),
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

    fn values(&self) -> Precision {
        self.driver.format.values
    }

    fn alignment(&self) -> usize {
        self.driver.traits().alignment / self.values().bytes()
    }
}

impl Compiler<'_> {
    fn convolution(&self, step: &passes::Step, conv: &Conv2d, layout: Layout) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let (layer, input) = (&network.nodes()[step.node].name, network.input_shapes(step.node)[0]);
        let misfit = |reason| network.layer_error(step.node, reason);
        let problem = Problem::new(conv, input, &self.driver.tuning).map_err(misfit)?;
        let Format { values, arithmetic } = self.driver.format;
        let (pool, tolerance, precision) = (step.pool.is_some(), self.options.tolerance, [values, arithmetic]);
        let problem = Problem { layout, pool, tolerance, precision, ..problem };
        let parameters = lowering::parameters(self.program, self.weights, step)?;
        let bias = parameters.get(1).map(|bias| &bias[..]);
        let parameters = Parameters { weight: &parameters[0], bias, activation: step.activation };
        let mut ranked = conv2d::ranked(&problem, self.options.batch);
        if self.options.timed {
            self.time(&problem, parameters, &mut ranked)?;
        }
        let rows: Vec<_> = ranked.iter().map(|&(row, _)| row).collect();
        let wish = self.options.algorithm.as_deref();
        let choice = choose("conv2d", &rows, &problem, layer, wish)?;
        choose::heed_wish("ocl", layer, self.options, &choice.refused)?;
        let prepared = choice.row.prepare(self.driver, &problem, parameters)?;
        for parameter in network.parameters_of(step.node) {
            self.weights.release(&parameter.name, 0..parameter.shape.elements());
        }
        let considered = ranked.iter().filter(|(_, cost)| cost.is_finite()).map(|&(row, cost)| Candidate {
            algorithm: format!("conv2d/{}", row.name()),
            time: Duration::from_secs_f64(cost * SECONDS_A_BYTE),
        });
        Ok(Chosen {
            prepared,
            algorithm: format!("conv2d/{}", choice.row.name()),
            refused: choice.refused,
            considered: considered.collect(),
            macs: choice.row.work(&problem, 1).macs as u64,
        })
    }

    /// Puts the device's times in place of the model's costs, for the rows that the model does not think hopeless; the others, and
    /// those that fail, go last.
    fn time(&self, problem: &Problem, parameters: Parameters<'_>, ranked: &mut [Ranked]) -> Result<()> {
        const HOPELESS: f64 = 8.0;
        let accepting = ranked.iter().map(|&(_, cost)| cost).filter(|cost| cost.is_finite());
        let limit = HOPELESS * accepting.fold(f64::INFINITY, f64::min);
        let batch = self.options.batch;
        let input = Shape::from([problem.in_channels, problem.plane.rows.input, problem.plane.columns.input]);
        for (row, cost) in ranked.iter_mut().filter(|(_, cost)| cost.is_finite()) {
            let timed = || {
                let Prepared { kernel, input: layout, output, pooled } =
                    row.prepare(self.driver, problem, parameters)?;
                let extents = problem.plane.output().map(|extent| if pooled { extent / 2 } else { extent });
                let shape = Shape::from([problem.conv.out_channels, extents[0], extents[1]]);
                let values = [layout.elements(&input), output.elements(&shape)].map(|sample| batch * sample);
                single::time(self.driver, &*kernel, batch, values)
            };
            let time = if *cost <= limit { timed() } else { Ok(Duration::MAX) };
            let time = time.inspect_err(|error| tracing::warn!("{} is left out: {error}", row.name()));
            *cost = match time {
                Ok(time) if time < Duration::MAX => time.as_secs_f64() / SECONDS_A_BYTE,
                _ => f64::INFINITY,
            };
        }
        ranked.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(())
    }

    fn linear(&self, step: &passes::Step, home: &Slot) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let parameters = lowering::parameters(self.program, self.weights, step)?;
        let name = network.parameters_of(step.node).into_iter().next().map(|parameter| parameter.name);
        let release = |range| self.weights.release(name.as_deref().unwrap_or_default(), range);
        let both = (&parameters[0][..], parameters.get(1).map(|bias| &bias[..]));
        let layer = &network.nodes()[step.node].name;
        let precision = lowering::linear_precision("ocl", layer, both.0, self.options, &release)?;
        let kernel = LinearKernel::new(self.driver, home, both, (precision, step.activation), &release)?;
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
