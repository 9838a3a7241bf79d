//! Sum of equal shapes.

use super::{Call, Gradients, Operation};
use crate::{Misfit, Shape};

/// Sum of two or more inputs, element by element: the join of a residual block.
///
/// # Shapes
/// Inputs and output of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Add;

impl Operation for Add {
    fn kind(&self) -> &str {
        "Add"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|s| s == first) => Ok((*first).clone()),
            _ => Err("takes two or more inputs of one shape".into()),
        }
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (output.elements() as u64).saturating_mul(inputs.len() as u64 - 1)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        for (i, y) in output.iter_mut().enumerate() {
            *y = call.inputs.iter().map(|input| f64::from(input.data[i])).sum::<f64>() as f32;
        }
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        for gradient in &mut *gradients.inputs {
            gradient.iter_mut().zip(output_gradient).for_each(|(g, dy)| *g += dy);
        }
    }
}
