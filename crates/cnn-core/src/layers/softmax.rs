//! Softmax over channels.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// Exponentials of the channels divided by their sum, at each pixel by itself.
///
/// # Shapes
/// Input and output `[F]` or `[C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax;

/// Flat index of channel 0 of each pixel, the channels, and the distance between them.
fn pixels(call: &Call<'_>) -> (impl Iterator<Item = usize> + use<>, usize, usize) {
    let shape = call.inputs[0].shape;
    let (channels, plane) = (shape[0], shape[1..].iter().product::<usize>());
    let starts = (0..call.batch).flat_map(move |n| (0..plane).map(move |p| n * channels * plane + p));
    (starts, channels, plane)
}

impl Operation for Softmax {
    fn kind(&self) -> &str {
        "Softmax"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let input = only_input(inputs)?;
        input.channels_and_plane().map(|_| input.clone()).ok_or("takes shape [C, H, W] or [F]".into())
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(4)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        let (starts, channels, stride) = pixels(call);
        for start in starts {
            let places = (0..channels).map(|c| start + c * stride);
            let largest = places.clone().map(|i| f64::from(input[i])).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = places.clone().map(|i| (f64::from(input[i]) - largest).exp()).sum();
            places.for_each(|i| output[i] = ((f64::from(input[i]) - largest).exp() / sum) as f32);
        }
    }

    fn backward(&self, call: &Call<'_>, output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (starts, channels, stride) = pixels(call);
        for start in starts {
            let places = (0..channels).map(|c| start + c * stride);
            let dot: f64 = places.clone().map(|i| f64::from(output[i]) * f64::from(output_gradient[i])).sum();
            for i in places {
                gradients.inputs[0][i] += (f64::from(output[i]) * (f64::from(output_gradient[i]) - dot)) as f32;
            }
        }
    }
}
