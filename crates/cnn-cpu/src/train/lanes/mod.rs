//! Training with a sample in each lane: a vector of samples goes forward and backward through the whole network on one
//! thread, whose caches hold its values where the network is small, with gradients of its own; then the gradients are added in a
//! fixed order. One phase of work a step instead of several a layer, and no lane idle whatever the number of channels. Batch
//! norms, which couple samples, end a phase each.

mod asynchronous;
pub(super) mod convolution;
mod correlation;
mod kernels;
mod norm;
mod outer;
mod passes;
mod phases;
mod plain;
mod pool;
mod relu;
mod sums;

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
    learner: Learner,
    instructions: Instructions,
    passes: Passes,
    /// `[group][parameters]`.
    groups: Buffer,
    pool: Arc<rayon::ThreadPool>,
    crew: Crew,
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
        Ok(LaneTrainer {
            passes: Passes::new(&learner, &machine, threads)?,
            learner,
            instructions: machine.instructions(),
            groups: Buffer::zeroed(0),
            crew: Crew::new(threads, 0),
            pool,
        })
    }
}

impl Trainer for LaneTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        let (batch, data) = self.learner.network.check_input(images)?;
        self.learner.network.check_labels(labels, batch)?;
        let LaneTrainer { learner, passes, groups: sums, .. } = self;
        let (lanes, parameters) = (passes.lanes, passes.parameters);
        let vectors = batch.div_ceil(lanes);
        let count = vectors.min(GROUPS);
        if sums.len() < count * parameters {
            *sums = Buffer::zeroed(count * parameters);
        }
        let is_coupled = passes.norms().next().is_some();
        if is_coupled {
            passes.reserve(learner, vectors);
        }
        let all = &mut sums[..count * parameters];
        let groups: Vec<_> = (0..count).map(|group| group * vectors / count..(group + 1) * vectors / count).collect();
        let due = passes.due(learner);
        let (kept, passes) = (&*learner, &*passes);
        let mut result = Ok((StepStats::default(), Vec::new()));
        enter(&self.pool, &self.crew, passes.flops.saturating_mul(batch as u64), |workers| {
            result = match is_coupled {
                true => passes.run_in_phases(kept, Batch { images: data, labels }, &groups, all, workers),
                false => passes.run_apart(kept, Batch { images: data, labels }, &groups, all, workers),
            };
            due.into_iter().for_each(|range| add_groups(all, parameters, range, workers));
        });
        let (stats, of_batch) = result?;
        for (node, moments) in of_batch.iter().enumerate() {
            if let Some(norm) = passes.norm(node) {
                norm.update_state(moments, &mut learner.values[node]);
            }
        }
        for node in (0..learner.depth).rev().filter(|&node| learner.is_due(node)) {
            for (place, l) in learner.learned[node].iter().enumerate().filter(|(_, l)| l.is_learned()) {
                ready.ready(&l.parameter.name, &mut sums[passes.range(node, place)])?;
            }
        }
        Ok(stats)
    }

    fn method(&self) -> String {
        let coupled =
            if self.passes.norms().next().is_some() { ", in phases from batch norm to batch norm" } else { "" };
        format!("a sample in each of {} lanes{coupled}", self.passes.lanes)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        /// Numbers that one piece of work changes.
        const PIECE: usize = 8192;
        let LaneTrainer { learner, passes, groups, .. } = self;
        let groups = &groups[..];
        let gradient = |node: usize, place: usize| &groups[passes.range(node, place)];
        let (rule, parts) = learner.begin_update(learning_rate, PIECE, gradient);
        let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
        let instructions = self.instructions;
        // Reads and writes, at what a hundred operations cost.
        enter(&self.pool, &self.crew, 100 * passes.parameters as u64, |workers| {
            workers.for_each(parts.len(), |i| {
                let part = &mut *parts[i].lock().unwrap_or_else(PoisonError::into_inner);
                with_simd!(instructions, s => s.vectorize(Update { part, rule }));
            });
        });
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
