//! The operations of the CPU backend: a table of rows for convolution, vector kernels for the layers around it, the
//! plain loops for the rest.

pub mod concat;
pub mod conv2d;
pub mod convert;
pub mod elementwise;
pub mod linear;
pub mod plain;
pub mod pool;

use cnn_core::backend::Ceilings;
use cnn_core::layers::Activation;
use cnn_core::lowering::{self, Layout};
use cnn_core::{Layer, Shape};

use crate::machine::Machine;
use crate::threads::Workers;

/// A step with its algorithm chosen and its weights packed.
pub trait Kernel: Send + Sync {
    /// Writes every element of the output.
    fn run(&self, io: Io<'_>, workers: Workers<'_>);

    /// Bytes of packed weights.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Floats that each thread needs to work in.
    fn scratch_length(&self) -> usize {
        0
    }

    /// Floats that so many threads share while they work on a batch.
    fn workspace_length(&self, _batch: usize, _threads: usize) -> usize {
        0
    }

    /// Whether it only copies each input, of a batch of one, behind the one before.
    fn joins(&self) -> bool {
        false
    }
}

/// What a step has to do at least, in its algorithm's own way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Multiply-adds, idle lanes included.
    pub macs: f64,
    /// Bytes that come from memory once: weights.
    pub weight_bytes: f64,
    /// Bytes that pass through the caches on the way: transforms and copies.
    pub moved_bytes: f64,
}

impl Work {
    /// The seconds that it takes a machine with these ceilings. Reading weights hides behind multiplying, or the other way
    /// round, by about half; what passes through the caches does so a little faster than from memory (measured: 1.3 to 2
    /// times).
    pub fn seconds(&self, ceilings: Ceilings) -> f64 {
        let multiplying = self.macs / ceilings.macs_per_second;
        let reading = self.weight_bytes / ceilings.bytes_per_second;
        let moving = self.moved_bytes / (1.5 * ceilings.bytes_per_second);
        multiplying.max(reading) + 0.5 * multiplying.min(reading) + moving
    }
}

/// A kernel and the layouts that it reads and writes.
pub type Prepared = lowering::Prepared<Box<dyn Kernel>>;

/// A batch of a step's inputs and output.
#[derive(Debug)]
pub struct Io<'a> {
    /// Samples.
    pub batch: usize,
    /// The inputs, in the layer's order, then a residual, which lies as the output does.
    pub inputs: &'a [&'a [f32]],
    /// The output.
    pub output: &'a mut [f32],
    /// What all threads share; its content is whatever was left there.
    pub workspace: &'a mut [f32],
}

/// The kernel of a layer without parameters that has one for this layout, with its name.
pub fn prepare(
    layer: &Layer,
    inputs: &[&Shape],
    (layout, activation): (Layout, Option<Activation>),
    machine: &Machine,
) -> Option<(Prepared, &'static str)> {
    match (layer, layout) {
        (Layer::Add(_) | Layer::Activation(_), _) => {
            let kernel = elementwise::Elementwise::new(layer, machine).with(activation);
            Some((Prepared::alike(Box::new(kernel), layout), elementwise::NAME))
        }
        (Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool(_), Layout::Blocked { .. }) => {
            let kernel = pool::prepare(layer, inputs[0], machine)?;
            Some((Prepared::alike(kernel, layout), pool::NAME))
        }
        (Layer::Concat(_), Layout::Blocked { lanes }) => {
            let kernel = concat::Concat::new(inputs, lanes)?;
            Some((Prepared::alike(Box::new(kernel), layout), concat::NAME))
        }
        _ => None,
    }
}

/// Names of the rows that a caller may ask for.
pub fn algorithm_names() -> Vec<String> {
    let conv = conv2d::TABLE.iter().map(|row| format!("conv2d/{}", row.name()));
    conv.chain([conv2d::flattened::NAME, linear::NAME].map(String::from)).collect()
}
