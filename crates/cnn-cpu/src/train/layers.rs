//! The graph trainer of `cnn-core` over this backend's kernels, layer by layer, each over the whole batch.

use std::sync::Arc;

use cnn_core::backend::{GradientSink, Recipe, StepStats, Trainer};
use cnn_core::choose::Row;
use cnn_core::layers::{Call, Gradients};
use cnn_core::training::{GraphTrainer, LayerKernels};
use cnn_core::{Layer, Network, Result, Tensor, Weights};

use crate::gemm::{Bias, Epilogue, Matrix, Panels, pack, packed_length};
use crate::machine::Machine;
use crate::ops::{Io, conv2d, linear, plain};
use crate::threads::{Crew, Workers, enter};

pub(super) struct CpuTrainer {
    inner: GraphTrainer<CpuKernels>,
    pool: Arc<rayon::ThreadPool>,
    /// Why.
    reason: String,
}

impl CpuTrainer {
    pub(crate) fn new(
        network: &Network,
        weights: &Weights,
        recipe: &Recipe,
        reason: String,
        (pool, machine): (Arc<rayon::ThreadPool>, Machine),
    ) -> Result<Self> {
        let crew = Crew::new(pool.current_num_threads(), 0);
        let kernels = CpuKernels { pool: pool.clone(), machine, crew, packed: Vec::new(), partial: Vec::new() };
        Ok(CpuTrainer { inner: GraphTrainer::new(network, weights, recipe, kernels)?, pool, reason })
    }
}

impl Trainer for CpuTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        // One way into the pool for the whole step; each layer then finds itself on a thread of it.
        self.pool.install(|| self.inner.gradients(images, labels, ready))
    }

    fn count_samples_from(&mut self, first: usize) {
        self.inner.count_samples_from(first);
    }

    fn method(&self) -> String {
        format!("layer by layer: {}", self.reason)
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<()> {
        self.inner.scale_gradients(factor)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        self.inner.update(learning_rate)
    }

    fn weights(&self) -> Result<Weights> {
        self.inner.weights()
    }

    fn state(&self) -> Result<Weights> {
        self.inner.state()
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        self.inner.restore(state)
    }
}

/// This backend's kernels, with the memory that they keep between steps.
struct CpuKernels {
    pool: Arc<rayon::ThreadPool>,
    machine: Machine,
    crew: Crew,
    packed: Vec<f32>,
    partial: Vec<f32>,
}

/// Floating-point operations of a call of either pass, to decide whether it is worth the pool.
fn flops(layer: &Layer, call: &Call<'_>) -> u64 {
    layer.operation().flops(&call.input_shapes(), call.output_shape).saturating_mul(call.batch as u64)
}

impl LayerKernels for CpuKernels {
    fn forward(&mut self, layer: &Layer, call: &Call<'_>, output: &mut [f32]) {
        let CpuKernels { pool, machine, crew, packed, .. } = self;
        enter(pool, crew, flops(layer, call), |workers| forward(machine, layer, call, output, packed, workers));
    }

    fn backward(
        &mut self,
        layer: &Layer,
        call: &Call<'_>,
        output: &[f32],
        dy: &[f32],
        gradients: &mut Gradients<'_, '_>,
    ) {
        let CpuKernels { pool, machine, crew, partial, .. } = self;
        enter(pool, crew, flops(layer, call), |workers| match Method::of(layer, call, machine) {
            Method::Linear => linear::backward(machine.gemm, call, dy, gradients, workers),
            Method::Convolution(problem) => {
                let (batch, input, weight) = (call.batch, call.inputs[0].data, call.parameters[0]);
                let pass = conv2d::backward::Pass { problem: &problem, batch, input, weight, dy };
                let (weight, bias) = gradients.parameters.split_at_mut(1);
                let bias = bias.first_mut().map(|bias| &mut **bias);
                let sums = conv2d::backward::Sums { input: &mut *gradients.inputs[0], weight: &mut *weight[0], bias };
                conv2d::backward::backward(machine.gemm, pass, sums, partial, workers);
            }
            Method::Plain => plain::backward(layer.operation(), call, (output, dy), gradients, workers),
        });
    }
}

/// How a layer trains on this backend.
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one call")]
enum Method {
    /// As a fully connected layer over the flattened input.
    Linear,
    Convolution(conv2d::Problem),
    Plain,
}

impl Method {
    fn of(layer: &Layer, call: &Call<'_>, machine: &Machine) -> Self {
        match layer {
            Layer::Linear(_) => Method::Linear,
            Layer::Conv2d(conv) => match conv2d::Problem::new(conv, call.inputs[0].shape, machine) {
                Ok(problem) if conv2d::Linear.accepts(&problem).is_ok() => Method::Linear,
                Ok(problem) => Method::Convolution(problem),
                Err(_) => Method::Plain,
            },
            _ => Method::Plain,
        }
    }
}

fn forward(
    machine: &Machine,
    layer: &Layer,
    call: &Call<'_>,
    output: &mut [f32],
    packed: &mut Vec<f32>,
    workers: Workers<'_>,
) {
    let bias = call.parameters.get(1).copied();
    match Method::of(layer, call, machine) {
        Method::Linear => {
            let gemm = machine.gemm;
            let (features, width) = (call.inputs[0].shape.elements(), gemm.kernel.columns);
            let out_features = output.len() / call.batch;
            packed.resize(packed_length(out_features, features, width), 0.0);
            pack(Matrix::new(call.parameters[0], out_features, features), width, packed);
            let epilogue = Epilogue { bias: bias.map_or(Bias::None, Bias::Columns), activation: None };
            let io = Io { batch: call.batch, inputs: &[call.inputs[0].data], output, workspace: &mut [] };
            linear::multiply(gemm, Panels::new(packed, width, features), epilogue, io, workers);
        }
        Method::Convolution(problem) => {
            let parameters = conv2d::Parameters { weight: call.parameters[0], bias, activation: None };
            let io = Io { batch: call.batch, inputs: &[call.inputs[0].data], output, workspace: &mut [] };
            conv2d::forward(&problem, parameters, packed, io, workers);
        }
        Method::Plain => plain::forward(layer.operation(), call, output, workers),
    }
}
