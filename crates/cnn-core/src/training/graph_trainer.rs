//! The trainer that walks a network forward and backward, layer by layer over the whole batch. How a layer runs is
//! left to [`LayerKernels`]: the plain loops, or a backend's.

use smallvec::SmallVec;

use super::{Learned, Learner, softmax_cross_entropy};
use crate::backend::{GradientSink, Recipe, StepStats, Trainer};
use crate::error::grow;
use crate::layers::{Call, Gradients, View};
use crate::{Error, Layer, Network, Result, Tensor, ValueId, Weights};

/// How one layer runs in training, and how the optimiser's step does.
pub trait LayerKernels: Send {
    /// As [`Operation::forward`](crate::layers::Operation::forward).
    fn forward(&mut self, layer: &Layer, call: &Call<'_>, output: &mut [f32]);

    /// As [`Operation::backward`](crate::layers::Operation::backward).
    fn backward(
        &mut self,
        layer: &Layer,
        call: &Call<'_>,
        output: &[f32],
        dy: &[f32],
        gradients: &mut Gradients<'_, '_>,
    );
}

/// Each layer by its own definition.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainLoops;

impl LayerKernels for PlainLoops {
    fn forward(&mut self, layer: &Layer, call: &Call<'_>, output: &mut [f32]) {
        layer.operation().forward(call, output);
    }

    fn backward(
        &mut self,
        layer: &Layer,
        call: &Call<'_>,
        output: &[f32],
        dy: &[f32],
        gradients: &mut Gradients<'_, '_>,
    ) {
        layer.operation().backward(call, output, dy, gradients);
    }
}

/// Trains a network with the given kernels.
pub struct GraphTrainer<K> {
    learner: Learner,
    kernels: K,
    /// By value: the forward pass's results and their gradients.
    values: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    /// By node, then in the layer's order: the gradients of parameters.
    slopes: Vec<Vec<Vec<f32>>>,
}

impl<K: LayerKernels> GraphTrainer<K> {
    /// Takes up `weights`. Errors as [`Learner::new`] does, and where the recipe asks for asynchronous updates.
    pub fn new(network: &Network, weights: &Weights, recipe: &Recipe, kernels: K) -> Result<Self> {
        if recipe.asynchronous.is_some() {
            let reason =
                "no asynchronous updates are made layer by layer; cpu makes them with samples in lanes".to_string();
            return Err(Error::Recipe { reason });
        }
        let empty = vec![Vec::new(); network.value_count()];
        let learner = Learner::new(network, weights, recipe)?;
        let slopes = |learned: &Vec<Learned>| learned.iter().map(|l| vec![0.0; l.length()]).collect();
        let slopes = learner.learned.iter().map(slopes).collect();
        Ok(GraphTrainer { learner, kernels, values: empty.clone(), gradients: empty, slopes })
    }

    fn forward(&mut self, batch: usize) -> Result<()> {
        for node in 0..self.learner.depth {
            let mode = self.learner.mode(node, 0);
            let network = &self.learner.network;
            let n = &network.nodes()[node];
            let value = network.output_of(node);
            let output_shape = network.shape(value);
            let length = batch * output_shape.elements();
            let mut output = std::mem::take(&mut self.values[value.index()]);
            grow(&n.name, &mut output, length)?;
            let inputs = views(network, &self.values, &n.inputs, batch);
            let parameters: SmallVec<[&[f32]; 4]> = self.learner.values[node].iter().map(Vec::as_slice).collect();
            let call = Call { batch, inputs: &inputs, output_shape, parameters: &parameters, mode };
            self.kernels.forward(&n.layer, &call, &mut output[..length]);
            drop(parameters);
            n.layer.operation().update_state(batch, &inputs, &mut self.learner.values[node]);
            drop(inputs);
            self.values[value.index()] = output;
        }
        Ok(())
    }

    fn backward(&mut self, batch: usize, ready: &mut dyn GradientSink) -> Result<()> {
        for node in (0..self.learner.depth).rev() {
            if !self.learner.wants(self.learner.network.output_of(node)) {
                continue;
            }
            let (mode, is_due) = (self.learner.mode(node, 0), self.learner.is_due(node));
            let Learner { network, values: parameters, learned, .. } = &mut self.learner;
            let n = &network.nodes()[node];
            let value = network.output_of(node);
            let output_shape = network.shape(value);
            let length = batch * output_shape.elements();
            let inputs = views(network, &self.values, &n.inputs, batch);
            let parameters: SmallVec<[&[f32]; 4]> = parameters[node].iter().map(Vec::as_slice).collect();
            let call = Call { batch, inputs: &inputs, output_shape, parameters: &parameters, mode };
            let dy = std::mem::take(&mut self.gradients[value.index()]);
            let mut taken = InputGradients::take(&mut self.gradients, &n.inputs, &inputs);
            let slopes = &mut self.slopes[node];
            slopes.iter_mut().for_each(|slope| slope.fill(0.0));
            {
                let mut inputs: SmallVec<[&mut [f32]; 4]> = taken.slices();
                let mut parameters: SmallVec<[&mut [f32]; 4]> = slopes.iter_mut().map(Vec::as_mut_slice).collect();
                let mut gradients = Gradients { inputs: &mut inputs, parameters: &mut parameters };
                let output = &self.values[value.index()][..length];
                self.kernels.backward(&n.layer, &call, output, &dy[..length], &mut gradients);
            }
            taken.give_back(&mut self.gradients, &n.inputs);
            self.gradients[value.index()] = dy;
            for (l, slope) in learned[node].iter().zip(slopes).filter(|(l, _)| is_due && l.is_learned()) {
                ready.ready(&l.parameter.name, slope)?;
            }
        }
        self.settle(ready)
    }

    fn settle(&mut self, ready: &mut dyn GradientSink) -> Result<()> {
        for node in (0..self.learner.depth).rev().filter(|&node| self.learner.is_due(node)) {
            for (l, slope) in
                self.learner.learned[node].iter().zip(&mut self.slopes[node]).filter(|(l, _)| l.is_learned())
            {
                ready.settle(&l.parameter.name, slope)?;
            }
        }
        Ok(())
    }
}

/// The inputs of a node as views of a batch.
fn views<'a>(
    network: &'a Network,
    values: &'a [Vec<f32>],
    inputs: &[ValueId],
    batch: usize,
) -> SmallVec<[View<'a>; 4]> {
    let view = |&v: &ValueId| {
        let shape = network.shape(v);
        View { shape, data: &values[v.index()][..batch * shape.elements()] }
    };
    inputs.iter().map(view).collect()
}

/// The gradients of a node's inputs, out of the trainer's list while the node writes to them. An input that the node
/// reads twice gets a second buffer, added when they go back.
struct InputGradients {
    buffers: SmallVec<[Vec<f32>; 4]>,
    lengths: SmallVec<[usize; 4]>,
}

impl InputGradients {
    fn take(all: &mut [Vec<f32>], inputs: &[ValueId], views: &[View<'_>]) -> Self {
        let lengths: SmallVec<[usize; 4]> = views.iter().map(|view| view.data.len()).collect();
        let first = |i: usize| inputs[..i].iter().all(|v| *v != inputs[i]);
        let buffers = (0..inputs.len())
            .map(|i| if first(i) { std::mem::take(&mut all[inputs[i].index()]) } else { vec![0.0; lengths[i]] })
            .collect();
        InputGradients { buffers, lengths }
    }

    fn slices(&mut self) -> SmallVec<[&mut [f32]; 4]> {
        self.buffers.iter_mut().zip(&self.lengths).map(|(buffer, &length)| &mut buffer[..length]).collect()
    }

    fn give_back(self, all: &mut [Vec<f32>], inputs: &[ValueId]) {
        for (buffer, value) in self.buffers.into_iter().zip(inputs) {
            let place = &mut all[value.index()];
            match place.is_empty() {
                true => *place = buffer,
                false => place.iter_mut().zip(buffer).for_each(|(sum, g)| *sum += g),
            }
        }
    }
}

impl<K: LayerKernels> Trainer for GraphTrainer<K> {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        let (batch, data) = self.learner.network.check_input(images)?;
        self.learner.network.check_labels(labels, batch)?;
        self.values[0].clear();
        self.values[0].extend_from_slice(data);
        self.forward(batch)?;
        for value in 0..=self.learner.depth {
            let length = batch * self.learner.network.shape(ValueId(value)).elements();
            grow("gradients", &mut self.gradients[value], length)?;
            self.gradients[value][..length].fill(0.0);
        }
        let logits = self.learner.logits;
        let length = batch * self.learner.network.shape(logits).elements();
        let gradient = &mut self.gradients[logits.index()][..length];
        let stats = softmax_cross_entropy(&self.values[logits.index()][..length], labels, batch, gradient);
        if !stats.loss.is_finite() {
            let is_finite = |value: ValueId| self.values[value.index()].iter().all(|v| v.is_finite());
            return Err(self.learner.diverged(stats.loss, is_finite));
        }
        self.backward(batch, ready)?;
        Ok(stats)
    }

    fn count_samples_from(&mut self, first: usize) {
        self.learner.count_samples_from(first);
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<()> {
        self.slopes.iter_mut().flatten().flatten().for_each(|slope| *slope *= factor);
        Ok(())
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        let slopes = &self.slopes;
        let (rule, parts) = self.learner.begin_update(learning_rate, usize::MAX, |node, place| &slopes[node][place]);
        parts.into_iter().for_each(|mut part| part.step(&rule));
        Ok(())
    }

    fn weights(&self) -> Result<Weights> {
        self.learner.weights()
    }

    fn state(&self) -> Result<Weights> {
        self.learner.state()
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        self.learner.restore(state)
    }
}
