//! Image to vector.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// Reads an image as a vector; no value moves.
///
/// # Shapes
/// Input of any shape, output `[F]` with as many elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Flatten;

impl Operation for Flatten {
    fn kind(&self) -> &str {
        "Flatten"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        Ok(Shape::from([only_input(inputs)?.elements()]))
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.copy_from_slice(call.inputs[0].data);
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        gradients.inputs[0].iter_mut().zip(output_gradient).for_each(|(g, dy)| *g += dy);
    }
}
