//! Elementwise functions without parameters.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// An elementwise function without parameters.
///
/// # Shapes
/// Input and output of any shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `max(x, 0)`, but no more than 6 (Krizhevsky 2010); NaN stays NaN.
    Relu6,
    /// `x`, or `slope * x` below 0.
    LeakyRelu {
        /// Factor below 0.
        slope: f32,
    },
    /// `x`, or `alpha * (e^x - 1)` below 0 (Clevert et al. 2015).
    Elu {
        /// The limit far below 0, negated.
        alpha: f32,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The function's value.
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::LeakyRelu { slope } => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    /// The derivative at `x`, where the function has the value `y`; at a kink, the one from below, but 0 where
    /// ReLU6 is 6.
    #[inline]
    pub fn derivative(self, x: f32, y: f32) -> f32 {
        match self {
            Activation::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Activation::Relu6 => {
                if x > 0.0 && x < 6.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Activation::LeakyRelu { slope } => {
                if x > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Activation::Elu { alpha } => {
                if x > 0.0 {
                    1.0
                } else {
                    y + alpha
                }
            }
            Activation::Sigmoid => y * (1.0 - y),
            Activation::Tanh => 1.0 - y * y,
        }
    }
}

impl Operation for Activation {
    fn kind(&self) -> &str {
        match self {
            Activation::Relu => "Relu",
            Activation::Relu6 => "Relu6",
            Activation::LeakyRelu { .. } => "LeakyRelu",
            Activation::Elu { .. } => "Elu",
            Activation::Sigmoid => "Sigmoid",
            Activation::Tanh => "Tanh",
        }
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        if let Activation::LeakyRelu { slope: setting } | Activation::Elu { alpha: setting } = self {
            if !setting.is_finite() {
                return Err(Misfit(format!("setting {setting} is not finite")));
            }
        }
        only_input(inputs).cloned()
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.iter_mut().zip(call.inputs[0].data).for_each(|(y, &x)| *y = self.apply(x));
    }

    fn backward(&self, call: &Call<'_>, output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        for (i, gradient) in gradients.inputs[0].iter_mut().enumerate() {
            *gradient += output_gradient[i] * self.derivative(input[i], output[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu6_is_cut_off_at_both_ends() {
        let f = Activation::Relu6;
        assert_eq!([-1.0, 0.0, 2.5, 6.0, 7.0, f32::INFINITY].map(|x| f.apply(x)), [0.0, 0.0, 2.5, 6.0, 6.0, 6.0]);
        assert!(f.apply(f32::NAN).is_nan());
        let derivative = |x| f.derivative(x, f.apply(x));
        assert_eq!([-1.0, 0.0, 2.5, 6.0, 7.0].map(derivative), [0.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
