//! Mean over each channel's plane.

use super::{Call, Gradients, Operation, image};
use crate::{Misfit, Shape};

/// Mean over each channel's plane.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, 1, 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalAvgPool;

fn plane(call: &Call<'_>) -> usize {
    call.inputs[0].shape[1] * call.inputs[0].shape[2]
}

impl Operation for GlobalAvgPool {
    fn kind(&self) -> &str {
        "GlobalAvgPool"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        Ok(Shape::from([c, 1, 1]))
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        for (mean, plane) in output.iter_mut().zip(call.inputs[0].data.chunks(plane(call))) {
            *mean = (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64) as f32;
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        for (dy, plane) in output_gradient.iter().zip(gradients.inputs[0].chunks_mut(plane(call))) {
            let share = dy / plane.len() as f32;
            plane.iter_mut().for_each(|g| *g += share);
        }
    }
}
