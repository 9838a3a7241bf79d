//! The dense layers of a hybrid training: a round for each worker's part of the batch, in which all workers' shares of the layers see
//! it.
//!
//! The convolutions' network ends in [`DenseRounds`], whose forward pass is all rounds, there and back; its backward pass hands on the
//! gradients that came of this worker's own. The dense layers' network begins with [`Entrance`], where those gradients come out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cnn_core::backend::{GradientSink, StepStats, Trainer};
use cnn_core::layers::{Call, Gradients, Init, Mode, Operation, Parameter, View};
use cnn_core::{Layer, Misfit, Result, Shape, Tensor};

use super::norm::SharedNorm;
use super::wire::{Wire, lock};

/// The name of the dense layers' first.
pub(super) const ENTRANCE: &str = "dense/entrance";
/// That of its parameter, which stays 0: a backend follows gradients only to what learns.
pub(super) const PROBE: &str = "dense/entrance.probe";

/// The dense layers and what becomes of a batch in them.
pub(super) struct Rounds {
    pub(super) dense: Box<dyn Trainer>,
    pub(super) rank: usize,
    pub(super) wire: Arc<Mutex<Wire>>,
    /// Samples of the batch before those of a round.
    pub(super) samples_before: Arc<AtomicUsize>,
    /// The gradient of what a round began with.
    pub(super) arrived: Arc<Mutex<Vec<f32>>>,
    pub(super) batch: Batch,
    /// By name: the gradients of the rounds so far.
    pub(super) sums: HashMap<String, Vec<f32>>,
    /// Of the gradients of all layers, where that is bounded.
    pub(super) norm: Option<SharedNorm>,
}

/// A batch's labels, each worker's part of it, and what is known of it after its rounds.
#[derive(Debug, Default)]
pub(super) struct Batch {
    labels: Vec<u32>,
    parts: Vec<Range<usize>>,
    pub(super) stats: StepStats,
    /// Of this worker's part.
    gradient: Vec<f32>,
    /// What went wrong in the dense layers.
    pub(super) failed: Option<cnn_core::Error>,
}

impl Batch {
    pub(super) fn new(labels: &[u32], parts: &[Range<usize>]) -> Self {
        Batch { labels: labels.to_vec(), parts: parts.to_vec(), ..Batch::default() }
    }
}

impl Rounds {
    pub(super) fn begin(&mut self, batch: Batch) {
        self.batch = batch;
        self.norm.iter_mut().for_each(SharedNorm::begin);
    }

    /// Counts a gradient that is learned from.
    pub(super) fn count(&mut self, name: &str, gradient: &[f32]) {
        self.norm.iter_mut().for_each(|norm| norm.count(name, gradient));
    }

    /// Takes a batch through the dense layers; `own` are the values of this worker's part.
    fn run(&mut self, own: &[f32], features: usize) -> Result<()> {
        let workers = 0..self.batch.parts.len();
        let filled: Vec<usize> = workers.filter(|&worker| !self.batch.parts[worker].is_empty()).collect();
        let (all, last) = (self.batch.labels.len(), filled.last().copied());
        self.batch.stats = StepStats::default();
        self.batch.gradient.clear();
        for (round, &worker) in filled.iter().enumerate() {
            let part = self.batch.parts[worker].clone();
            let mut values = vec![0.0; part.len() * features];
            if worker == self.rank {
                values.copy_from_slice(own);
            }
            lock(&self.wire).attempt(|wire| wire.share(worker, &mut values));
            let values = Tensor::new([part.len(), features], values)?;
            self.samples_before.store(part.start, Ordering::Relaxed);
            let weight = part.len() as f64 / all as f64;
            let (is_first, is_last) = (round == 0, Some(worker) == last);
            let (sums, norm) = (&mut self.sums, self.norm.as_mut());
            let mut sink = RoundSink { sums, norm, weight: weight as f32, is_first, is_last };
            let stats = self.dense.gradients(&values, &self.batch.labels[part], &mut sink)?;
            let sum = &mut self.batch.stats;
            sum.loss += weight * stats.loss;
            sum.correct += stats.correct;
            sum.images += stats.images;
            if worker == self.rank {
                self.batch.gradient.clone_from(&guard(&self.arrived));
            }
        }
        Ok(())
    }
}

/// Adds up what rounds find; after the last one the sums are the gradients.
struct RoundSink<'a> {
    sums: &'a mut HashMap<String, Vec<f32>>,
    norm: Option<&'a mut SharedNorm>,
    weight: f32,
    is_first: bool,
    is_last: bool,
}

impl GradientSink for RoundSink<'_> {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> Result<()> {
        let sum = self.sums.entry(name.to_string()).or_default();
        if self.is_first {
            sum.clear();
            sum.resize(gradient.len(), 0.0);
        }
        sum.iter_mut().zip(&*gradient).for_each(|(sum, g)| *sum += self.weight * g);
        if self.is_last {
            gradient.copy_from_slice(sum);
            self.norm.iter_mut().for_each(|norm| norm.count(name, gradient));
        }
        Ok(())
    }
}

pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the convolutions' network.
///
/// # Shapes
/// Input `[F]`; output `[classes]` of zeros, as the loss is known from the rounds.
pub(super) struct DenseRounds {
    pub(super) rounds: Arc<Mutex<Rounds>>,
    pub(super) features: usize,
    pub(super) classes: usize,
}

impl std::fmt::Debug for DenseRounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DenseRounds").field("features", &self.features).field("classes", &self.classes).finish()
    }
}

impl Operation for DenseRounds {
    fn kind(&self) -> &str {
        "DenseRounds"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [input] if input[..] == [self.features] => Ok(Shape::from([self.classes])),
            _ => Err(Misfit(format!("takes a vector of {} features", self.features))),
        }
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let mut rounds = guard(&self.rounds);
        let result = rounds.run(call.inputs[0].data, self.features);
        // No loss comes of NaN, and the trainer around looks here why.
        output.fill(if result.is_ok() { 0.0 } else { f32::NAN });
        rounds.batch.failed = result.err();
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], _dy: &[f32], gradients: &mut Gradients<'_, '_>) {
        let rounds = guard(&self.rounds);
        gradients.inputs[0].iter_mut().zip(&rounds.batch.gradient).for_each(|(to, g)| *to += g);
    }

    fn couples_samples(&self) -> bool {
        true
    }
}

/// The beginning of the dense layers' network: values as they are, their gradient kept.
///
/// # Shapes
/// Input and output `[F]`. Parameter: `probe` `[1]`, which stays 0.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) arrived: Arc<Mutex<Vec<f32>>>,
}

impl Operation for Entrance {
    fn kind(&self) -> &str {
        "Entrance"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [input] if input.len() == 1 => Ok((*input).clone()),
            _ => Err("takes a vector".into()),
        }
    }

    fn parameters(&self, _inputs: &[&Shape]) -> Vec<Parameter> {
        vec![Parameter::learned("probe", [1], Init::Constant(0.0))]
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.copy_from_slice(call.inputs[0].data);
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], _gradients: &mut Gradients<'_, '_>) {
        *guard(&self.arrived) = output_gradient.to_vec();
    }

    fn couples_samples(&self) -> bool {
        true
    }
}

/// A layer behind the entrance: it draws for the samples of a round what it would for them in the whole batch.
///
/// # Shapes
/// The layer's.
#[derive(Debug)]
pub(super) struct InRounds {
    pub(super) layer: Layer,
    /// Samples of the batch before those of the round.
    pub(super) samples_before: Arc<AtomicUsize>,
}

impl InRounds {
    fn of_batch<'a>(&self, call: &Call<'a>) -> Call<'a> {
        let mode = match call.mode {
            Mode::Inference => Mode::Inference,
            Mode::Training { seed, first_sample } => {
                Mode::Training { seed, first_sample: first_sample + self.samples_before.load(Ordering::Relaxed) }
            }
        };
        Call { mode, ..*call }
    }
}

impl Operation for InRounds {
    fn kind(&self) -> &str {
        self.layer.operation().kind()
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        self.layer.operation().output_shape(inputs)
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        self.layer.operation().parameters(inputs)
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        self.layer.operation().flops(inputs, output)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        self.layer.operation().forward(&self.of_batch(call), output);
    }

    fn backward(&self, call: &Call<'_>, output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        self.layer.operation().backward(&self.of_batch(call), output, output_gradient, gradients);
    }

    fn update_state(&self, batch: usize, inputs: &[View<'_>], parameters: &mut [Vec<f32>]) {
        self.layer.operation().update_state(batch, inputs, parameters);
    }

    fn couples_samples(&self) -> bool {
        self.layer.operation().couples_samples()
    }
}
