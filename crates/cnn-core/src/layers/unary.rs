//! Elementwise functions beside the activations that every backend has kernels for.

use std::f64::consts::PI;

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// An elementwise function without parameters; what an [`Activation`](super::Activation) is, without kernels of its own.
///
/// # Shapes
/// Input and output of any shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `scale * x + offset`.
    Scale {
        /// Factor.
        scale: f32,
        /// Added, or moved by.
        offset: f32,
    },
    /// `x`, but no less than `low` and no more than `high`; ReLU6 is from 0 to 6. NaN stays NaN.
    Clip {
        /// Least value.
        low: f32,
        /// Largest value.
        high: f32,
    },
    /// `slope * x + offset` between 0 and 1.
    HardSigmoid {
        /// Rise.
        slope: f32,
        /// Added, or moved by.
        offset: f32,
    },
    /// `x` times the hard sigmoid of slope 1/6 and offset 1/2 (Howard et al. 2019).
    HardSwish,
    /// `x / (1 + e^(-beta x))`; SiLU at `beta` 1.
    Swish {
        /// Factor of the exponent.
        beta: f32,
    },
    /// `x` times the normal distribution's integral up to `x` (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same by the hyperbolic tangent that its authors approximate it with.
    GeluTanh,
    /// `x tanh(ln(1 + e^x))` (Misra 2019).
    Mish,
    /// `scale * x`, or `scale * alpha * (e^x - 1)` below 0 (Klambauer et al. 2017).
    Selu {
        /// The limit far below 0, negated.
        alpha: f32,
        /// Factor.
        scale: f32,
    },
    /// `x`, or `alpha (e^(x / alpha) - 1)` below 0 (Barron 2017).
    Celu {
        /// The limit far below 0, negated.
        alpha: f32,
    },
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x` above the threshold, 0 elsewhere.
    ThresholdedRelu {
        /// Where it begins.
        threshold: f32,
    },
    /// `x` moved by `offset` towards 0 where it is beyond the threshold on either side, 0 elsewhere.
    Shrink {
        /// Where it begins.
        threshold: f32,
        /// Added, or moved by.
        offset: f32,
    },
    /// `|x|`.
    Abs,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// The error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// The next whole number below.
    Floor,
    /// The next whole number above.
    Ceil,
    /// The nearest whole number, of two equally near the even one.
    Round,
    /// The next whole number towards 0.
    Trunc,
    /// 1, 0 or -1.
    Sign,
    /// 1 where `x` is 0, 0 elsewhere.
    Not,
    /// 1 where `x` is NaN, 0 elsewhere.
    IsNan,
    /// 1 where `x` is an infinity of a sign that counts, 0 elsewhere.
    IsInfinite {
        /// Whether the negative one counts.
        negative: bool,
        /// Whether the positive one counts.
        positive: bool,
    },
}

impl Unary {
    /// The function's value.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Unary::Scale { scale, offset } => f64::from(scale) * x + f64::from(offset),
            Unary::Clip { low, high } => {
                if x < f64::from(low) {
                    f64::from(low)
                } else if x > f64::from(high) {
                    f64::from(high)
                } else {
                    x
                }
            }
            Unary::HardSigmoid { slope, offset } => hard(f64::from(slope), f64::from(offset), x),
            Unary::HardSwish => x * hard(1.0 / 6.0, 0.5, x),
            Unary::Swish { beta } => x * sigmoid(f64::from(beta) * x),
            Unary::Gelu => x * normal_integral(x),
            Unary::GeluTanh => 0.5 * x * (1.0 + gelu_tanh(x)),
            Unary::Mish => x * softplus(x).tanh(),
            Unary::Selu { alpha, scale } => f64::from(scale) * if x < 0.0 { f64::from(alpha) * x.exp_m1() } else { x },
            Unary::Celu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * (x / f64::from(alpha)).exp_m1()
                } else {
                    x
                }
            }
            Unary::Softplus => softplus(x),
            Unary::Softsign => x / (1.0 + x.abs()),
            Unary::ThresholdedRelu { threshold } => {
                if x > f64::from(threshold) {
                    x
                } else {
                    0.0
                }
            }
            Unary::Shrink { threshold, offset } => {
                let t = f64::from(threshold);
                if x < -t {
                    x + f64::from(offset)
                } else if x > t {
                    x - f64::from(offset)
                } else {
                    0.0
                }
            }
            Unary::Abs => x.abs(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Reciprocal => 1.0 / x,
            Unary::Erf => erf(x),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Tan => x.tan(),
            Unary::Asin => x.asin(),
            Unary::Acos => x.acos(),
            Unary::Atan => x.atan(),
            Unary::Sinh => x.sinh(),
            Unary::Cosh => x.cosh(),
            Unary::Asinh => x.asinh(),
            Unary::Acosh => x.acosh(),
            Unary::Atanh => x.atanh(),
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            Unary::Trunc => x.trunc(),
            Unary::Sign => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Unary::Not => f64::from(u8::from(x == 0.0)),
            Unary::IsNan => f64::from(u8::from(x.is_nan())),
            Unary::IsInfinite { negative, positive } => {
                f64::from(u8::from((positive && x == f64::INFINITY) || (negative && x == f64::NEG_INFINITY)))
            }
        }
    }

    /// The derivative; at a kink, that of one side.
    fn derivative(self, x: f64) -> f64 {
        match self {
            Unary::Scale { scale, .. } => f64::from(scale),
            Unary::Clip { low, high } => f64::from(u8::from(f64::from(low) < x && x < f64::from(high))),
            Unary::HardSigmoid { slope, offset } => {
                f64::from(slope) * inside(hard(f64::from(slope), f64::from(offset), x))
            }
            Unary::HardSwish => hard(1.0 / 6.0, 0.5, x) + x / 6.0 * inside(hard(1.0 / 6.0, 0.5, x)),
            Unary::Swish { beta } => {
                let (b, s) = (f64::from(beta), sigmoid(f64::from(beta) * x));
                s + b * x * s * (1.0 - s)
            }
            Unary::Gelu => normal_integral(x) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt(),
            Unary::GeluTanh => {
                let t = gelu_tanh(x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x)
            }
            Unary::Mish => {
                let t = softplus(x).tanh();
                t + x * (1.0 - t * t) * sigmoid(x)
            }
            Unary::Selu { alpha, scale } => f64::from(scale) * if x < 0.0 { f64::from(alpha) * x.exp() } else { 1.0 },
            Unary::Celu { alpha } => {
                if x < 0.0 {
                    (x / f64::from(alpha)).exp()
                } else {
                    1.0
                }
            }
            Unary::Softplus => sigmoid(x),
            Unary::Softsign => 1.0 / (1.0 + x.abs()).powi(2),
            Unary::ThresholdedRelu { threshold } => f64::from(u8::from(x > f64::from(threshold))),
            Unary::Shrink { threshold, .. } => f64::from(u8::from(x.abs() > f64::from(threshold))),
            Unary::Abs => {
                if x < 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Unary::Exp => x.exp(),
            Unary::Log => 1.0 / x,
            Unary::Sqrt => 0.5 / x.sqrt(),
            Unary::Reciprocal => -1.0 / (x * x),
            Unary::Erf => 2.0 / PI.sqrt() * (-x * x).exp(),
            Unary::Sin => x.cos(),
            Unary::Cos => -x.sin(),
            Unary::Tan => 1.0 + x.tan().powi(2),
            Unary::Asin => 1.0 / (1.0 - x * x).sqrt(),
            Unary::Acos => -1.0 / (1.0 - x * x).sqrt(),
            Unary::Atan => 1.0 / (1.0 + x * x),
            Unary::Sinh => x.cosh(),
            Unary::Cosh => x.sinh(),
            Unary::Asinh => 1.0 / (x * x + 1.0).sqrt(),
            Unary::Acosh => 1.0 / (x * x - 1.0).sqrt(),
            Unary::Atanh => 1.0 / (1.0 - x * x),
            Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::Trunc
            | Unary::Sign
            | Unary::Not
            | Unary::IsNan
            | Unary::IsInfinite { .. } => 0.0,
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn hard(slope: f64, offset: f64, x: f64) -> f64 {
    (slope * x + offset).clamp(0.0, 1.0)
}

/// 1 strictly between 0 and 1, 0 elsewhere.
fn inside(y: f64) -> f64 {
    f64::from(u8::from(0.0 < y && y < 1.0))
}

fn gelu_tanh(x: f64) -> f64 {
    ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()
}

fn normal_integral(x: f64) -> f64 {
    0.5 * (1.0 + erf(x / 2f64.sqrt()))
}

/// The error function by its series of positive terms (Abramowitz and Stegun, 7.1.6); 1 to the last digit beyond 6.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-17 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

impl Operation for Unary {
    fn kind(&self) -> &str {
        match self {
            Unary::Scale { .. } => "Scale",
            Unary::Clip { .. } => "Clip",
            Unary::HardSigmoid { .. } => "HardSigmoid",
            Unary::HardSwish => "HardSwish",
            Unary::Swish { .. } => "Swish",
            Unary::Gelu => "Gelu",
            Unary::GeluTanh => "Gelu",
            Unary::Mish => "Mish",
            Unary::Selu { .. } => "Selu",
            Unary::Celu { .. } => "Celu",
            Unary::Softplus => "Softplus",
            Unary::Softsign => "Softsign",
            Unary::ThresholdedRelu { .. } => "ThresholdedRelu",
            Unary::Shrink { .. } => "Shrink",
            Unary::Abs => "Abs",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Sqrt => "Sqrt",
            Unary::Reciprocal => "Reciprocal",
            Unary::Erf => "Erf",
            Unary::Sin => "Sin",
            Unary::Cos => "Cos",
            Unary::Tan => "Tan",
            Unary::Asin => "Asin",
            Unary::Acos => "Acos",
            Unary::Atan => "Atan",
            Unary::Sinh => "Sinh",
            Unary::Cosh => "Cosh",
            Unary::Asinh => "Asinh",
            Unary::Acosh => "Acosh",
            Unary::Atanh => "Atanh",
            Unary::Floor => "Floor",
            Unary::Ceil => "Ceil",
            Unary::Round => "Round",
            Unary::Trunc => "Trunc",
            Unary::Sign => "Sign",
            Unary::Not => "Not",
            Unary::IsNan => "IsNan",
            Unary::IsInfinite { .. } => "IsInfinite",
        }
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        only_input(inputs).cloned()
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.iter_mut().zip(call.inputs[0].data).for_each(|(y, &x)| *y = self.apply(f64::from(x)) as f32);
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let places = call.inputs[0].data.iter().zip(output_gradient).zip(gradients.inputs[0].iter_mut());
        for ((&x, &dy), gradient) in places {
            *gradient += (f64::from(dy) * self.derivative(f64::from(x))) as f32;
        }
    }
}
