//! The trainer that walks a network forward and backward, layer by layer over the whole batch. How a layer runs is
//! left to [`LayerKernels`]: the plain loops, or a backend's.

use smallvec::SmallVec;

use super::{Optimizer, softmax_cross_entropy};
use crate::backend::{GradientSink, Recipe, StepStats, Trainer};
use crate::error::grow;
use crate::layers::{Call, Gradients, Mode, Role, View};
use crate::network::{NamedParameter, Node};
use crate::{Error, Layer, Network, Result, Shape, Tensor, ValueId, Weights};

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

/// A parameter with all that training keeps for it.
struct Learned {
    parameter: NamedParameter,
    gradient: Vec<f32>,
    slots: Vec<Vec<f32>>,
}

/// Trains a network with the given kernels.
pub struct GraphTrainer<K> {
    network: Network,
    /// Nodes that training runs: all, less a closing softmax, which the loss contains.
    depth: usize,
    /// The value that the loss is taken of.
    logits: ValueId,
    optimizer: Optimizer,
    seed: u64,
    step: u64,
    kernels: K,
    /// By node, then in the layer's order.
    values_of: Vec<Vec<Vec<f32>>>,
    learned: Vec<Vec<Learned>>,
    /// By value: the forward pass's results and their gradients.
    values: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

impl<K: LayerKernels> GraphTrainer<K> {
    /// Takes up `weights`. Errors where they are not the network's.
    pub fn new(network: &Network, weights: &Weights, recipe: &Recipe, kernels: K) -> Result<Self> {
        weights.check(network)?;
        let nodes = network.nodes();
        let wrong = |reason: String| Err(Error::Network { network: network.name().to_string(), reason });
        if network.output_shape().len() != 1 {
            return wrong(format!(
                "its output {} is no vector of classes, which the loss needs",
                network.output_shape()
            ));
        }
        let (depth, logits) = match nodes.last() {
            Some(Node { layer: Layer::Softmax(_), inputs, .. }) => (nodes.len() - 1, inputs[0]),
            _ => (nodes.len(), network.output()),
        };
        if depth == 0 {
            return wrong("only a softmax, nothing to train".to_string());
        }
        let mut values_of = Vec::new();
        let mut learned = Vec::new();
        for node in 0..nodes.len() {
            values_of.push(weights.of_node(network, node)?.into_iter().map(Vec::from).collect());
            let keep = |parameter: NamedParameter| {
                let length = if parameter.role == Role::Learned { parameter.shape.elements() } else { 0 };
                let slots = recipe.optimizer.slots().iter().map(|_| vec![0.0; length]).collect();
                Learned { gradient: vec![0.0; length], slots, parameter }
            };
            learned.push(network.parameters_of(node).into_iter().map(keep).collect());
        }
        let empty = vec![Vec::new(); network.value_count()];
        Ok(GraphTrainer {
            network: network.clone(),
            depth,
            logits,
            optimizer: recipe.optimizer,
            seed: recipe.seed,
            step: 0,
            kernels,
            values_of,
            learned,
            values: empty.clone(),
            gradients: empty,
        })
    }

    fn mode(&self, node: usize) -> Mode {
        let seed = self.seed.wrapping_add(self.step.wrapping_mul(0x0100_0000_01b3)).wrapping_add((node as u64) << 48);
        Mode::Training { seed, first_sample: 0 }
    }

    fn forward(&mut self, batch: usize) -> Result<()> {
        for node in 0..self.depth {
            let mode = self.mode(node);
            let n = &self.network.nodes()[node];
            let value = self.network.output_of(node);
            let output_shape = self.network.shape(value);
            let length = batch * output_shape.elements();
            let mut output = std::mem::take(&mut self.values[value.index()]);
            grow(&n.name, &mut output, length)?;
            let inputs = views(&self.network, &self.values, &n.inputs, batch);
            let parameters: SmallVec<[&[f32]; 4]> = self.values_of[node].iter().map(Vec::as_slice).collect();
            let call = Call { batch, inputs: &inputs, output_shape, parameters: &parameters, mode };
            self.kernels.forward(&n.layer, &call, &mut output[..length]);
            drop(parameters);
            n.layer.operation().update_state(batch, &inputs, &mut self.values_of[node]);
            drop(inputs);
            self.values[value.index()] = output;
        }
        Ok(())
    }

    fn backward(&mut self, batch: usize, ready: &mut dyn GradientSink) -> Result<()> {
        for node in (0..self.depth).rev() {
            let mode = self.mode(node);
            let n = &self.network.nodes()[node];
            let value = self.network.output_of(node);
            let output_shape = self.network.shape(value);
            let length = batch * output_shape.elements();
            let inputs = views(&self.network, &self.values, &n.inputs, batch);
            let parameters: SmallVec<[&[f32]; 4]> = self.values_of[node].iter().map(Vec::as_slice).collect();
            let call = Call { batch, inputs: &inputs, output_shape, parameters: &parameters, mode };
            let dy = std::mem::take(&mut self.gradients[value.index()]);
            let mut taken = InputGradients::take(&mut self.gradients, &n.inputs, &inputs);
            let learned = &mut self.learned[node];
            learned.iter_mut().for_each(|l| l.gradient.fill(0.0));
            {
                let mut inputs: SmallVec<[&mut [f32]; 4]> = taken.slices();
                let mut parameters: SmallVec<[&mut [f32]; 4]> =
                    learned.iter_mut().map(|l| l.gradient.as_mut_slice()).collect();
                let mut gradients = Gradients { inputs: &mut inputs, parameters: &mut parameters };
                let output = &self.values[value.index()][..length];
                self.kernels.backward(&n.layer, &call, output, &dy[..length], &mut gradients);
            }
            taken.give_back(&mut self.gradients, &n.inputs);
            self.gradients[value.index()] = dy;
            for l in learned.iter_mut().filter(|l| l.parameter.role == Role::Learned) {
                ready.ready(&l.parameter.name, &mut l.gradient)?;
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
        let (batch, data) = self.network.check_input(images)?;
        self.network.check_labels(labels, batch)?;
        self.values[0].clear();
        self.values[0].extend_from_slice(data);
        self.forward(batch)?;
        for value in 0..=self.depth {
            let length = batch * self.network.shape(ValueId(value)).elements();
            grow("gradients", &mut self.gradients[value], length)?;
            self.gradients[value][..length].fill(0.0);
        }
        let logits = self.logits;
        let length = batch * self.network.shape(logits).elements();
        let gradient = &mut self.gradients[logits.index()][..length];
        let stats = softmax_cross_entropy(&self.values[logits.index()][..length], labels, gradient);
        if !stats.loss.is_finite() {
            return Err(Error::Diverged { network: self.network.name().to_string(), loss: stats.loss });
        }
        self.backward(batch, ready)?;
        Ok(stats)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        for (values, learned) in self.values_of.iter_mut().zip(&mut self.learned) {
            for (weight, l) in values.iter_mut().zip(learned).filter(|(_, l)| l.parameter.role == Role::Learned) {
                let mut slots: SmallVec<[&mut [f32]; 2]> = l.slots.iter_mut().map(Vec::as_mut_slice).collect();
                self.optimizer.update(learning_rate, weight, &l.gradient, &mut slots);
            }
        }
        self.step += 1;
        Ok(())
    }

    fn weights(&self) -> Result<Weights> {
        let mut weights = Weights::new();
        for (values, learned) in self.values_of.iter().zip(&self.learned) {
            for (value, l) in values.iter().zip(learned) {
                let tensor = Tensor::new(l.parameter.shape.clone(), value.clone())?;
                weights.insert(l.parameter.name.clone(), tensor);
            }
        }
        Ok(weights)
    }

    fn state(&self) -> Result<Weights> {
        let mut state = Weights::new();
        state.metadata_mut().insert("step".to_string(), self.step.to_string());
        for l in self.learned.iter().flatten().filter(|l| l.parameter.role == Role::Learned) {
            for (slot, values) in self.optimizer.slots().iter().zip(&l.slots) {
                let tensor = Tensor::new(l.parameter.shape.clone(), values.clone())?;
                state.insert(format!("{slot}.{}", l.parameter.name), tensor);
            }
        }
        Ok(state)
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        let network = self.network.name().to_string();
        let step = state.metadata().get("step").and_then(|step| step.parse().ok());
        let reason = "the training state does not tell its step".to_string();
        self.step = step.ok_or(Error::Network { network: network.clone(), reason })?;
        for l in self.learned.iter_mut().flatten().filter(|l| l.parameter.role == Role::Learned) {
            for (slot, values) in self.optimizer.slots().iter().zip(&mut l.slots) {
                let (name, shape): (String, &Shape) = (format!("{slot}.{}", l.parameter.name), &l.parameter.shape);
                match state.get(&name) {
                    Some(view) if view.shape == shape => values.copy_from_slice(&view.to_f32()),
                    Some(view) => return Err(Error::shape(format!("training state `{name}`"), shape, view.shape)),
                    None => {
                        return Err(Error::MissingWeight { network, name, shape: shape.clone() });
                    }
                }
            }
        }
        Ok(())
    }
}
