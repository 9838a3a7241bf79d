//! Model-parallel training (Dettmers 2016, section 2.2): every worker sees the same batch and has a part of each large fully connected
//! layer; values are exchanged between layers, and no gradient of weights is.
//!
//! A worker's network is the given one with its shares of the split layers, which its backend runs as any other layer, and joints between
//! them (`joint.rs`). All other layers are whole on every worker, and stay the same as long as workers compute alike: on the same backend,
//! on processors of the same instructions.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use cnn_core::backend::{Backend, GradientSink, Recipe, StepStats, Trainer};
use cnn_core::layers::Role;
use cnn_core::training::Clip;
use cnn_core::{Network, Optimizer, Tensor, Weights};

use super::norm::{CountSink, SharedNorm};
use super::pieces::{Cut, Piece, cut};
use super::shards::{Seat, Shards, Splitting};
use super::wire::{Wire, lock, other};
use crate::Result;

/// One worker of a model-parallel training, as a backend: its trainers take and give the whole network's weights and state, and have to be
/// used by all workers alike, with the same batches in the same order. What it compiles for inference runs on this worker alone.
///
/// Weights are cut from whole ones and draws are those of one worker, so that without compression several workers learn what one
/// does, up to rounding. No two workers may share a backend's threads: they would wait for each other.
#[derive(Debug)]
pub struct ModelParallel {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) wire: Arc<Mutex<Wire>>,
    pub(super) splitting: Splitting,
}

impl ModelParallel {
    /// Errors where no layer can be split.
    pub(super) fn train(
        &self,
        network: &Network,
        weights: &Weights,
        recipe: &Recipe,
    ) -> cnn_core::Result<Box<dyn Trainer>> {
        weights.check(network)?;
        let workers = lock(&self.wire).link.workers();
        let shards = Shards::new(network, workers, self.splitting).map_err(other)?;
        let whole = Divided::new(shards.cuts(), network.name(), recipe.optimizer, self.wire.clone());
        let own = own_network(&shards, &self.wire, None).map_err(other)?;
        let (norm, recipe) = whole.norm(recipe);
        let inner = self.backend.compile_training(&own, &whole.cut_weights(weights)?, &recipe)?;
        let [outputs, inputs] = shards.counts();
        let layers = format!("layers split by outputs: {outputs}, by inputs: {inputs}");
        let method = format!("model-parallel, worker {} of {workers}, {layers}", whole.rank());
        Ok(Box::new(ModelTrainer { inner, whole, norm, method }))
    }
}

/// This worker's network.
pub(super) fn own_network(
    shards: &Shards,
    wire: &Arc<Mutex<Wire>>,
    samples_before: Option<Arc<AtomicUsize>>,
) -> Result<Network> {
    let rank = lock(wire).link.rank();
    shards.network(Seat { rank, wire: wire.clone(), samples_before })
}

/// The tensors of a network that is divided between workers: whole, and in pieces.
#[derive(Debug)]
pub(super) struct Divided {
    cuts: Vec<Cut>,
    network: String,
    pub(super) optimizer: Optimizer,
    pub(super) wire: Arc<Mutex<Wire>>,
}

impl Divided {
    pub(super) fn new(cuts: Vec<Cut>, network: &str, optimizer: Optimizer, wire: Arc<Mutex<Wire>>) -> Self {
        Divided { cuts, network: network.to_string(), optimizer, wire }
    }

    fn rank(&self) -> usize {
        lock(&self.wire).link.rank()
    }

    /// This worker's pieces of the whole network's weights.
    pub(super) fn cut_weights(&self, whole: &Weights) -> cnn_core::Result<Weights> {
        cut(self.weights(), self.rank(), whole, &self.network)
    }

    /// This worker's pieces of the whole optimiser's state.
    pub(super) fn cut_state(&self, whole: &Weights) -> cnn_core::Result<Weights> {
        cut(self.state(), self.rank(), whole, &self.network)
    }

    /// The whole network's weights, from all workers' pieces.
    pub(super) fn join_weights(&self, own: &Weights) -> cnn_core::Result<Weights> {
        self.join(self.weights(), own)
    }

    /// The whole optimiser's state, from all workers' pieces.
    pub(super) fn join_state(&self, own: &Weights) -> cnn_core::Result<Weights> {
        self.join(self.state(), own)
    }

    /// Where `recipe` bounds the norm of all gradients, what finds it out; and the recipe without that, for trainers that do not know
    /// all of them.
    pub(super) fn norm(&self, recipe: &Recipe) -> (Option<SharedNorm>, Recipe) {
        let Some(clip @ Clip::Norm(_)) = recipe.clip else { return (None, recipe.clone()) };
        let is_elsewhere = |cut: &&Cut| self.rank() > 0 && matches!(cut.piece, Piece::Whole);
        let elsewhere = self.cuts.iter().filter(is_elsewhere).map(|cut| cut.parameter.name.clone()).collect();
        (Some(SharedNorm::new(clip, elsewhere)), recipe.clone().clip(None))
    }

    fn weights(&self) -> impl Iterator<Item = (String, &Cut)> {
        self.cuts.iter().map(|cut| (cut.parameter.name.clone(), cut))
    }

    fn state(&self) -> impl Iterator<Item = (String, &Cut)> {
        let of_slot = |slot: &'static &'static str| {
            let learned = self.cuts.iter().filter(|cut| cut.parameter.role == Role::Learned);
            learned.map(move |cut| (format!("{slot}.{}", cut.parameter.name), cut))
        };
        self.optimizer.slots().iter().flat_map(of_slot)
    }

    fn join<'a>(&self, tensors: impl Iterator<Item = (String, &'a Cut)>, own: &Weights) -> cnn_core::Result<Weights> {
        let mut whole = Weights::new();
        whole.metadata_mut().clone_from(own.metadata());
        let mut wire = lock(&self.wire);
        let workers = wire.link.workers();
        for (name, cut) in tensors {
            let piece = own.get(&name).map(|view| view.to_f32()).unwrap_or_default();
            let mut pieces = Vec::new();
            wire.attempt(|wire| {
                pieces = wire.collect(&piece, &cut.counts(workers))?;
                Ok(())
            });
            wire.told(Ok(()))?;
            whole.insert(name, cut.join(&pieces)?);
        }
        Ok(whole)
    }
}

struct ModelTrainer {
    inner: Box<dyn Trainer>,
    whole: Divided,
    norm: Option<SharedNorm>,
    method: String,
}

impl ModelTrainer {
    fn pass(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> cnn_core::Result<StepStats> {
        let Some(norm) = &mut self.norm else { return self.inner.gradients(images, labels, ready) };
        norm.begin();
        let stats = self.inner.gradients(images, labels, &mut CountSink { norm, inner: ready })?;
        norm.bound(&self.whole.wire, [self.inner.as_mut()])?;
        Ok(stats)
    }
}

impl Trainer for ModelTrainer {
    /// Over the whole batch, which is every worker's. `ready` is told of this worker's pieces.
    fn gradients(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        ready: &mut dyn GradientSink,
    ) -> cnn_core::Result<StepStats> {
        let result = self.pass(images, labels, ready);
        lock(&self.whole.wire).told(result)
    }

    fn method(&self) -> String {
        format!("{}; {}", self.method, self.inner.method())
    }

    fn scale_gradients(&mut self, factor: f32) -> cnn_core::Result<()> {
        self.inner.scale_gradients(factor)
    }

    fn update(&mut self, learning_rate: f32) -> cnn_core::Result<()> {
        self.inner.update(learning_rate)
    }

    fn weights(&self) -> cnn_core::Result<Weights> {
        self.whole.join_weights(&self.inner.weights()?)
    }

    fn state(&self) -> cnn_core::Result<Weights> {
        self.whole.join_state(&self.inner.state()?)
    }

    fn restore(&mut self, state: &Weights) -> cnn_core::Result<()> {
        self.inner.restore(&self.whole.cut_state(state)?)
    }
}
