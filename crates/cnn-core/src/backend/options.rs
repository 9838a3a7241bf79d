//! What a caller tells a backend, and what a backend tells of its device.

use crate::training::Optimizer;

/// The hardware behind a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Marketing name, such as `AMD EPYC`.
    pub name: String,
    /// What runs the work: the library, or the driver and its version.
    pub driver: String,
    /// Bytes of memory, 0 where unknown.
    pub memory: u64,
    /// Threads that work at the same time.
    pub threads: usize,
    /// What the device can do, such as `avx2`.
    pub features: Vec<String>,
}

impl DeviceInfo {
    /// A device of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        DeviceInfo { name: name.into(), threads: 1, ..Default::default() }
    }
}

/// What [`Backend::compile`](crate::Backend::compile) may decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileOptions {
    /// The batch that algorithms are chosen for. A session runs any batch.
    pub batch: usize,
    /// A row of the backend's table to be used wherever it accepts, such as `conv2d/direct` or `direct`.
    pub algorithm: Option<String>,
    /// Whether a layer that cannot have what was asked for is an error; else it is a `tracing` warning.
    pub strict: bool,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions { batch: 1, algorithm: None, strict: false }
    }
}

impl CompileOptions {
    /// Chooses algorithms for this batch.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Uses this row of the backend's table wherever it accepts.
    pub fn algorithm(mut self, name: impl Into<String>) -> Self {
        self.algorithm = Some(name.into());
        self
    }

    /// Makes an error of what would be a warning.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

/// How a network learns.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Recipe {
    /// How gradients change the weights.
    pub optimizer: Optimizer,
    /// Seed of everything that is drawn in a step, such as dropout.
    pub seed: u64,
}

impl Recipe {
    /// Learns with this optimiser.
    pub fn new(optimizer: Optimizer) -> Self {
        Recipe { optimizer, seed: 0 }
    }

    /// Sets the seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
