//! Fully connected layer.

use super::{Call, Gradients, Init, Operation, Parameter, only_input};
use crate::{Misfit, Shape};

/// Fully connected: `y = W x + b`.
///
/// # Shapes
/// Input `[F]`, output `[out_features]`. Parameters: `weight` `[out_features, F]` and, where there is one, `bias`
/// `[out_features]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Length of the output.
    pub out_features: usize,
    /// Whether each output has an offset.
    pub bias: bool,
}

impl Linear {
    /// A fully connected layer with a bias.
    pub fn new(out_features: usize) -> Self {
        Linear { out_features, bias: true }
    }

    /// Leaves the bias out.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }
}

impl Operation for Linear {
    fn kind(&self) -> &str {
        "Linear"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match (only_input(inputs)?.len(), self.out_features) {
            (_, 0) => Err("out_features is 0".into()),
            (1, o) => Ok(Shape::from([o])),
            _ => Err("takes a vector of shape [F]; put a Flatten before it".into()),
        }
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        let fan_in = inputs[0][0];
        let init = Init::Spread { fan_in, fan_out: self.out_features };
        let mut parameters = vec![Parameter::learned("weight", [self.out_features, fan_in], init)];
        if self.bias {
            parameters.push(Parameter::learned("bias", [self.out_features], Init::Constant(0.0)));
        }
        parameters
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (output.elements() as u64).saturating_mul(2 * inputs[0].elements() as u64)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let features = call.inputs[0].shape[0];
        let (input, weight) = (call.inputs[0].data, call.parameters[0]);
        for (place, y) in output.iter_mut().enumerate() {
            let (n, o) = (place / self.out_features, place % self.out_features);
            let mut sum = call.parameters.get(1).map_or(0.0, |bias| f64::from(bias[o]));
            for i in 0..features {
                sum += f64::from(input[n * features + i]) * f64::from(weight[o * features + i]);
            }
            *y = sum as f32;
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let features = call.inputs[0].shape[0];
        let (input, weight) = (call.inputs[0].data, call.parameters[0]);
        let dy = |n: usize, o: usize| output_gradient[n * self.out_features + o];
        for n in 0..call.batch {
            for i in 0..features {
                let sum: f64 =
                    (0..self.out_features).map(|o| f64::from(dy(n, o)) * f64::from(weight[o * features + i])).sum();
                gradients.inputs[0][n * features + i] += sum as f32;
            }
        }
        for o in 0..self.out_features {
            for i in 0..features {
                let sum: f64 = (0..call.batch).map(|n| f64::from(dy(n, o)) * f64::from(input[n * features + i])).sum();
                gradients.parameters[0][o * features + i] += sum as f32;
            }
            if self.bias {
                let sum: f64 = (0..call.batch).map(|n| f64::from(dy(n, o))).sum();
                gradients.parameters[1][o] += sum as f32;
            }
        }
    }
}
