//! Training with a sample in each lane: a vector of samples goes forward and backward through the whole network on one
//! thread, whose caches hold its values where the network is small, with gradients of its own; then the gradients are added in a
//! fixed order. One phase of work a step instead of several a layer, and no lane idle whatever the number of channels. Batch
//! norms, which couple samples, end a phase each.

mod asynchronous;
pub(super) mod convolution;
mod correlation;
mod depthwise_pair;
mod dropout;
mod kernels;
mod mean;
mod norm;
mod outer;
mod passes;
mod phases;
mod plain;
mod pointwise;
mod pool;
mod relu;
mod sums;
mod workspace;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::backend::{GradientSink, Recipe, StepStats, Trainer};
use cnn_core::training::{Learner, Part, Rule};
use cnn_core::{Network, Result, Tensor, Weights};

pub(super) use asynchronous::AsynchronousTrainer;
use passes::Passes;
use phases::Batch;

use crate::machine::Machine;
use crate::memory::Buffer;
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::{Crew, Workers, enter};

/// Groups of vectors of samples, whose gradients are added in order: results do not depend on the number of threads, of
/// which no more than this have work.
const GROUPS: usize = 16;

pub(super) struct LaneTrainer {
    work: Work,
    pool: Arc<rayon::ThreadPool>,
    crew: Crew,
}

/// What the trainer's threads work on together.
struct Work {
    learner: Learner,
    instructions: Instructions,
    passes: Passes,
    /// `[group][parameters]`.
    groups: Buffer,
}

impl LaneTrainer {
    pub(super) fn new(
        network: &Network,
        weights: &Weights,
        recipe: &Recipe,
        (pool, machine): (Arc<rayon::ThreadPool>, Machine),
    ) -> Result<Self> {
        let learner = Learner::new(network, weights, recipe)?;
        let threads = pool.current_num_threads();
        let passes = Passes::new(&learner, &machine, threads)?;
        let work = Work { learner, instructions: machine.instructions(), passes, groups: Buffer::zeroed(0) };
        Ok(LaneTrainer { work, crew: Crew::new(threads, 0), pool })
    }

    /// Works on a batch, on all threads where it is worth that.
    fn on_batch<R: Send>(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        piece: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&mut Work, Batch<'_>, Workers<'_>) -> R + Send,
    ) -> Result<R> {
        let (batch, data) = self.work.learner.network.check_input(images)?;
        self.work.learner.network.check_labels(labels, batch)?;
        let flops = self.work.passes.flops.saturating_mul(batch as u64);
        let batch = Batch { images: data, labels, piece };
        Ok(enter(&self.pool, &self.crew, flops, |workers| work(&mut self.work, batch, workers)))
    }
}

impl Trainer for LaneTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        let stats = self.on_batch(images, labels, &|| false, Work::gradients)??;
        self.work.tell(|name, gradient| ready.ready(name, gradient))?;
        self.work.tell(|name, gradient| ready.settle(name, gradient))?;
        Ok(stats)
    }

    fn step(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        learning_rate: f32,
        ready: &mut dyn GradientSink,
    ) -> Result<StepStats> {
        if ready.is_listening() {
            let stats = self.gradients(images, labels, ready)?;
            self.update(learning_rate)?;
            return Ok(stats);
        }
        self.step_sharing(images, labels, learning_rate, &|| false)
    }

    fn shares_threads(&self) -> bool {
        true
    }

    fn step_sharing(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        learning_rate: f32,
        piece: &(dyn Fn() -> bool + Sync),
    ) -> Result<StepStats> {
        // The threads are woken once.
        self.on_batch(images, labels, piece, |work, batch, workers| {
            let stats = work.gradients(batch, workers)?;
            work.update(learning_rate, workers);
            Ok(stats)
        })?
    }

    fn count_samples_from(&mut self, first: usize) {
        self.work.learner.count_samples_from(first);
    }

    fn method(&self) -> String {
        let Passes { lanes, .. } = self.work.passes;
        let is_coupled = self.work.passes.norms().next().is_some();
        let coupled = if is_coupled { ", in phases from batch norm to batch norm" } else { "" };
        let pairs = match self.work.passes.pairs() {
            0 => String::new(),
            pairs => format!("; pairs of filters a channel at a time: {pairs}"),
        };
        format!("a sample in each of {lanes} lanes{coupled}{pairs}")
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<()> {
        self.work.tell(|_, gradient| {
            gradient.iter_mut().for_each(|g| *g *= factor);
            Ok(())
        })
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        // Reads and writes, at what a hundred operations cost.
        let flops = 100 * self.work.passes.parameters as u64;
        enter(&self.pool, &self.crew, flops, |workers| self.work.update(learning_rate, workers));
        Ok(())
    }

    fn weights(&self) -> Result<Weights> {
        self.work.learner.weights()
    }

    fn state(&self) -> Result<Weights> {
        self.work.learner.state()
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        self.work.learner.restore(state)
    }
}

impl Work {
    /// Finds the gradients of a batch, where they are due, and what it showed.
    fn gradients(&mut self, batch: Batch<'_>, workers: Workers<'_>) -> Result<StepStats> {
        let Work { learner, passes, groups: sums, .. } = self;
        let parameters = passes.parameters;
        let vectors = batch.labels.len().div_ceil(passes.lanes);
        let count = vectors.min(GROUPS);
        if sums.len() < count * parameters {
            *sums = Buffer::zeroed(count * parameters);
        }
        let is_coupled = passes.norms().next().is_some();
        if is_coupled {
            passes.reserve(vectors);
        }
        let all = &mut sums[..count * parameters];
        let groups: Vec<_> = (0..count).map(|group| group * vectors / count..(group + 1) * vectors / count).collect();
        let (stats, of_batch) = match is_coupled {
            true => passes.run_in_phases(learner, batch, &groups, all, workers)?,
            false => passes.run_apart(learner, batch, &groups, all, workers)?,
        };
        for range in passes.due(learner) {
            add_groups(all, parameters, range, workers);
        }
        for (node, moments) in of_batch.iter().enumerate() {
            if let Some(norm) = passes.norm(node) {
                norm.update_state(moments, &mut learner.values[node]);
            }
        }
        Ok(stats)
    }

    /// Shows the gradients that are due, the last layer's first.
    fn tell(&mut self, mut to: impl FnMut(&str, &mut [f32]) -> Result<()>) -> Result<()> {
        let Work { learner, passes, groups, .. } = self;
        for node in (0..learner.depth).rev().filter(|&node| learner.is_due(node)) {
            for (place, l) in learner.learned[node].iter().enumerate().filter(|(_, l)| l.is_learned()) {
                to(&l.parameter.name, &mut groups[passes.range(node, place)])?;
            }
        }
        Ok(())
    }

    /// The optimiser's step.
    fn update(&mut self, learning_rate: f32, workers: Workers<'_>) {
        /// Numbers that one piece of work changes.
        const PIECE: usize = 8192;
        let Work { learner, passes, groups, instructions } = self;
        let groups = &groups[..];
        let gradient = |node: usize, place: usize| &groups[passes.range(node, place)];
        let (rule, parts) = learner.begin_update(learning_rate, PIECE, gradient);
        let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
        workers.for_each(parts.len(), |i| {
            let part = &mut *parts[i].lock().unwrap_or_else(PoisonError::into_inner);
            with_simd!(*instructions, s => s.vectorize(Update { part, rule }));
        });
    }
}

/// The optimiser's step over a part.
struct Update<'a, 'b> {
    part: &'a mut Part<'b>,
    rule: Rule,
}

impl<S: Simd> Task<S> for Update<'_, '_> {
    #[inline(always)]
    fn run(self, _s: S) {
        self.part.step(&self.rule);
    }
}

/// Adds a range of the gradients of all groups to the first one's, in order.
fn add_groups(groups: &mut [f32], length: usize, range: Range<usize>, workers: Workers<'_>) {
    const PIECE: usize = 4096;
    let (first, others) = groups.split_at_mut(length);
    let others = &*others;
    workers.for_each_chunk(&mut first[range.clone()], PIECE, |piece, sums| {
        for group in others.chunks_exact(length) {
            let values = &group[range.start + piece * PIECE..];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    });
}
