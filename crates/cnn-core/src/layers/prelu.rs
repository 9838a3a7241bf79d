//! Leaky ReLU with learned slopes (He et al. 2015, section 2.1).

use super::{Call, Gradients, Init, Operation, Parameter, only_input};
use crate::{Misfit, Shape};

/// `x`, or `weight * x` below 0, with one learned slope a channel or one for all.
///
/// # Shapes
/// Input and output `[C, H, W]` or `[F]`. Parameter: `weight` `[C]` or `[1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Prelu {
    /// Whether each channel has its own slope.
    pub per_channel: bool,
}

impl Prelu {
    /// The slope's index for each flat index of the batch.
    fn slope(&self, shape: &Shape) -> impl Fn(usize) -> usize + use<> {
        let (channels, plane) = (shape[0], shape[1..].iter().product::<usize>());
        let slopes = if self.per_channel { channels } else { 1 };
        move |i| i / plane % channels % slopes
    }
}

impl Operation for Prelu {
    fn kind(&self) -> &str {
        "Prelu"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let input = only_input(inputs)?;
        input.channels_and_plane().map(|_| input.clone()).ok_or("takes shape [C, H, W] or [F]".into())
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        let slopes = if self.per_channel { inputs[0][0] } else { 1 };
        vec![Parameter::learned("weight", [slopes], Init::Constant(0.25))]
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (slope, input) = (self.slope(call.inputs[0].shape), call.inputs[0].data);
        for (i, y) in output.iter_mut().enumerate() {
            *y = if input[i] < 0.0 { call.parameters[0][slope(i)] * input[i] } else { input[i] };
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (slope, input) = (self.slope(call.inputs[0].shape), call.inputs[0].data);
        let mut sums = vec![0f64; call.parameters[0].len()];
        for (i, &dy) in output_gradient.iter().enumerate() {
            let negative = input[i] <= 0.0;
            gradients.inputs[0][i] += if negative { dy * call.parameters[0][slope(i)] } else { dy };
            if negative {
                sums[slope(i)] += f64::from(dy) * f64::from(input[i]);
            }
        }
        gradients.parameters[0].iter_mut().zip(sums).for_each(|(g, sum)| *g += sum as f32);
    }
}
