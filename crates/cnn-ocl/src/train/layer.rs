//! What every layer's launches are made of: where a node's numbers lie, and the launches and memory that its two passes take.

use std::sync::Arc;

use cnn_core::layers::Activation;
use cnn_core::training::Learner;
use cnn_core::{Layer, Result};

use super::correlation::{self, Method};
use super::flattened::{self, Pair};
use super::graph::Flow;
use super::parameters::Parameters;
use super::place::{Held, Sides};
use super::pointwise::{self, Pointwise};
use super::{channels, elementwise, norm, pool, prelu};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{self, Memory, Workspace};
use crate::kernel::Launch;
use crate::program::{Program, Source};

const SUMS: Source = Source { name: "train/sums", text: include_str!("sums.cl") };

/// A node with all that its launches need, for one size of batch.
pub(super) struct Site<'a> {
    pub(super) driver: &'a Driver,
    pub(super) sides: Sides,
    pub(super) batch: usize,
    /// Groups of samples that hold the batch.
    pub(super) groups: usize,
    pub(super) learner: &'a Learner,
    pub(super) parameters: &'a Parameters,
    pub(super) node: usize,
    /// What it runs with the node before it.
    pub(super) pair: Option<Pair>,
    pub(super) pointwise: Option<Pointwise>,
    pub(super) inputs: Vec<Held>,
    pub(super) output: Held,
    /// The activation that the node does too.
    pub(super) activation: Option<Activation>,
    /// Its output's gradient. (Its output itself where there is none: no launch of the backward pass is made then.)
    pub(super) gradient: Held,
    pub(super) input_gradients: Vec<Option<Held>>,
    /// By input: how the gradient flows on.
    pub(super) flows: Vec<Option<Flow>>,
    /// What the forward pass leaves for the backward one: [`kept`] floats.
    pub(super) kept: Arc<Buffer>,
}

/// What is enqueued for one pass of a node.
#[derive(Default)]
pub(super) struct Work {
    pub(super) launches: Vec<Launch>,
    /// Floats of workspace 0.
    pub(super) workspace: usize,
}

impl Work {
    pub(super) fn of(launches: Vec<Launch>) -> Self {
        Work { launches, workspace: 0 }
    }
}

impl Site<'_> {
    pub(super) fn layer(&self) -> &Layer {
        &self.learner.network.nodes()[self.node].layer
    }

    /// A program for samples that lie side by side as here.
    pub(super) fn program(&self, source: Source, defines: &[(&str, i64)]) -> Result<Arc<Program>> {
        let sides = [("LANES", self.sides.lanes as i64), ("GROUP", self.sides.samples as i64)];
        self.driver.program(source, &[&sides, defines].concat())
    }

    /// A launch of a work-item for each vector, and for the given extents.
    pub(super) fn launch(&self, program: &Arc<Program>, function: &'static str, extents: [usize; 2]) -> Launch {
        let items = [self.sides.vectors(), extents[0], extents[1]];
        Launch::new(program, function, items).group(self.sides.work_group())
    }

    /// The weights of the whole network.
    pub(super) fn weights(&self) -> Argument {
        Memory(self.parameters.weights.clone())
    }

    /// Their gradients.
    pub(super) fn slopes(&self) -> Argument {
        Memory(self.parameters.gradient.clone())
    }

    /// Where a parameter of the node begins in both.
    pub(super) fn offset(&self, place: usize) -> usize {
        self.parameters.offset(self.node, place)
    }

    pub(super) fn has_bias(&self) -> bool {
        self.has_bias_at(self.node)
    }

    /// Whether another node has a bias.
    pub(super) fn has_bias_at(&self, node: usize) -> bool {
        self.learner.learned[node].len() > 1
    }

    /// Adds up `count` sums apart in workspace 0, of `length` floats each, to the gradient of the node's parameters.
    pub(super) fn gather(&self, length: usize, count: usize) -> Result<Launch> {
        self.gather_from(0, [length, count], self.offset(0))
    }

    /// The same of sums from a place in workspace 0 on, to a place among the gradients.
    pub(super) fn gather_from(&self, from: usize, [length, count]: [usize; 2], to: usize) -> Result<Launch> {
        let program = self.driver.program(SUMS, &[])?;
        Ok(Launch::new(&program, "gather", [length, 1, 1])
            .group(self.driver.tuning.line_group())
            .with([Workspace(0), self.slopes()])
            .ints([length, count, length, from, to]))
    }
}

/// Floats that a layer's forward pass leaves for its backward pass, beside values.
pub(super) fn kept(layer: &Layer, channels: usize) -> usize {
    match layer {
        Layer::BatchNorm2d(_) => 2 * channels,
        _ => 0,
    }
}

/// The launches of a node's forward pass; nothing where the layer has no kernels.
pub(super) fn forward(site: &Site<'_>, method: Option<Method>) -> Result<Option<Work>> {
    if let Some(pair) = site.pair {
        return flattened::forward(site, pair).map(Some);
    }
    if let Some(pointwise) = site.pointwise {
        return pointwise::forward(site, pointwise).map(Some);
    }
    if let Some(method) = method {
        return correlation::forward(site, method).map(Some);
    }
    match site.layer() {
        Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool(_) => pool::forward(site),
        Layer::BatchNorm2d(norm) => norm::forward(site, norm),
        Layer::Softmax(_) => channels::softmax(site),
        Layer::LocalResponseNorm(norm) => channels::local_response_norm(site, norm),
        Layer::Activation(activation) => elementwise::apply(site, *activation),
        Layer::Dropout(dropout) => elementwise::dropout(site, dropout),
        Layer::Prelu(_) => prelu::forward(site),
        Layer::Flatten(_) | Layer::Add(_) | Layer::Concat(_) => elementwise::copies(site),
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::Custom(_) => return Ok(None),
    }
    .map(Some)
}

/// The launches of a node's backward pass; nothing where the layer has no kernels.
pub(super) fn backward(site: &Site<'_>, method: Option<Method>) -> Result<Option<Work>> {
    if let Some(pair) = site.pair {
        return flattened::backward(site, pair).map(Some);
    }
    if let Some(pointwise) = site.pointwise {
        return pointwise::backward(site, pointwise).map(Some);
    }
    if let Some(method) = method {
        return correlation::backward(site, method).map(Some);
    }
    match site.layer() {
        Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool(_) => pool::backward(site),
        Layer::BatchNorm2d(_) => norm::backward(site),
        Layer::Softmax(_) => channels::softmax_backward(site),
        Layer::LocalResponseNorm(norm) => channels::local_response_norm_backward(site, norm),
        Layer::Activation(activation) => elementwise::apply_backward(site, *activation),
        Layer::Dropout(dropout) => elementwise::dropout_backward(site, dropout),
        Layer::Prelu(_) => prelu::backward(site),
        Layer::Flatten(_) | Layer::Add(_) | Layer::Concat(_) => elementwise::copies_backward(site),
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::Custom(_) => return Ok(None),
    }
    .map(Some)
}
