//! Channels of several inputs one after the other.

use super::{Call, Gradients, Operation};
use crate::{Misfit, Shape};

/// The channels of two or more inputs one after the other.
///
/// # Shapes
/// Inputs `[C1, H, W]`, `[C2, H, W]`, .. (or `[F1]`, `[F2]`, ..), output `[C1 + C2 + .., H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat;

impl Operation for Concat {
    fn kind(&self) -> &str {
        "Concat"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [first, rest @ ..] if !rest.is_empty() && !first.is_empty() => {
                if rest.iter().any(|s| s.is_empty() || s[1..] != first[1..]) {
                    return Err("the inputs differ in more than their channels".into());
                }
                let mut shape = first.to_vec();
                shape[0] = inputs.iter().fold(0usize, |sum, s| sum.saturating_add(s[0]));
                Ok(Shape::from(shape))
            }
            _ => Err("takes two or more inputs".into()),
        }
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        for (n, sample) in output.chunks_mut(call.output_shape.elements()).enumerate() {
            let mut at = 0;
            for input in call.inputs {
                let length = input.shape.elements();
                sample[at..at + length].copy_from_slice(&input.data[n * length..(n + 1) * length]);
                at += length;
            }
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        for (n, sample) in output_gradient.chunks(call.output_shape.elements()).enumerate() {
            let mut at = 0;
            for (input, gradient) in call.inputs.iter().zip(&mut *gradients.inputs) {
                let length = input.shape.elements();
                let part = &mut gradient[n * length..(n + 1) * length];
                part.iter_mut().zip(&sample[at..at + length]).for_each(|(g, dy)| *g += dy);
                at += length;
            }
        }
    }
}
