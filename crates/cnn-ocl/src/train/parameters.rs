//! The weights on the device, their gradients and what the optimiser remembers: each in one piece of memory, so that a step over all
//! of them is one launch.

use std::sync::Arc;

use cnn_core::training::{Clip, Learner, Moment, Optimizer};
use cnn_core::{Result, Weights};
use opencl3::command_queue::CommandQueue;

use crate::buffer::Buffer;
use crate::device::unavailable;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Floats2, Floats4, Int, Memory};
use crate::kernel::Launch;
use crate::launch::{self, Buffers, Ready};
use crate::program::Source;

const SOURCE: Source = Source { name: "train/update", text: include_str!("update.cl") };

/// Floats that memory for vectors is a multiple of.
const ALIGNMENT: usize = 64;

/// Arguments of `update` that are others in every step.
const RATE: u32 = 7;
const CORRECTIONS: u32 = 8;
const SHRINK: u32 = 9;
/// The argument of `multiply` that is.
const FACTOR: u32 = 2;

/// Fields are dropped in their order: launches before the memory that they use.
pub(super) struct Parameters {
    /// What finds out how gradients are clipped, and the optimiser's step.
    clip: Vec<Ready>,
    multiply: Ready,
    update: Ready,
    _bounds: [Arc<Buffer>; 2],
    /// By node and place: where a parameter begins. Those that are learned come first.
    offsets: Vec<Vec<usize>>,
    pub(super) weights: Arc<Buffer>,
    pub(super) gradient: Arc<Buffer>,
    slots: Vec<Arc<Buffer>>,
    length: usize,
    optimizer: Optimizer,
}

impl Parameters {
    pub(super) fn new(driver: &Driver, learner: &Learner) -> Result<Self> {
        let (mut offsets, mut length): (Vec<Vec<usize>>, usize) = (Vec::new(), 0);
        for learned in &learner.learned {
            offsets.push(vec![0; learned.len()]);
        }
        let mut learned_length = 0;
        for is_learned in [true, false] {
            for (node, learned) in learner.learned.iter().enumerate() {
                for (place, l) in learned.iter().enumerate().filter(|(_, l)| l.is_learned() == is_learned) {
                    offsets[node][place] = length;
                    length = length.saturating_add(l.parameter.shape.elements());
                }
            }
            length = length.next_multiple_of(ALIGNMENT);
            if is_learned {
                learned_length = length;
            }
        }
        let zeros = |what: &str, length: usize| Buffer::filled(driver, what, length, |out| out.fill(0.0)).map(Arc::new);
        let weights = Buffer::filled(driver, "the weights", length, |out| {
            out.fill(0.0);
            for (offsets, values) in offsets.iter().zip(&learner.values) {
                for (&offset, value) in offsets.iter().zip(values) {
                    out[offset..offset + value.len()].copy_from_slice(value);
                }
            }
        })?;
        let (weights, gradient) = (Arc::new(weights), zeros("the gradients", learned_length)?);
        let recipe = learner.recipe();
        let slots = recipe.optimizer.slots().iter().map(|slot| zeros(slot, learned_length));
        let slots = slots.collect::<Result<Vec<_>>>()?;
        let most = if let Some(Clip::Value(most)) = recipe.clip { most } else { f32::INFINITY };
        let bounds = Arc::new(Buffer::filled(driver, "bounds", 2, |out| out.copy_from_slice(&[1.0, most]))?);
        let found = zeros("sums of squares", SUMS)?;
        let clip = match recipe.clip {
            Some(Clip::Norm(most)) => clip(driver, [&gradient, &found, &bounds], learned_length, most)?,
            _ => Vec::new(),
        };
        let second = slots.last().unwrap_or(&gradient);
        let memory = [&weights, &gradient, slots.first().unwrap_or(&gradient), second, &bounds];
        let [multiply, update] = update(driver, recipe.optimizer, memory, learned_length)?;
        let optimizer = recipe.optimizer;
        let (length, _bounds) = (learned_length, [bounds, found]);
        Ok(Parameters { clip, multiply, update, _bounds, offsets, weights, gradient, slots, length, optimizer })
    }

    /// Where a parameter begins.
    pub(super) fn offset(&self, node: usize, place: usize) -> usize {
        self.offsets[node][place]
    }

    /// Multiplies all gradients.
    pub(super) fn scale_gradients(&mut self, queue: &CommandQueue, factor: f32) -> Result<()> {
        self.multiply.change(FACTOR, &Float(factor))?;
        self.multiply.enqueue(queue).map(drop)
    }

    /// The optimiser's step.
    pub(super) fn step(&mut self, queue: &CommandQueue, moment: Moment) -> Result<()> {
        let Moment { learning_rate, step, .. } = moment;
        let (mut corrections, mut shrink) = ([1.0; 2], 1.0);
        if let Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } = self.optimizer {
            corrections = [beta1, beta2].map(|beta| (1.0 / (1.0 - f64::from(beta).powf(step as f64))) as f32);
        }
        if let Optimizer::AdamW { weight_decay, .. } = self.optimizer {
            shrink = 1.0 - learning_rate * weight_decay;
        }
        self.update.change(RATE, &Float(learning_rate))?;
        self.update.change(CORRECTIONS, &Floats2(corrections))?;
        self.update.change(SHRINK, &Float(shrink))?;
        for launch in self.clip.iter().chain([&self.update]) {
            launch.enqueue(queue)?;
        }
        Ok(())
    }

    /// The weights as they are now.
    pub(super) fn read_weights(&self, queue: &CommandQueue, learner: &Learner) -> Result<Weights> {
        let all = read(queue, &self.weights)?;
        learner.weights_from(|node, place| {
            let (offset, length) = (self.offsets[node][place], learner.learned[node][place].parameter.shape.elements());
            all[offset..offset + length].to_vec()
        })
    }

    /// What the optimiser remembers.
    pub(super) fn read_state(&self, queue: &CommandQueue, learner: &Learner) -> Result<Weights> {
        let slots = self.slots.iter().map(|slot| read(queue, slot)).collect::<Result<Vec<_>>>()?;
        learner.state_from(|node, place, slot| {
            let (offset, length) = (self.offsets[node][place], learner.learned[node][place].length());
            slots[slot][offset..offset + length].to_vec()
        })
    }

    /// Takes up what the learner's slots hold.
    pub(super) fn write_state(&self, queue: &CommandQueue, learner: &Learner) -> Result<()> {
        let mut all = vec![0.0; self.length];
        for (i, slot) in self.slots.iter().enumerate() {
            for (offsets, learned) in self.offsets.iter().zip(&learner.learned) {
                for (&offset, l) in offsets.iter().zip(learned).filter(|(_, l)| l.is_learned()) {
                    all[offset..offset + l.length()].copy_from_slice(&l.slots[i]);
                }
            }
            launch::write_part(queue, &mut slot.share()?, 0, &all)?;
        }
        Ok(())
    }
}

fn read(queue: &CommandQueue, buffer: &Buffer) -> Result<Vec<f32>> {
    let mut all = vec![0.0; buffer.length()];
    launch::read(queue, buffer, &mut all)?;
    Ok(all)
}

/// Sums that the squares of gradients are added up in.
const SUMS: usize = 256;

/// The launches that find the norm of all gradients, and from it what they are multiplied by.
fn clip(driver: &Driver, [gradient, found, bounds]: [&Arc<Buffer>; 3], length: usize, most: f32) -> Result<Vec<Ready>> {
    let program = driver.program(SOURCE, &[("LANES", 1), ("OPTIMIZER", 0)])?;
    let squares = Launch::new(&program, "squares", [SUMS, 1, 1])
        .group(driver.tuning.line_group())
        .with([Memory(gradient.clone()), Memory(found.clone())])
        .ints([length, SUMS]);
    let bound = Launch::new(&program, "bound", [1, 1, 1]).with([
        Memory(found.clone()),
        Memory(bounds.clone()),
        Int(SUMS as i32),
        Float(most),
    ]);
    [squares, bound].iter().map(|launch| Ready::new(driver, launch, &Buffers::default())).collect()
}

/// The launches that multiply all gradients, and that make the optimiser's step.
fn update(driver: &Driver, optimizer: Optimizer, memory: [&Arc<Buffer>; 5], length: usize) -> Result<[Ready; 2]> {
    let (code, settings) = match optimizer {
        Optimizer::Sgd { momentum, weight_decay } => (0, [momentum, 0.0, 0.0, weight_decay]),
        Optimizer::Nesterov { momentum, weight_decay } => (1, [momentum, 0.0, 0.0, weight_decay]),
        Optimizer::AdaGrad { epsilon, weight_decay } => (2, [0.0, 0.0, epsilon, weight_decay]),
        Optimizer::RmsProp { decay, epsilon, weight_decay } => (3, [decay, 0.0, epsilon, weight_decay]),
        Optimizer::AdaDelta { decay, epsilon, weight_decay } => (4, [decay, 0.0, epsilon, weight_decay]),
        Optimizer::Adam { beta1, beta2, epsilon, weight_decay } => (5, [beta1, beta2, epsilon, weight_decay]),
        Optimizer::AdamW { beta1, beta2, epsilon, .. } => (5, [beta1, beta2, epsilon, 0.0]),
        other => return Err(unavailable(format!("the optimiser {} has no kernel", other.name()))),
    };
    let lanes = driver.tuning.lanes;
    let program = driver.program(SOURCE, &[("LANES", lanes as i64), ("OPTIMIZER", code)])?;
    let launch = |kernel| {
        let launch = Launch::new(&program, kernel, [length.div_ceil(lanes), 1, 1]);
        launch.group(driver.tuning.line_group())
    };
    let multiply = launch("multiply").with([Memory(memory[1].clone())]).ints([length]).with([Float(1.0)]);
    let update = launch("update").with(memory.map(|buffer| Memory(buffer.clone()))).ints([length]).with([
        Floats4(settings),
        Float(0.0),
        Floats2([1.0; 2]),
        Float(1.0),
    ]);
    Ok([Ready::new(driver, &multiply, &Buffers::default())?, Ready::new(driver, &update, &Buffers::default())?])
}
