//! Hybrid training (Dettmers 2016, section 2.4, after Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks"):
//! convolutions are data-parallel, fully connected layers model-parallel.
//!
//! Each worker takes its part of a batch through the convolutions. Then there is a round for each worker: its values go to all, which take
//! them forward and back through their shares of the dense layers, and it keeps the gradients of what it sent. With those every
//! worker goes back through the convolutions, whose weights' gradients are summed. The dense layers' gradients are those of all rounds
//! together; the paper's updates after each round would make other steps than one worker does. Rounds are made one after the
//! other, and nothing is sent while something is computed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use cnn_core::backend::{Backend, GradientSink, Recipe, StepStats, Trainer};
use cnn_core::{Error as CoreError, Layer, Network, Result, Tensor, ValueId, Weights};

use super::joint::parts;
use super::model::{Divided, own_network};
use super::pieces::{Cut, Piece};
use super::rounds::{Batch, DenseRounds, ENTRANCE, Entrance, PROBE, Rounds, guard};
use super::shards::{Shards, Splitting};
use super::wire::{Way, Wire, lock, other};
use crate::Error;

/// One worker of a hybrid training, as a backend: its trainers take whole batches, which have to be the same for all workers, and work
/// on their part of them. They take and give the whole network's weights and state; running means and variances are the first
/// worker's. What it compiles for inference runs on this worker alone.
///
/// Without compression several workers learn what one does, up to rounding, where no batch norm sees a part of a batch only. No two workers may share a backend's threads: they would wait for each other.
#[derive(Debug)]
pub struct Hybrid {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) wire: Arc<Mutex<Wire>>,
    pub(super) splitting: Splitting,
}

impl Hybrid {
    /// Errors where the network does not end in fully connected layers behind others that learn, where none of those can be split, and
    /// where layers learn by turns.
    pub(super) fn train(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>> {
        if recipe.partial.is_some() {
            let reason = "layers do not learn by turns in a hybrid training".to_string();
            return Err(CoreError::Recipe { reason });
        }
        weights.check(network)?;
        Ok(Box::new(HybridTrainer::new(self, network, weights, recipe)?))
    }
}

/// The first fully connected layer, where all layers from there on read what comes of that alone.
fn first_dense(network: &Network) -> crate::Result<usize> {
    let wrong = |reason: &str| Err(Error::Setting(format!("`{}` has no hybrid training: {reason}", network.name())));
    let nodes = network.nodes();
    let Some(first) = nodes.iter().position(|node| matches!(node.layer, Layer::Linear(_))) else {
        return wrong("it has no fully connected layer");
    };
    if (0..first).all(|node| network.parameters_of(node).is_empty()) {
        return wrong("nothing learns before its fully connected layers; train it model-parallel");
    }
    let entrance = nodes[first].inputs[0];
    let is_inside = |value: &ValueId| *value == entrance || value.index() > first;
    match nodes[first..].iter().flat_map(|node| &node.inputs).all(is_inside) {
        true => Ok(first),
        false => wrong("layers behind the first fully connected one read what comes before it"),
    }
}

/// The layers from the first fully connected one on, behind an entrance.
fn dense_network(network: &Network, first: usize, arrived: Arc<Mutex<Vec<f32>>>) -> Result<Network> {
    let entrance = network.nodes()[first].inputs[0];
    let mut net = Network::builder(network.name(), network.shape(entrance).clone());
    let mut found = HashMap::from([(entrance, net.push(ENTRANCE, Layer::Custom(Arc::new(Entrance { arrived })))?)]);
    for (node, n) in network.nodes().iter().enumerate().skip(first) {
        let inputs: Vec<ValueId> = n.inputs.iter().map(|value| found[value]).collect();
        found.insert(network.output_of(node), net.push_with(&n.name, n.layer.clone(), &inputs)?);
    }
    net.finish()
}

/// The layers before them, and the rounds.
fn convolutions(network: &Network, first: usize, rounds: DenseRounds) -> Result<Network> {
    let mut net = Network::builder(network.name(), network.input_shape().clone());
    for n in &network.nodes()[..first] {
        net.push_with(&n.name, n.layer.clone(), &n.inputs)?;
    }
    net.push_with("dense/rounds", Layer::Custom(Arc::new(rounds)), &network.nodes()[first].inputs)?;
    net.finish()
}

struct HybridTrainer {
    convolutions: Box<dyn Trainer>,
    rounds: Arc<Mutex<Rounds>>,
    whole: Divided,
    network: Network,
    /// Weights of the convolutions, and what the optimiser remembers of them.
    names: Vec<String>,
    method: String,
}

impl HybridTrainer {
    fn new(hybrid: &Hybrid, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Self> {
        let Hybrid { backend, wire, splitting } = hybrid;
        let (rank, workers) = {
            let wire = lock(wire);
            (wire.link.rank(), wire.link.workers())
        };
        let first = first_dense(network).map_err(other)?;
        let (arrived, samples_before) = (Arc::<Mutex<Vec<f32>>>::default(), Arc::<AtomicUsize>::default());
        let dense = dense_network(network, first, arrived.clone())?;
        let shards = Shards::new(&dense, workers, *splitting).map_err(other)?;
        let before = (0..first).flat_map(|node| network.parameters_of(node));
        let before: Vec<Cut> = before.map(|parameter| Cut { parameter, piece: Piece::Whole }).collect();
        let names: Vec<String> = before.iter().map(|cut| cut.parameter.name.clone()).collect();
        let behind = shards.cuts().into_iter().filter(|cut| cut.parameter.name != PROBE);
        let cuts = before.into_iter().chain(behind).collect();
        let whole = Divided::new(cuts, network.name(), recipe.optimizer, wire.clone());
        let [own, mut own_dense] = apart(&whole.cut_weights(weights)?, &names, |_| 0)?;
        own_dense.insert(PROBE, Tensor::zeros([1])?);
        let dense = own_network(&shards, wire, Some(samples_before.clone())).map_err(other)?;
        let (norm, recipe) = whole.norm(recipe);
        let dense = backend.compile_training(&dense, &own_dense, &recipe)?;
        let [outputs, inputs] = shards.counts();
        let layers = format!("dense layers split by outputs: {outputs}, by inputs: {inputs}");
        let method = format!("hybrid, worker {rank} of {workers}, {layers}");
        let (wire, batch, sums) = (wire.clone(), Batch::default(), HashMap::new());
        let rounds = Arc::new(Mutex::new(Rounds { dense, rank, wire, samples_before, arrived, batch, sums, norm }));
        let features = network.input_shapes(first)[0].elements();
        let classes = network.output_shape().elements();
        let end = DenseRounds { rounds: rounds.clone(), features, classes };
        let convolutions = backend.compile_training(&convolutions(network, first, end)?, &own, &recipe)?;
        Ok(HybridTrainer { convolutions, rounds, whole, network: network.clone(), names, method })
    }

    /// This worker's samples of a batch, beginning with the given ones; of a batch without any, the first, which does not count.
    fn own(&self, images: &Tensor, labels: &[u32], part: &Range<usize>) -> Result<(Tensor, Vec<u32>)> {
        let part = if part.is_empty() { 0..1 } else { part.clone() };
        let sample = self.network.input_shape().elements();
        let values = images.as_f32()?[part.start * sample..part.end * sample].to_vec();
        Ok((Tensor::new(self.network.input_shape().with_batch(part.len()), values)?, labels[part].to_vec()))
    }

    fn pass(&mut self, images: &Tensor, labels: &[u32]) -> Result<StepStats> {
        let (batch, _) = self.network.check_input(images)?;
        self.network.check_labels(labels, batch)?;
        let (rank, parts) = {
            let mut rounds = guard(&self.rounds);
            let parts = parts(batch, lock(&rounds.wire).link.workers()).to_vec();
            rounds.begin(Batch::new(labels, &parts));
            (rounds.rank, parts)
        };
        let (images, labels) = self.own(images, labels, &parts[rank])?;
        let weight = parts[rank].len() as f32 / batch as f32;
        self.convolutions.count_samples_from(parts[rank].start);
        let mut sink = SumSink { wire: &self.whole.wire, rounds: &self.rounds, weight };
        let result = self.convolutions.gradients(&images, &labels, &mut sink);
        let Rounds { dense, norm, batch, .. } = &mut *guard(&self.rounds);
        if let Some(error) = batch.failed.take() {
            return Err(error);
        }
        result?;
        if let Some(norm) = norm {
            norm.bound(&self.whole.wire, [dense.as_mut(), self.convolutions.as_mut()])?;
        }
        Ok(batch.stats)
    }
}

/// Tensors of the convolutions and of the dense layers; `parameter` finds where the name of a parameter begins in a tensor's.
fn apart(all: &Weights, names: &[String], parameter: impl Fn(&str) -> usize) -> Result<[Weights; 2]> {
    let mut parts = [Weights::new(), Weights::new()];
    for (name, view) in all.iter() {
        let is_dense = !names.iter().any(|own| *own == name[parameter(name)..]);
        let tensor = Tensor::new(view.shape.clone(), view.to_f32().into_owned())?;
        parts[usize::from(is_dense)].insert(name, tensor);
    }
    for part in &mut parts {
        part.metadata_mut().clone_from(all.metadata());
    }
    Ok(parts)
}

/// All tensors of both.
fn together(mut first: Weights, second: &Weights) -> Result<Weights> {
    for (name, view) in second.iter() {
        first.insert(name, Tensor::new(view.shape.clone(), view.to_f32().into_owned())?);
    }
    Ok(first)
}

/// Sums gradients over all workers, each by its part of the batch.
struct SumSink<'a> {
    wire: &'a Mutex<Wire>,
    rounds: &'a Mutex<Rounds>,
    weight: f32,
}

impl GradientSink for SumSink<'_> {
    fn ready(&mut self, _name: &str, gradient: &mut [f32]) -> Result<()> {
        match self.weight == 0.0 {
            // Not even what is no number counts.
            true => gradient.fill(0.0),
            false => gradient.iter_mut().for_each(|g| *g *= self.weight),
        }
        lock(self.wire).attempt(|wire| wire.sum(Way::Back, gradient));
        Ok(())
    }

    fn settle(&mut self, name: &str, gradient: &mut [f32]) -> Result<()> {
        guard(self.rounds).count(name, gradient);
        Ok(())
    }
}

impl Trainer for HybridTrainer {
    /// Over this worker's part of the batch; what it showed is that of the whole. Errors where `ready` listens: no gradients are final
    /// before the end.
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        if ready.is_listening() {
            let reason = "a hybrid training shows its gradients to nobody".to_string();
            return Err(CoreError::Recipe { reason });
        }
        let result = self.pass(images, labels);
        lock(&self.whole.wire).told(result)
    }

    fn method(&self) -> String {
        format!("{}; {}", self.method, self.convolutions.method())
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<()> {
        guard(&self.rounds).dense.scale_gradients(factor)?;
        self.convolutions.scale_gradients(factor)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        guard(&self.rounds).dense.update(learning_rate)?;
        self.convolutions.update(learning_rate)
    }

    fn weights(&self) -> Result<Weights> {
        let own = together(self.convolutions.weights()?, &guard(&self.rounds).dense.weights()?)?;
        self.whole.join_weights(&own)
    }

    fn state(&self) -> Result<Weights> {
        let own = together(self.convolutions.state()?, &guard(&self.rounds).dense.state()?)?;
        self.whole.join_state(&own)
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        // After the name of what is remembered comes the parameter's.
        let parameter = |name: &str| name.find('.').map_or(0, |dot| dot + 1);
        let [convolutions, mut dense] = apart(&self.whole.cut_state(state)?, &self.names, parameter)?;
        for slot in self.whole.optimizer.slots() {
            dense.insert(format!("{slot}.{PROBE}"), Tensor::zeros([1])?);
        }
        self.convolutions.restore(&convolutions)?;
        guard(&self.rounds).dense.restore(&dense)
    }
}
