//! Asynchronous updates without locks: HOGWILD! (Niu, Recht, Ré and Wright 2011; Zhang et al. 2018, section 7.2.3, has its
//! relatives across machines). A thread takes some samples of the batch and a copy of the weights as they are, finds the
//! gradient, changes the weights that all threads share, and takes the next samples, without waiting for anyone. Of what two
//! threads write to the same place at the same time one is lost. So the only training here that may differ from run to run;
//! on one thread it is plain steps over the parts of the batch, one after the other.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::backend::{GradientSink, Recipe, StepStats, Trainer};
use cnn_core::training::{Part, Rule};
use cnn_core::{Error, Network, Optimizer, Result, Tensor, Weights};
use smallvec::smallvec;

use super::passes::{Samples, add};
use super::{LaneTrainer, Update, Work};
use crate::machine::Machine;
use crate::memory::Buffer;
use crate::simd::{Simd, with_simd};
use crate::threads::enter;

/// Steps are asynchronous; [`Trainer::gradients`] and [`Trainer::update`] by themselves are not.
pub(in crate::train) struct AsynchronousTrainer {
    inner: LaneTrainer,
    /// Of an update.
    samples: usize,
    shared: Shared,
    /// One a thread.
    own: Vec<Mutex<Own>>,
}

/// Floats as bits, for all threads to read and write at any time, laid out as gradients are. The velocity is shared as the
/// weights are: a thread's own would know nothing of the updates between two of its own.
struct Shared {
    weights: Vec<AtomicU32>,
    velocity: Vec<AtomicU32>,
}

/// What a thread works with: weights as it last saw them, and gradients.
struct Own {
    parameters: Vec<Vec<Vec<f32>>>,
    gradients: Buffer,
}

impl AsynchronousTrainer {
    /// Errors where the optimiser is not SGD, which alone is known to bear lost updates, or where a batch norm makes threads
    /// wait for one another.
    pub(in crate::train) fn new(
        network: &Network,
        weights: &Weights,
        recipe: &Recipe,
        samples: NonZeroUsize,
        place: (Arc<rayon::ThreadPool>, Machine),
    ) -> Result<Self> {
        let optimizer = recipe.optimizer;
        if !matches!(optimizer, Optimizer::Sgd { .. }) {
            return Err(refusal(format!("asynchronous updates are made with sgd, not with {}", optimizer.name())));
        }
        let inner = LaneTrainer::new(network, weights, recipe, place)?;
        if let Some(node) = inner.work.passes.norms().next() {
            let name = &network.nodes()[node].name;
            return Err(refusal(format!("no asynchronous updates, as layer `{name}` couples the samples of a batch")));
        }
        let length = inner.work.passes.parameters;
        let zeros = || (0..length).map(|_| AtomicU32::new(0)).collect();
        let own = || Own { parameters: inner.work.learner.values.clone(), gradients: Buffer::zeroed(length) };
        let own = (0..inner.pool.current_num_threads()).map(|_| Mutex::new(own())).collect();
        let shared = Shared { weights: zeros(), velocity: zeros() };
        Ok(AsynchronousTrainer { inner, samples: samples.get(), shared, own })
    }

    /// Lays out weights and velocity for all threads.
    fn share(&self) {
        let Work { learner, passes, .. } = &self.inner.work;
        for (node, place, l) in learner.learned_parameters() {
            let range = passes.range(node, place);
            store(&self.shared.weights[range.clone()], &learner.values[node][place]);
            store(&self.shared.velocity[range], &l.slots[0]);
        }
    }

    /// Takes back what became of them.
    fn gather(&mut self) {
        let Work { learner, passes, .. } = &mut self.inner.work;
        for (node, (values, learned)) in learner.values.iter_mut().zip(&mut learner.learned).enumerate() {
            let pairs = values.iter_mut().zip(learned).enumerate();
            for (place, (weight, l)) in pairs.filter(|(_, (_, l))| l.is_learned()) {
                let range = passes.range(node, place);
                load(&self.shared.weights[range.clone()], weight);
                load(&self.shared.velocity[range], &mut l.slots[0]);
            }
        }
    }

    /// One update, from the weights as they are now.
    fn learn(&self, samples: Samples<'_>, learning_rate: f32) -> Result<StepStats> {
        let Work { learner, passes, .. } = &self.inner.work;
        let thread = rayon::current_thread_index().unwrap_or(0) % self.own.len();
        let mut own = self.own[thread].lock().unwrap_or_else(PoisonError::into_inner);
        let Own { parameters, gradients } = &mut *own;
        for (node, place, _) in learner.learned_parameters() {
            load(&self.shared.weights[passes.range(node, place)], &mut parameters[node][place]);
        }
        let stats = passes.run(learner, parameters, samples, gradients)?;
        let moment = learner.moment(learning_rate, |node, place| &gradients[passes.range(node, place)]);
        let rule = Rule { optimizer: learner.recipe().optimizer, moment };
        for range in passes.due(learner) {
            self.change(range, rule, gradients);
        }
        Ok(stats)
    }

    /// Changes a range of the shared weights, in pieces that leave others little time to write in between.
    fn change(&self, range: Range<usize>, rule: Rule, gradients: &[f32]) {
        const PIECE: usize = 256;
        let [mut weight, mut velocity] = [[0.0; PIECE]; 2];
        for start in range.clone().step_by(PIECE) {
            let piece = start..range.end.min(start + PIECE);
            let (weight, velocity) = (&mut weight[..piece.len()], &mut velocity[..piece.len()]);
            load(&self.shared.weights[piece.clone()], weight);
            load(&self.shared.velocity[piece.clone()], velocity);
            let gradient = &gradients[piece.clone()];
            let mut part = Part { weight, gradient, slots: smallvec![velocity] };
            with_simd!(self.inner.work.instructions, s => s.vectorize(Update { part: &mut part, rule }));
            store(&self.shared.weights[piece.clone()], part.weight);
            store(&self.shared.velocity[piece], part.slots[0]);
        }
    }
}

fn load(from: &[AtomicU32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from_bits(from.load(Ordering::Relaxed)));
}

fn store(to: &[AtomicU32], from: &[f32]) {
    to.iter().zip(from).for_each(|(to, from)| to.store(from.to_bits(), Ordering::Relaxed));
}

fn refusal(reason: String) -> Error {
    Error::Backend { backend: "cpu".to_string(), reason }
}

impl Trainer for AsynchronousTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        self.inner.gradients(images, labels, ready)
    }

    fn step(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        learning_rate: f32,
        ready: &mut dyn GradientSink,
    ) -> Result<StepStats> {
        if ready.is_listening() {
            return Err(refusal("asynchronous updates have no gradients of a whole batch to show".to_string()));
        }
        let LaneTrainer { work: Work { learner, passes, .. }, pool, crew } = &self.inner;
        let (batch, data) = learner.network.check_input(images)?;
        learner.network.check_labels(labels, batch)?;
        self.share();
        let sample = data.len() / batch;
        let parts: Vec<_> = labels.chunks(self.samples).zip(data.chunks(self.samples.saturating_mul(sample))).collect();
        let stats: Vec<Mutex<Result<StepStats>>> = parts.iter().map(|_| Mutex::new(Ok(StepStats::default()))).collect();
        let this = &*self;
        enter(pool, crew, passes.flops.saturating_mul(batch as u64), |workers| {
            workers.for_each(parts.len(), |part| {
                let (labels, images) = parts[part];
                let samples = Samples { images, labels, first: part * this.samples, of: labels.len() };
                let made = this.learn(samples, learning_rate);
                *stats[part].lock().unwrap_or_else(PoisonError::into_inner) = made;
            });
        });
        let mut all = StepStats::default();
        for stats in stats {
            let part = stats.into_inner().unwrap_or_else(PoisonError::into_inner)?;
            let loss = part.loss * part.images as f64 / batch as f64;
            all = add(all, StepStats { loss, ..part });
        }
        self.gather();
        self.inner.work.learner.begin_step(learning_rate);
        Ok(all)
    }

    fn count_samples_from(&mut self, first: usize) {
        self.inner.count_samples_from(first);
    }

    fn method(&self) -> String {
        let threads = match self.own.len() {
            1 => "on one thread",
            _ => "not deterministic",
        };
        format!("{}, asynchronous, {threads}", self.inner.method())
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
