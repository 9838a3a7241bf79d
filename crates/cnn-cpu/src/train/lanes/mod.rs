//! Training with a sample in each lane: a vector of samples goes forward and backward through the whole network on one
//! thread, whose caches hold its values, with gradients of its own; then the gradients are added in a fixed order. One
//! phase of work a step instead of several a layer, and no lane idle whatever the number of channels. For small networks:
//! where values or weights leave the caches, layers spread over the threads do better.

pub(super) mod convolution;
mod correlation;
mod kernels;
mod outer;
mod plain;
mod pool;
mod relu;
mod sums;

use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::backend::{GradientSink, Recipe, StepStats, Trainer};
use cnn_core::training::{Learner, Part, Rule, softmax_cross_entropy};
use cnn_core::{Network, Result, Tensor, ValueId, Weights};
use smallvec::SmallVec;

use kernels::{Block, LaneKernel, Slopes, kernel};

use crate::machine::Machine;
use crate::memory::Buffer;
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::{Crew, Workers, enter};

/// Groups of vectors of samples, whose gradients are added in order: results do not depend on the number of threads, of
/// which no more than this have work.
const GROUPS: usize = 16;

/// A node with its kernel.
struct Step {
    kernel: Box<dyn LaneKernel>,
    /// For each input, whether its gradient is wanted, and whether this node is the first to reach it on the way back.
    wanted: Vec<(bool, bool)>,
    /// Where the gradients of its parameters lie in a group's, and their lengths.
    parameters: Vec<(usize, usize)>,
}

/// What one thread works in: a vector of samples of every value and its gradient.
struct Workspace {
    values: Vec<Buffer>,
    gradients: Vec<Buffer>,
    scratch: Buffer,
}

pub(super) struct LaneTrainer {
    learner: Learner,
    instructions: Instructions,
    lanes: usize,
    steps: Vec<Step>,
    flops: u64,
    workspaces: Vec<Mutex<Workspace>>,
    /// `[group][parameters]`.
    groups: Buffer,
    /// Floats of all parameters.
    parameters: usize,
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
        // The loss reaches its value first; what nothing reaches keeps the zeros that it has from the start.
        let mut reached = vec![false; network.value_count()];
        reached[learner.logits.index()] = true;
        let mut parameters = 0;
        let mut steps = Vec::new();
        for node in 0..learner.depth {
            let kernel = kernel(network, node, &machine).map_err(|misfit| network.layer_error(node, misfit))?;
            let mut place = |length: usize| {
                parameters += length;
                (parameters - length, length)
            };
            let parameters = learner.learned[node].iter().map(|l| place(l.length())).collect();
            steps.push(Step { kernel, wanted: Vec::new(), parameters });
        }
        for (node, step) in network.nodes().iter().zip(&mut steps).rev() {
            let mut first = |value: usize| !std::mem::replace(&mut reached[value], true);
            // Nobody asks for the gradient of the images.
            step.wanted = node.inputs.iter().map(|value| (value.index() > 0, first(value.index()))).collect();
        }
        let shapes = network.nodes()[..learner.depth].iter().enumerate();
        let flops = shapes.map(|(node, _)| network.flops_of(node)).fold(0, u64::saturating_add);
        let (threads, lanes) = (pool.current_num_threads(), machine.instructions().lanes());
        let workspaces = (0..threads).map(|_| Mutex::new(Workspace::new(network, lanes, &steps))).collect();
        Ok(LaneTrainer {
            learner,
            instructions: machine.instructions(),
            lanes,
            steps,
            // Forward once, backward twice.
            flops: flops.saturating_mul(3),
            workspaces,
            groups: Buffer::zeroed(0),
            parameters,
            crew: Crew::new(threads, 0),
            pool,
        })
    }

    /// Gradients of some of the samples, written to a group's.
    fn group(
        &self,
        (images, labels, batch): (&[f32], &[u32], usize),
        first: usize,
        sums: &mut [f32],
    ) -> Result<StepStats> {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.workspaces.len();
        let mut workspace = self.workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner);
        let sample = images.len() / labels.len();
        let blocks = images.chunks(self.lanes * sample).zip(labels.chunks(self.lanes));
        let mut stats = StepStats::default();
        for (block, (images, labels)) in blocks.enumerate() {
            to_lanes(images, labels.len(), &mut workspace.values[0], self.lanes);
            let first_sample = first + block * self.lanes;
            self.forward(&mut workspace, labels.len(), first_sample);
            stats = add(stats, self.loss(&mut workspace, labels, batch));
            if !stats.loss.is_finite() {
                let is_finite = |value: ValueId| workspace.values[value.index()].iter().all(|v| v.is_finite());
                return Err(self.learner.diverged(stats.loss, is_finite));
            }
            self.backward(&mut workspace, (labels.len(), first_sample), sums, block == 0);
        }
        Ok(stats)
    }

    fn forward(&self, workspace: &mut Workspace, samples: usize, first_sample: usize) {
        let network = &self.learner.network;
        let Workspace { values, scratch, .. } = workspace;
        for (node, step) in self.steps.iter().enumerate() {
            let place = network.output_of(node).index();
            let mut output = std::mem::take(&mut values[place]);
            let block = Block {
                inputs: network.nodes()[node].inputs.iter().map(|value| &values[value.index()][..]).collect(),
                parameters: &self.learner.values[node],
                samples,
                mode: self.learner.mode(node, first_sample),
            };
            step.kernel.forward(&block, &mut output, scratch);
            drop(block);
            values[place] = output;
        }
    }

    /// The loss of a vector of samples, and its gradient.
    fn loss(&self, workspace: &mut Workspace, labels: &[u32], batch: usize) -> StepStats {
        let place = self.learner.logits.index();
        let (logits, gradient) = (&workspace.values[place], &mut workspace.gradients[place]);
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

    fn backward(
        &self,
        workspace: &mut Workspace,
        (samples, first_sample): (usize, usize),
        sums: &mut [f32],
        fresh: bool,
    ) {
        let network = &self.learner.network;
        let Workspace { values, gradients, scratch } = workspace;
        for (node, step) in self.steps.iter().enumerate().rev() {
            let inputs = &network.nodes()[node].inputs;
            let place = network.output_of(node).index();
            let block = Block {
                inputs: inputs.iter().map(|value| &values[value.index()][..]).collect(),
                parameters: &self.learner.values[node],
                samples,
                mode: self.learner.mode(node, first_sample),
            };
            let dy = std::mem::take(&mut gradients[place]);
            let mut taken: SmallVec<[Buffer; 4]> =
                inputs.iter().map(|value| std::mem::take(&mut gradients[value.index()])).collect();
            {
                let wanted = taken.iter_mut().zip(&step.wanted);
                let mut to_inputs: SmallVec<[_; 4]> =
                    wanted.map(|(dx, &(wanted, first))| wanted.then_some((&mut dx[..], first))).collect();
                let mut to_parameters = parts(sums, &step.parameters);
                let mut slopes = Slopes { inputs: &mut to_inputs, parameters: &mut to_parameters, fresh };
                step.kernel.backward(&block, (&values[place], &dy), &mut slopes, scratch);
            }
            for (value, dx) in inputs.iter().zip(taken) {
                gradients[value.index()] = dx;
            }
            gradients[place] = dy;
        }
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

fn add(a: StepStats, b: StepStats) -> StepStats {
    StepStats { loss: a.loss + b.loss, correct: a.correct + b.correct, images: a.images + b.images }
}

/// Turns samples over into lanes, with zeros in those that are left.
fn to_lanes(images: &[f32], samples: usize, lanes: &mut [f32], width: usize) {
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

impl Workspace {
    fn new(network: &Network, lanes: usize, steps: &[Step]) -> Self {
        let buffers = || network.values().map(|value| Buffer::zeroed(network.shape(value).elements() * lanes));
        let scratch = steps.iter().map(|step| step.kernel.scratch_length()).max().unwrap_or(0);
        Workspace { values: buffers().collect(), gradients: buffers().collect(), scratch: Buffer::zeroed(scratch) }
    }
}

impl Trainer for LaneTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        let (batch, data) = self.learner.network.check_input(images)?;
        self.learner.network.check_labels(labels, batch)?;
        let blocks = batch.div_ceil(self.lanes);
        let groups = blocks.min(GROUPS);
        let mut sums = std::mem::take(&mut self.groups);
        if sums.len() < groups * self.parameters {
            sums = Buffer::zeroed(groups * self.parameters);
        }
        let all = &mut sums[..groups * self.parameters];
        let stats: Vec<Mutex<Result<StepStats>>> = (0..groups).map(|_| Mutex::new(Ok(StepStats::default()))).collect();
        let sample = data.len() / batch;
        let begin = |group: usize| (group * blocks / groups * self.lanes).min(batch);
        let this = &*self;
        let group = |group: usize, sums: &mut [f32]| {
            let (first, end) = (begin(group), begin(group + 1));
            let part = (&data[first * sample..end * sample], &labels[first..end], batch);
            *stats[group].lock().unwrap_or_else(PoisonError::into_inner) = this.group(part, first, sums);
        };
        enter(&self.pool, &self.crew, self.flops.saturating_mul(batch as u64), |workers| {
            workers.for_each_chunk(all, this.parameters, group);
            add_groups(all, this.parameters, workers);
        });
        self.groups = sums;
        let stats = stats.into_iter().map(|stats| stats.into_inner().unwrap_or_else(PoisonError::into_inner));
        let stats = stats.collect::<Result<Vec<_>>>()?.into_iter().fold(StepStats::default(), add);
        for (step, learned) in self.steps.iter().zip(&self.learner.learned).rev() {
            for (&(start, length), l) in step.parameters.iter().zip(learned).filter(|(_, l)| l.is_learned()) {
                ready.ready(&l.parameter.name, &mut self.groups[start..start + length])?;
            }
        }
        Ok(stats)
    }

    fn method(&self) -> String {
        format!("a sample in each of {} lanes", self.lanes)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        /// Numbers that one piece of work changes.
        const PIECE: usize = 8192;
        let LaneTrainer { learner, steps, groups, .. } = self;
        let groups = &groups[..];
        let gradient = |node: usize, place: usize| {
            let (start, length) = steps[node].parameters[place];
            &groups[start..start + length]
        };
        let (rule, parts) = learner.begin_update(learning_rate, PIECE, gradient);
        let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
        let instructions = self.instructions;
        // Reads and writes, at what a hundred operations cost.
        enter(&self.pool, &self.crew, 100 * self.parameters as u64, |workers| {
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

/// Adds the gradients of all groups to the first one's, in order.
fn add_groups(groups: &mut [f32], length: usize, workers: Workers<'_>) {
    const PIECE: usize = 4096;
    if length == 0 {
        return;
    }
    let (first, others) = groups.split_at_mut(length);
    let others = &*others;
    workers.for_each_chunk(first, PIECE, |piece, sums| {
        for group in others.chunks_exact(length) {
            sums.iter_mut().zip(&group[piece * PIECE..]).for_each(|(sum, value)| *sum += value);
        }
    });
}
