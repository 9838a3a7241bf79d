//! Vectors of samples on their way through a network, forward and backward, each on one thread.

use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cnn_core::backend::StepStats;
use cnn_core::training::{Learned, Learner, softmax_cross_entropy};
use cnn_core::{Result, ValueId};
use smallvec::SmallVec;

use super::depthwise_pair::DepthwisePair;
use super::kernels::{Block, LaneKernel, Slopes, kernel};
use super::norm::{BatchNorm, Moments};
use super::workspace::{Slots, Workspace};
use crate::machine::Machine;
use crate::memory::Buffer;

/// A node with its kernel, which may do the work of the node before it too.
struct Step {
    kernel: Box<dyn LaneKernel>,
    /// The first of its nodes: the one whose inputs it reads.
    from: usize,
    /// For each input, whether this step is the first to reach its gradient on the way back.
    first: Vec<bool>,
    /// Where the gradients of its parameters lie, and their lengths.
    parameters: Vec<(usize, usize)>,
}

/// Samples of a batch.
#[derive(Clone, Copy)]
pub(super) struct Samples<'a> {
    pub(super) images: &'a [f32],
    pub(super) labels: &'a [u32],
    /// The place of the first in the batch.
    pub(super) first: usize,
    /// How many the loss is the mean of.
    pub(super) of: usize,
}

/// Takes samples through a network.
pub(super) struct Passes {
    pub(super) lanes: usize,
    /// Floats of the gradients of all parameters, at least 1.
    pub(super) parameters: usize,
    /// Floating-point operations of a sample, both ways.
    pub(super) flops: u64,
    /// By node; nothing where the next one's step does its work.
    steps: Vec<Option<Step>>,
    /// By node: where the gradients of its parameters lie, and their lengths.
    places: Vec<Vec<(usize, usize)>>,
    slots: Slots,
    /// One a thread; where samples are coupled, one a vector of them.
    workspaces: Vec<Mutex<Workspace>>,
}

impl Passes {
    /// On so many threads.
    pub(super) fn new(learner: &Learner, machine: &Machine, threads: usize) -> Result<Self> {
        let network = &learner.network;
        // The loss reaches its value first; what nothing reaches keeps the zeros that it has from the start.
        let mut reached = vec![false; network.value_count()];
        reached[learner.logits.index()] = true;
        let mut parameters = 0;
        let mut place = |length: usize| {
            parameters += length;
            (parameters - length, length)
        };
        let of_node = |learned: &Vec<Learned>| learned.iter().map(|l| place(l.length())).collect();
        let places: Vec<Vec<_>> = learner.learned.iter().map(of_node).collect();
        let mut steps: Vec<Option<Step>> = Vec::new();
        for node in 0..learner.depth {
            let misfit = |misfit| network.layer_error(node, misfit);
            // A node is of one pair.
            let is_alone =
                steps.last().is_some_and(|before| before.as_ref().is_some_and(|before| before.from + 1 == node));
            let pair = DepthwisePair::of(network, node, machine.instructions()).map_err(misfit)?;
            let (kernel, from): (Box<dyn LaneKernel>, usize) = match pair.filter(|_| is_alone) {
                Some(pair) => (Box::new(pair), node - 1),
                None => (kernel(network, node, machine).map_err(misfit)?, node),
            };
            steps[from..].iter_mut().for_each(|before| *before = None);
            let parameters = places[from..=node].concat();
            steps.push(Some(Step { kernel, from, first: Vec::new(), parameters }));
        }
        for step in steps.iter_mut().rev().flatten() {
            let reach = |value: &ValueId| !std::mem::replace(&mut reached[value.index()], true);
            step.first = network.nodes()[step.from].inputs.iter().map(reach).collect();
        }
        let flops = (0..learner.depth).map(|node| network.flops_of(node)).fold(0, u64::saturating_add);
        let lanes = machine.instructions().lanes();
        // Forward once, backward twice.
        let flops = flops.saturating_mul(3);
        let reads: Vec<_> = steps.iter().map(|step| step.as_ref().map(|step| step.from)).collect();
        let (parameters, slots) = (parameters.max(1), Slots::new(learner, &reads));
        let mut passes = Passes { lanes, parameters, flops, steps, places, slots, workspaces: Vec::new() };
        passes.reserve(threads);
        Ok(passes)
    }

    /// The nodes that are batch norms.
    pub(super) fn norms(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.steps.len()).filter(|&node| self.norm(node).is_some())
    }

    /// A node's batch norm, where it is one.
    pub(super) fn norm(&self, node: usize) -> Option<&BatchNorm> {
        self.steps.get(node)?.as_ref()?.kernel.norm()
    }

    /// How many nodes the next one's step does the work of.
    pub(super) fn pairs(&self) -> usize {
        self.steps.iter().filter(|step| step.is_none()).count()
    }

    /// Makes room for so many vectors of samples at a time.
    pub(super) fn reserve(&mut self, vectors: usize) {
        let scratch = self.steps.iter().flatten().map(|step| step.kernel.scratch_length()).max().unwrap_or(0);
        while self.workspaces.len() < vectors {
            let workspace = Workspace::new(&self.slots, (self.lanes, scratch));
            self.workspaces.push(Mutex::new(workspace));
        }
    }

    /// A workspace by its number.
    pub(super) fn workspace(&self, number: usize) -> MutexGuard<'_, Workspace> {
        self.workspaces[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the gradients of a parameter lie, by node and place.
    pub(super) fn range(&self, node: usize, place: usize) -> Range<usize> {
        let (start, length) = self.places[node][place];
        start..start + length
    }

    /// Where the gradients that are due lie, in as few ranges as it takes.
    pub(super) fn due(&self, learner: &Learner) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (node, place, _) in learner.due_parameters() {
            let range = self.range(node, place);
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        ranges
    }

    /// Writes the gradients of these samples to `sums`, where they are due; `parameters` are by node, then in the layer's order.
    pub(super) fn run(
        &self,
        learner: &Learner,
        parameters: &[Vec<Vec<f32>>],
        samples: Samples<'_>,
        sums: &mut [f32],
    ) -> Result<StepStats> {
        let Samples { images, labels, first, of } = samples;
        let mut workspace = self.workspace(rayon::current_thread_index().unwrap_or(0) % self.workspaces.len());
        let sample = images.len() / labels.len();
        let blocks = images.chunks(self.lanes * sample).zip(labels.chunks(self.lanes));
        let mut stats = StepStats::default();
        for (block, (images, labels)) in blocks.enumerate() {
            to_lanes(images, labels.len(), &mut workspace.values[0], self.lanes);
            let first_sample = first + block * self.lanes;
            let pass = Pass { learner, parameters, samples: labels.len(), first_sample, of_batch: &[] };
            self.forward(pass, &mut workspace, 0..self.steps.len());
            stats = add(stats, self.loss(learner.logits, &mut workspace, labels, of));
            if !stats.loss.is_finite() {
                let is_finite = |value: ValueId| workspace.values[value.index()].iter().all(|v| v.is_finite());
                return Err(learner.diverged(stats.loss, is_finite));
            }
            self.backward(pass, &mut workspace, 0..self.steps.len(), (sums, block == 0));
        }
        Ok(stats)
    }

    /// Takes a vector of samples through these nodes.
    pub(super) fn forward(&self, pass: Pass<'_>, workspace: &mut Workspace, nodes: Range<usize>) {
        let network = &pass.learner.network;
        let Workspace { values, scratch, .. } = workspace;
        for (node, step) in nodes.filter_map(|node| Some((node, self.steps[node].as_ref()?))) {
            let place = network.output_of(node).index();
            let mut output = std::mem::take(&mut values[place]);
            let block = Block {
                inputs: network.nodes()[step.from].inputs.iter().map(|value| &values[value.index()][..]).collect(),
                parameters: pass.parameters(step.from..=node),
                samples: pass.samples,
                mode: pass.learner.mode(node, pass.first_sample),
                of_batch: pass.of_batch(node),
            };
            step.kernel.forward(&block, &mut output, scratch);
            drop(block);
            values[place] = output;
        }
    }

    /// The loss of a vector of samples, and its gradient.
    pub(super) fn loss(&self, logits: ValueId, workspace: &mut Workspace, labels: &[u32], batch: usize) -> StepStats {
        let (logits, gradient) = (&workspace.values[logits.index()], workspace.gradients.of(logits));
        let classes = logits.len() / self.lanes;
        let count = labels.len() * classes;
        let own: Vec<f32> = (0..count).map(|i| logits[i % classes * self.lanes + i / classes]).collect();
        let mut slopes = vec![0.0; count];
        let stats = softmax_cross_entropy(&own, labels, batch, &mut slopes);
        gradient.fill(0.0);
        for (i, slope) in slopes.into_iter().enumerate() {
            gradient[i % classes * self.lanes + i / classes] = slope;
        }
        stats
    }

    /// Takes the gradients of a vector of samples back through these nodes; those of parameters are written where they are `fresh`,
    /// else added.
    pub(super) fn backward(
        &self,
        pass: Pass<'_>,
        workspace: &mut Workspace,
        nodes: Range<usize>,
        (sums, fresh): (&mut [f32], bool),
    ) {
        let (learner, network) = (pass.learner, &pass.learner.network);
        let Workspace { values, gradients, scratch } = workspace;
        let steps = nodes.rev().filter_map(|node| Some((node, self.steps[node].as_ref()?)));
        for (node, step) in steps.filter(|&(node, _)| learner.wants(network.output_of(node))) {
            let inputs = &network.nodes()[step.from].inputs;
            let output = network.output_of(node);
            let y = &values[output.index()];
            let block = Block {
                inputs: inputs.iter().map(|value| &values[value.index()][..]).collect(),
                parameters: pass.parameters(step.from..=node),
                samples: pass.samples,
                mode: pass.learner.mode(node, pass.first_sample),
                of_batch: pass.of_batch(node),
            };
            let dy = gradients.take(output);
            let mut taken: SmallVec<[Buffer; 4]> = inputs.iter().map(|&value| gradients.take(value)).collect();
            {
                let places = taken.iter_mut().zip(&step.first).zip(inputs);
                let mut to_inputs: SmallVec<[_; 4]> = places
                    .map(|((dx, &first), &value)| {
                        learner.wants(value).then(|| (&mut dx[..values[value.index()].len()], first))
                    })
                    .collect();
                let mut to_parameters = parts(sums, &step.parameters);
                let is_due = (step.from..=node).any(|node| learner.is_due(node));
                let mut slopes = Slopes { inputs: &mut to_inputs, parameters: &mut to_parameters, is_due, fresh };
                step.kernel.backward(&block, (y, &dy[..y.len()]), &mut slopes, scratch);
            }
            for (&value, dx) in inputs.iter().zip(taken) {
                gradients.put(value, dx);
            }
            gradients.put(output, dy);
        }
    }
}

/// A vector of samples under way.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) learner: &'a Learner,
    pub(super) parameters: &'a [Vec<Vec<f32>>],
    pub(super) samples: usize,
    pub(super) first_sample: usize,
    /// By node: what a batch norm's input shows in the whole batch; empty where there is no batch norm at all.
    pub(super) of_batch: &'a [Vec<Moments>],
}

impl<'a> Pass<'a> {
    fn parameters(&self, nodes: RangeInclusive<usize>) -> SmallVec<[&'a [f32]; 4]> {
        self.parameters[nodes].iter().flatten().map(Vec::as_slice).collect()
    }

    fn of_batch(&self, node: usize) -> &'a [Moments] {
        self.of_batch.get(node).map_or(&[], Vec::as_slice)
    }
}

/// The parts of a slice that lie one after the other at these places.
fn parts<'a>(mut data: &'a mut [f32], places: &[(usize, usize)]) -> SmallVec<[&'a mut [f32]; 4]> {
    let mut at = 0;
    let part = |&(start, length): &(usize, usize)| {
        let (_, rest) = std::mem::take(&mut data).split_at_mut(start - at);
        let (part, rest) = rest.split_at_mut(length);
        (data, at) = (rest, start + length);
        part
    };
    places.iter().map(part).collect()
}

/// Both together.
pub(super) fn add(a: StepStats, b: StepStats) -> StepStats {
    StepStats { loss: a.loss + b.loss, correct: a.correct + b.correct, images: a.images + b.images }
}

/// Turns samples over into lanes, with zeros in those that are left.
pub(super) fn to_lanes(images: &[f32], samples: usize, lanes: &mut [f32], width: usize) {
    let elements = lanes.len() / width;
    if samples < width {
        lanes.fill(0.0);
    }
    // In squares, so that neither side's cache lines are fetched twice.
    for first in (0..elements).step_by(width) {
        let count = width.min(elements - first);
        for sample in 0..samples {
            let from = &images[sample * elements + first..][..count];
            for (i, &value) in from.iter().enumerate() {
                lanes[(first + i) * width + sample] = value;
            }
        }
    }
}
