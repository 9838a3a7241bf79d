//! The operations of the CPU backend: a table of rows for each layer that has any, the plain loops for the rest.

pub mod conv2d;
pub mod linear;
pub mod plain;

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
}

/// A batch of a step's inputs and output.
#[derive(Debug)]
pub struct Io<'a> {
    /// Samples.
    pub batch: usize,
    /// The inputs, in the layer's order.
    pub inputs: &'a [&'a [f32]],
    /// The output.
    pub output: &'a mut [f32],
}

/// Names of the rows that a caller may ask for.
pub fn algorithm_names() -> Vec<String> {
    let conv = conv2d::TABLE.iter().map(|row| format!("conv2d/{}", row.name()));
    conv.chain([linear::NAME.to_string()]).collect()
}
