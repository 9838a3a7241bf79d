//! A batch through a network: its vectors of samples apart, each forward and backward on one thread; or, where batch norms couple
//! them, in phases: all of them up to a batch norm, then what it needs of the batch, then all of them on to the next, and back
//! in the same way.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cnn_core::backend::StepStats;
use cnn_core::training::Learner;
use cnn_core::{Result, ValueId};

use super::norm::Moments;
use super::passes::{Pass, Passes, Samples, add, to_lanes};
use super::workspace::Workspace;
use crate::threads::Workers;

/// The images of a batch and their labels.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) images: &'a [f32],
    pub(super) labels: &'a [u32],
    /// Does a piece of the caller's work; `false` where nothing was left.
    pub(super) piece: &'a (dyn Fn() -> bool + Sync),
}

/// Lets threads that find no vectors of samples left do the caller's work meanwhile.
struct Meanwhile<'a> {
    left: AtomicUsize,
    piece: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Meanwhile<'a> {
    /// With so many works left.
    fn new(left: usize, batch: Batch<'a>) -> Self {
        Meanwhile { left: AtomicUsize::new(left), piece: batch.piece }
    }

    /// Does `work`, which is one of those that were left, then pieces of the caller's if it was the last to begin.
    fn after<R>(&self, work: impl FnOnce() -> R) -> R {
        self.left.fetch_sub(1, Ordering::Relaxed);
        let done = work();
        if self.left.load(Ordering::Relaxed) == 0 {
            while (self.piece)() {}
        }
        done
    }
}

/// What each batch norm's input shows in a batch, by node and channel.
pub(super) type OfBatch = Vec<Vec<Moments>>;

/// What work-items find, by the vector of samples.
type Found<T> = Vec<Mutex<T>>;

fn places<T: Default>(count: usize) -> Found<T> {
    (0..count).map(|_| Mutex::default()).collect()
}

fn put<T>(found: &Found<T>, vector: usize, own: T) {
    *found[vector].lock().unwrap_or_else(PoisonError::into_inner) = own;
}

fn taken<T>(found: Found<T>) -> impl Iterator<Item = T> {
    found.into_iter().map(|own| own.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Passes {
    /// Writes the gradients of a batch to `sums`, of which each group of its vectors of samples has its own; `groups` has the
    /// vectors of each. A thread takes a group's through the whole network, one after the other.
    pub(super) fn run_apart(
        &self,
        learner: &Learner,
        batch: Batch<'_>,
        groups: &[Range<usize>],
        sums: &mut [f32],
        workers: Workers<'_>,
    ) -> Result<(StepStats, OfBatch)> {
        let all = batch.labels.len();
        let sample = batch.images.len() / all;
        let stats: Found<Result<StepStats>> = (0..groups.len()).map(|_| Mutex::new(Ok(StepStats::default()))).collect();
        let meanwhile = Meanwhile::new(groups.len(), batch);
        workers.for_each_chunk(sums, self.parameters, |group, sums| {
            let [first, end] = [groups[group].start, groups[group].end].map(|vector| (vector * self.lanes).min(all));
            let (images, labels) = (&batch.images[first * sample..end * sample], &batch.labels[first..end]);
            let samples = Samples { images, labels, first, of: all };
            put(&stats, group, meanwhile.after(|| self.run(learner, &learner.values, samples, sums)));
        });
        let stats = taken(stats).collect::<Result<Vec<_>>>()?.into_iter().fold(StepStats::default(), add);
        Ok((stats, Vec::new()))
    }

    /// Writes the gradients of a batch to `sums`, of which each group of its vectors of samples has its own; `groups` has the
    /// vectors of each. There is a workspace for every vector.
    pub(super) fn run_in_phases(
        &self,
        learner: &Learner,
        batch: Batch<'_>,
        groups: &[Range<usize>],
        sums: &mut [f32],
        workers: Workers<'_>,
    ) -> Result<(StepStats, OfBatch)> {
        let mut of_batch: OfBatch = vec![Vec::new(); learner.depth];
        let stats = self.forward_in_phases(learner, batch, &mut of_batch, workers);
        if !stats.loss.is_finite() {
            let all_finite = |value: ValueId| {
                let finite = |vector: usize| self.workspace(vector).values[value.index()].iter().all(|v| v.is_finite());
                (0..self.vectors(batch)).all(finite)
            };
            return Err(learner.diverged(stats.loss, all_finite));
        }
        self.backward_in_phases(learner, batch, &mut of_batch, (groups, sums), workers);
        Ok((stats, of_batch))
    }

    fn vectors(&self, batch: Batch<'_>) -> usize {
        batch.labels.len().div_ceil(self.lanes)
    }

    fn forward_in_phases(
        &self,
        learner: &Learner,
        batch: Batch<'_>,
        of_batch: &mut OfBatch,
        workers: Workers<'_>,
    ) -> StepStats {
        let count = self.vectors(batch);
        let stats = places(count);
        let mut from = 0;
        for to in self.norms().chain([learner.depth]) {
            let found = places(count);
            let this_batch = &*of_batch;
            workers.for_each(count, |vector| {
                let pass = self.pass(learner, batch, vector, this_batch);
                let mut workspace = self.workspace(vector);
                if from == 0 {
                    to_lanes(pass.images(batch), pass.samples, &mut workspace.values[0], self.lanes);
                }
                self.forward(pass, &mut workspace, from..to);
                match self.norm(to) {
                    Some(norm) => put(&found, vector, norm.observe(workspace.input(learner, to), pass.samples)),
                    None => {
                        let labels = &batch.labels[pass.first_sample..][..pass.samples];
                        put(&stats, vector, self.loss(learner.logits, &mut workspace, labels, batch.labels.len()));
                    }
                }
            });
            if self.norm(to).is_some() {
                let together =
                    |all: Vec<Moments>, own: Vec<Moments>| all.into_iter().zip(own).map(|(a, b)| a.and(b)).collect();
                of_batch[to] = taken(found).reduce(together).unwrap_or_default();
            }
            from = to;
        }
        taken(stats).fold(StepStats::default(), add)
    }

    fn backward_in_phases(
        &self,
        learner: &Learner,
        batch: Batch<'_>,
        of_batch: &mut OfBatch,
        (groups, sums): (&[Range<usize>], &mut [f32]),
        workers: Workers<'_>,
    ) {
        let mut to = learner.depth;
        for norm_node in self.norms().rev().map(Some).chain([None]) {
            // Down to the layer behind the batch norm, whose own way back takes the sums over all of its output's gradients.
            let from = norm_node.map_or(0, |node| node + 1);
            let found = places(self.vectors(batch));
            let this_batch = &*of_batch;
            let take_back = |group: usize, sums: &mut [f32]| {
                for vector in groups[group].clone() {
                    let pass = self.pass(learner, batch, vector, this_batch);
                    let mut workspace = self.workspace(vector);
                    self.backward(pass, &mut workspace, from..to, (sums, vector == groups[group].start));
                    if let Some((node, norm)) = norm_node.and_then(|node| Some((node, self.norm(node)?))) {
                        let Workspace { values, gradients, .. } = &mut *workspace;
                        let (input, output) =
                            (learner.network.nodes()[node].inputs[0], learner.network.output_of(node));
                        let slopes =
                            norm.observe_slopes(&values[input.index()], gradients.of(output), &this_batch[node]);
                        put(&found, vector, slopes);
                    }
                }
            };
            let meanwhile = Meanwhile::new(groups.len(), batch);
            workers.for_each_chunk(sums, self.parameters, |group, sums| meanwhile.after(|| take_back(group, sums)));
            if let Some(node) = norm_node {
                for own in taken(found) {
                    of_batch[node].iter_mut().zip(own).for_each(|(moments, slopes)| moments.add_slopes(slopes));
                }
            }
            to = from;
        }
    }

    fn pass<'a>(&self, learner: &'a Learner, batch: Batch<'_>, vector: usize, of_batch: &'a OfBatch) -> Pass<'a> {
        let first_sample = vector * self.lanes;
        let samples = self.lanes.min(batch.labels.len() - first_sample);
        Pass { learner, parameters: &learner.values, samples, first_sample, of_batch }
    }
}

impl Pass<'_> {
    fn images<'b>(&self, batch: Batch<'b>) -> &'b [f32] {
        let sample = batch.images.len() / batch.labels.len();
        &batch.images[self.first_sample * sample..][..self.samples * sample]
    }
}
