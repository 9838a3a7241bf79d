//! Logarithm of the softmax over channels.

use std::iter::StepBy;
use std::ops::Range;

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// The logarithm of [`Softmax`](super::Softmax), without taking the logarithm of what has become 0.
///
/// # Shapes
/// Input and output `[C, ..]`, of one or more axes.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSoftmax;

/// The places of each pixel's channels.
fn pixels(call: &Call<'_>) -> impl Iterator<Item = StepBy<Range<usize>>> + use<> {
    let shape = call.inputs[0].shape;
    let (channels, plane) = (shape[0], shape[1..].iter().product::<usize>());
    let starts = (0..call.batch).flat_map(move |n| (0..plane).map(move |p| n * channels * plane + p));
    starts.map(move |start| (start..start + channels * plane).step_by(plane))
}

impl Operation for LogSoftmax {
    fn kind(&self) -> &str {
        "LogSoftmax"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let input = only_input(inputs)?;
        if input.is_empty() { Err("takes shape [C, ..]".into()) } else { Ok(input.clone()) }
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(4)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        for places in pixels(call) {
            let largest = places.clone().map(|i| f64::from(input[i])).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = places.clone().map(|i| (f64::from(input[i]) - largest).exp()).sum();
            places.for_each(|i| output[i] = (f64::from(input[i]) - largest - sum.ln()) as f32);
        }
    }

    fn backward(&self, call: &Call<'_>, output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        for places in pixels(call) {
            let sum: f64 = places.clone().map(|i| f64::from(output_gradient[i])).sum();
            for i in places {
                let through_sum = f64::from(output[i]).exp() * sum;
                gradients.inputs[0][i] += (f64::from(output_gradient[i]) - through_sum) as f32;
            }
        }
    }
}
