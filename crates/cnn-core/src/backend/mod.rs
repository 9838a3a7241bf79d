//! What a backend is: an object that compiles a network into a plan, whose sessions run it.

mod options;
mod report;

use std::fmt::Debug;
use std::sync::Arc;

pub use options::{Ceilings, CompileOptions, DeviceInfo, Precision, Recipe};
pub use report::{Candidate, PlanReport, Profile, StepProfile, StepReport};

use crate::{Network, Result, Tensor, Weights};

/// A way to run networks, chosen at run time as an `Arc<dyn Backend>`: one of this library's, or a user's own.
pub trait Backend: Debug + Send + Sync {
    /// Short name, such as `cpu`.
    fn name(&self) -> &str;

    /// The hardware behind it.
    fn device(&self) -> &DeviceInfo;

    /// How fast the device is at most, measured at the first call; nothing where the backend cannot tell.
    fn ceilings(&self) -> Option<Ceilings> {
        None
    }

    /// Chooses algorithms, packs weights and plans memory, once.
    fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>>;

    /// Prepares a network for learning, from the given weights.
    fn compile_training(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>>;
}

/// A compiled network: immutable, shared between threads.
pub trait Plan: Send + Sync {
    /// A cheap object that runs the plan; one a thread.
    fn session(&self) -> Result<Box<dyn Session>>;

    /// What was chosen for each layer, who refused and why, and what it costs.
    fn report(&self) -> &PlanReport;
}

/// Runs a plan, in memory of its own. After the first run of a batch size it allocates only the output.
pub trait Session: Send {
    /// Runs a batch: `f32`, `[N, C, H, W]` for any N of at least 1.
    fn run(&mut self, input: &Tensor) -> Result<Tensor>;

    /// Runs a batch and times each step.
    fn profile(&mut self, input: &Tensor) -> Result<Profile>;
}

/// Learns on one device, one mini-batch at a time.
pub trait Trainer: Send {
    /// Forward, loss and backward over a batch; `ready` is told of each parameter's gradient as soon as it is final, and asked to
    /// settle it in the end; where the step learns a part of the layers ([`Recipe::partial`]), of that part's alone.
    /// The loss is the mean softmax cross-entropy, over the network's output where it does not end in a softmax and
    /// over that softmax's input where it does.
    fn gradients(&mut self, images: &Tensor, labels: &[u32], ready: &mut dyn GradientSink) -> Result<StepStats>;

    /// That the samples of the batches to come are the ones from number `first` of batches that workers share, so that layers draw
    /// for them what they would in the whole one. Where a trainer does not know this, all workers draw the same.
    fn count_samples_from(&mut self, _first: usize) {}

    /// A whole step: [`gradients`](Self::gradients), then [`update`](Self::update). Where the recipe asks for asynchronous
    /// updates, several of them, one for each part of the batch ([`Recipe::asynchronous`]); the loss is then the mean over the
    /// batch as it was learned from, `ready` must not listen, and after an error the weights are those of before.
    fn step(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        learning_rate: f32,
        ready: &mut dyn GradientSink,
    ) -> Result<StepStats> {
        let stats = self.gradients(images, labels, ready)?;
        self.update(learning_rate)?;
        Ok(stats)
    }

    /// Whether [`step_sharing`](Self::step_sharing) has time to give, which its threads would else spend waiting.
    fn shares_threads(&self) -> bool {
        false
    }

    /// A whole step as [`step`](Self::step) makes it for a sink that does not listen, and `piece` by `piece` the caller's own
    /// work, such as making the next batch, until `piece` says that nothing was left to do.
    fn step_sharing(
        &mut self,
        images: &Tensor,
        labels: &[u32],
        learning_rate: f32,
        piece: &(dyn Fn() -> bool + Sync),
    ) -> Result<StepStats> {
        let stats = self.step(images, labels, learning_rate, &mut KeepGradients)?;
        while piece() {}
        Ok(stats)
    }

    /// How it works on this network, in a few words for a reader.
    fn method(&self) -> String {
        "layer by layer".to_string()
    }

    /// Multiplies the gradients of the last batch, all of them, before [`update`](Self::update) bounds and uses them: for who knows
    /// more gradients than this trainer's when they are settled.
    fn scale_gradients(&mut self, factor: f32) -> Result<()>;

    /// The optimiser's step, from the gradients of the last batch.
    fn update(&mut self, learning_rate: f32) -> Result<()>;

    /// The weights as they are now.
    fn weights(&self) -> Result<Weights>;

    /// What the optimiser remembers, and the number of steps made: with the weights, all that a later
    /// [`restore`](Self::restore) needs to go on bit for bit.
    fn state(&self) -> Result<Weights>;

    /// Takes up a [`state`](Self::state).
    fn restore(&mut self, state: &Weights) -> Result<()>;
}

/// Is told as soon as a parameter's gradient is final, the last layer first, so that an exchange between workers can
/// overlap the rest of the backward pass; and asked for what came of it when that is over.
pub trait GradientSink: Send {
    /// The gradient of the parameter `name`.
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> Result<()>;

    /// Comes once for each parameter that [`ready`](Self::ready) was told of, in the same order, after the whole backward pass and before
    /// [`Trainer::gradients`] returns. `gradient` is as `ready` left it; what is left in it now is what [`Trainer::update`]
    /// uses, and what bounds on gradients are taken of.
    fn settle(&mut self, _name: &str, _gradient: &mut [f32]) -> Result<()> {
        Ok(())
    }

    /// Whether it looks at gradients. Where it does not, those of a device stay there and `ready` need not be called.
    fn is_listening(&self) -> bool {
        true
    }
}

/// Keeps every gradient as it is: training on one device.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepGradients;

impl GradientSink for KeepGradients {
    fn ready(&mut self, _name: &str, _gradient: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn is_listening(&self) -> bool {
        false
    }
}

/// What a batch showed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepStats {
    /// Mean loss.
    pub loss: f64,
    /// Samples whose label had the largest output.
    pub correct: usize,
    /// Samples.
    pub images: usize,
}
