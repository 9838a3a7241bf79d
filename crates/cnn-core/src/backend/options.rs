//! What a caller tells a backend, and what a backend tells of its device.

use std::num::NonZeroUsize;

use crate::training::{Clip, Optimizer, Partial};
use crate::{Error, Result};

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

/// The most that a device does, as measured.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Ceilings {
    /// Multiply-adds of `f32` a second.
    pub macs_per_second: f64,
    /// Bytes read from memory a second.
    pub bytes_per_second: f64,
}

impl Ceilings {
    /// The seconds that so many multiply-adds and bytes take at least: the roofline (Williams et al. 2009).
    pub fn seconds(&self, macs: u64, bytes: u64) -> f64 {
        (macs as f64 / self.macs_per_second).max(bytes as f64 / self.bytes_per_second)
    }
}

/// What [`Backend::compile`](crate::Backend::compile) may decide by.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompileOptions {
    /// The batch that algorithms are chosen for. A session runs any batch.
    pub batch: usize,
    /// A row of the backend's table to be used wherever it accepts, such as `conv2d/direct` or `direct`.
    pub algorithm: Option<String>,
    /// The largest relative root-mean-square error that a layer's algorithm may add to its output. Algorithms that
    /// transform their operands are checked against it with the layer's own weights.
    pub tolerance: f32,
    /// Whether candidates are timed on the device; else the choice rests on a model of it.
    pub timed: bool,
    /// What fully connected layers' weights are stored as.
    pub linear_weights: Precision,
    /// What values between layers and the weights of convolutions and fully connected layers are stored as.
    pub values: Precision,
    /// What is computed with; half precision works on values and weights stored alike.
    pub arithmetic: Precision,
    /// Whether a layer that cannot have what was asked for is an error; else it is a `tracing` warning.
    pub strict: bool,
}

/// What numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// `f32`.
    #[default]
    Single,
    /// IEEE half precision, rounded to nearest: half the memory. A number above 6e-5 is off by at most 1 part in 2,048.
    /// What has weights beyond 65,504 stays in single precision, with a warning.
    Half,
}

impl Precision {
    /// The largest number of half precision.
    pub const LARGEST_HALF: f32 = 65504.0;

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Precision::Single => 4,
            Precision::Half => 2,
        }
    }
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            batch: 1,
            algorithm: None,
            tolerance: 1e-5,
            timed: false,
            linear_weights: Precision::Single,
            values: Precision::Single,
            arithmetic: Precision::Single,
            strict: false,
        }
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

    /// Sets the error that an algorithm may add to a layer's output, relative to the output's root mean square.
    pub fn tolerance(mut self, relative_rms: f32) -> Self {
        self.tolerance = relative_rms;
        self
    }

    /// Times the candidates for each layer while compiling and takes the fastest.
    pub fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Stores fully connected layers' weights in this precision.
    pub fn linear_weights(mut self, precision: Precision) -> Self {
        self.linear_weights = precision;
        self
    }

    /// Stores the values between layers, and the weights of convolutions and fully connected layers, in this precision. Half
    /// precision is known to `ocl`; values beyond 65,504 become infinite.
    pub fn values(mut self, precision: Precision) -> Self {
        self.values = precision;
        self
    }

    /// Computes in this precision. Half precision stores values alike; where the device does not have it, or fails a test
    /// of it, arithmetic stays single, with a warning.
    pub fn arithmetic(mut self, precision: Precision) -> Self {
        self.arithmetic = precision;
        self
    }

    /// For backends whose values are single: an error where halves are asked for and the options are strict, else a
    /// warning.
    pub fn check_single(&self, backend: &str) -> Result<()> {
        match [self.values, self.arithmetic] {
            [Precision::Single, Precision::Single] => Ok(()),
            _ => self.cannot(backend, "it knows no values in half precision".to_string(), "they stay single"),
        }
    }

    /// That a wish cannot be had, for this reason: an error where the options are strict, else a warning with what is done
    /// instead.
    pub fn cannot(&self, backend: &str, reason: String, instead: &str) -> Result<()> {
        if self.strict {
            return Err(Error::Backend { backend: backend.to_string(), reason });
        }
        tracing::warn!("{backend}: {reason}; {instead}");
        Ok(())
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
    /// A bound on gradients.
    pub clip: Option<Clip>,
    /// Which part of the layers learns at a step; all where nothing is said.
    pub partial: Option<Partial>,
    /// Samples of an update where [`Trainer::step`](crate::Trainer::step) is to make asynchronous ones: threads take so many
    /// of the batch at a time and change the weights that they share without locks and without waiting for one another
    /// (HOGWILD!, Niu et al. 2011). Of what two of them write at the same time one is lost, so on more than one thread
    /// this is **not deterministic**, alone of all that a recipe can ask for.
    pub asynchronous: Option<NonZeroUsize>,
    /// Seed of everything that is drawn in a step, such as dropout and the layers that learn.
    pub seed: u64,
}

impl Recipe {
    /// Learns with this optimiser.
    pub fn new(optimizer: Optimizer) -> Self {
        Recipe { optimizer, ..Recipe::default() }
    }

    /// Bounds gradients.
    pub fn clip(mut self, clip: impl Into<Option<Clip>>) -> Self {
        self.clip = clip.into();
        self
    }

    /// Learns a part of the layers at each step.
    pub fn partial(mut self, partial: impl Into<Option<Partial>>) -> Self {
        self.partial = partial.into();
        self
    }

    /// Makes asynchronous updates, each of so many samples: not deterministic on more than one thread.
    pub fn asynchronous(mut self, samples: impl Into<Option<NonZeroUsize>>) -> Self {
        self.asynchronous = samples.into();
        self
    }

    /// Sets the seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
