//! Training on the device: forward, loss, backward and the optimiser's step. A step takes images and labels there and brings the
//! losses back; weights, gradients and all values stay. Samples lie side by side, so that every kernel is a plain loop over
//! vectors of samples, whatever the number of channels.

mod channels;
mod correlation;
mod elementwise;
mod flattened;
mod graph;
mod host;
mod layer;
mod lines;
mod loss;
mod memory;
mod norm;
mod parameters;
mod place;
mod pointwise;
mod pool;
mod prelu;
mod steps;

use cnn_core::backend::{GradientSink, Recipe, StepStats, Trainer};
use cnn_core::training::Learner;
use cnn_core::{Error, Network, Result, Tensor, ValueId, Weights};
use opencl3::command_queue::CommandQueue;

use crate::driver::Driver;
use crate::format::Format;
use crate::launch;
use graph::Graph;
use memory::Memory;
use parameters::Parameters;
use place::Sides;
use steps::{Maker, Steps};

/// Trains a network on a device. Fields are dropped in their order: launches before the memory that they use.
pub(crate) struct OclTrainer {
    /// The last ones used, for the sizes of batches that come: a whole one and the last of an epoch.
    steps: Vec<Steps>,
    memory: Option<Memory>,
    parameters: Parameters,
    queue: CommandQueue,
    graph: Graph,
    learner: Learner,
    sides: Sides,
    driver: Driver,
}

/// A parameter's gradient, on the host.
struct Told {
    node: usize,
    place: usize,
    slope: Vec<f32>,
}

/// Sizes of batches whose launches are kept.
const SIZES: usize = 4;

impl OclTrainer {
    pub(crate) fn new(network: &Network, weights: &Weights, recipe: &Recipe, driver: &Driver) -> Result<Self> {
        if recipe.partial.is_some() || recipe.asynchronous.is_some() {
            let reason = "it makes no partial gradients and no asynchronous updates; cpu does".to_string();
            return Err(Error::Backend { backend: "ocl".to_string(), reason });
        }
        let driver = driver.with_format(Format::default());
        let mut learner = Learner::new(network, weights, recipe)?;
        let parameters = Parameters::new(&driver, &learner)?;
        // They are on the device from now on.
        learner.values = Vec::new();
        let sides = Sides::of(&driver);
        let graph = Graph::new(&learner, &driver, sides);
        let queue = launch::queue(&driver.context, false)?;
        Ok(OclTrainer { steps: Vec::new(), memory: None, parameters, queue, graph, learner, sides, driver })
    }

    /// Launches for this batch, with memory to run in.
    fn prepare(&mut self, batch: usize) -> Result<()> {
        let groups = self.sides.groups(batch);
        if self.memory.as_ref().is_none_or(|memory| memory.groups < groups) {
            // Not two of them at a time.
            self.forget();
            self.memory = Some(Memory::new(&self.driver, &self.learner, &self.graph, self.sides, groups)?);
        }
        let kept = self.steps.iter().position(|steps| steps.batch == batch);
        let steps = match kept {
            Some(place) => self.steps.remove(place),
            None => self.maker().steps(batch)?,
        };
        self.steps.truncate(SIZES - 1);
        self.steps.insert(0, steps);
        Ok(())
    }

    fn forget(&mut self) {
        self.steps.clear();
        self.memory = None;
    }

    fn maker(&self) -> Maker<'_> {
        let memory = self.memory.as_ref().expect("made before launches are");
        let OclTrainer { driver, learner, graph, parameters, .. } = self;
        Maker { driver, sides: self.sides, learner, graph, memory, parameters }
    }

    fn run(
        &mut self,
        (batch, data): (usize, &[f32]),
        labels: &[u32],
        ready: &mut dyn GradientSink,
    ) -> Result<StepStats> {
        self.prepare(batch)?;
        // Out of the trainer while they run, so that the host can look at the rest of it.
        let mut steps = self.steps.remove(0);
        let result = self.pass(&mut steps, data, labels, ready);
        self.steps.insert(0, steps);
        result
    }

    fn pass(
        &mut self,
        steps: &mut Steps,
        data: &[f32],
        labels: &[u32],
        ready: &mut dyn GradientSink,
    ) -> Result<StepStats> {
        let batch = steps.batch;
        let memory = self.memory.as_mut().expect("prepared");
        launch::write(&self.queue, &mut memory.images, data)?;
        launch::write(&self.queue, &mut memory.labels.share()?, bytemuck::cast_slice(labels))?;
        steps.turn.enqueue(&self.queue)?;
        for pass in &mut steps.forward {
            pass.enqueue(&self.queue, &self.learner)?;
            if pass.on_host {
                host::forward(&self.maker().site(pass.node, batch, None), &self.queue)?;
            }
        }
        steps.loss.enqueue(&self.queue)?;
        // Who looks at gradients sees none of a loss that is no number.
        let is_listening = ready.is_listening();
        let stats = if is_listening { Some(self.stats(batch)?) } else { None };
        let mut told = Vec::new();
        let mut passes = steps.backward.iter_mut().peekable();
        for node in (0..self.learner.depth).rev() {
            if let Some(pass) = passes.next_if(|pass| pass.node == node) {
                pass.enqueue(&self.queue, &self.learner)?;
                if pass.on_host {
                    let backward = self.graph.backward[node].as_ref();
                    host::backward(&self.maker().site(node, batch, backward), &self.queue)?;
                }
            }
            if is_listening {
                self.tell(node, ready, &mut told)?;
            }
        }
        self.settle(told, ready)?;
        match stats {
            Some(stats) => Ok(stats),
            None => self.stats(batch),
        }
    }

    /// Shows the gradients of a node's parameters, which go to `told` as they are left.
    fn tell(&self, node: usize, ready: &mut dyn GradientSink, told: &mut Vec<Told>) -> Result<()> {
        for (place, l) in self.learner.learned[node].iter().enumerate().filter(|(_, l)| l.is_learned()) {
            let (mut slope, offset) = (vec![0.0; l.length()], self.parameters.offset(node, place));
            launch::read_part(&self.queue, &self.parameters.gradient, offset, &mut slope)?;
            ready.ready(&l.parameter.name, &mut slope)?;
            told.push(Told { node, place, slope });
        }
        Ok(())
    }

    /// Asks what came of gradients, and takes them back to the device.
    fn settle(&self, told: Vec<Told>, ready: &mut dyn GradientSink) -> Result<()> {
        for Told { node, place, mut slope } in told {
            ready.settle(&self.learner.learned[node][place].parameter.name, &mut slope)?;
            let offset = self.parameters.offset(node, place);
            launch::write_part(&self.queue, &mut self.parameters.gradient.share()?, offset, &slope)?;
        }
        Ok(())
    }

    /// What the batch showed. Errors where the loss is no number.
    fn stats(&self, batch: usize) -> Result<StepStats> {
        let memory = self.memory.as_ref().expect("prepared");
        let mut found = vec![0.0; 2 * batch];
        launch::read(&self.queue, &memory.found, &mut found)?;
        let sum: f64 = found.iter().step_by(2).map(|&loss| f64::from(loss)).sum();
        let right = found.iter().skip(1).step_by(2).filter(|&&right| right > 0.0).count();
        let stats = StepStats { loss: sum / batch as f64, correct: right, images: batch };
        if stats.loss.is_finite() {
            return Ok(stats);
        }
        let is_finite = |value: ValueId| {
            let held = memory.value(&self.learner, &self.graph, value);
            let mut all = vec![0.0; self.sides.groups(batch) * held.place.group() * self.sides.samples];
            launch::read(&self.queue, &held.buffer, &mut all).is_ok() && all.iter().all(|v| v.is_finite())
        };
        Err(self.learner.diverged(stats.loss, is_finite))
    }
}

impl Trainer for OclTrainer {
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats> {
        let (batch, data) = self.learner.network.check_input(images)?;
        self.learner.network.check_labels(labels, batch)?;
        let result = self.run((batch, data), labels, ready);
        if result.is_err() {
            // The next batch starts afresh. What the device says now adds nothing to the error.
            let _ = self.queue.finish();
            self.forget();
        }
        result
    }

    fn count_samples_from(&mut self, first: usize) {
        self.learner.count_samples_from(first);
    }

    fn method(&self) -> String {
        let mut method = format!("samples side by side on the device, {} in a group", self.sides.samples);
        let (pairs, pointwise) = (self.graph.pairs.iter().flatten(), self.graph.pointwise.iter().flatten());
        let counts = [
            ("vertical and horizontal filter in one launch", pairs.count()),
            ("1x1 by copied pixels", pointwise.count()),
        ];
        for (what, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            method.push_str(&format!("; {what}: {count}"));
        }
        method
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<()> {
        self.parameters.scale_gradients(&self.queue, factor)
    }

    fn update(&mut self, learning_rate: f32) -> Result<()> {
        let moment = self.learner.begin_step(learning_rate);
        self.parameters.step(&self.queue, moment)
    }

    fn weights(&self) -> Result<Weights> {
        self.parameters.read_weights(&self.queue, &self.learner)
    }

    fn state(&self) -> Result<Weights> {
        self.parameters.read_state(&self.queue, &self.learner)
    }

    fn restore(&mut self, state: &Weights) -> Result<()> {
        self.learner.restore(state)?;
        self.parameters.write_state(&self.queue, &self.learner)
    }
}
