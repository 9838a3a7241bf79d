//! Elementwise operations on several inputs, with broadcasting.

use super::strided_view::{strides, walk};
use super::{Call, Gradients, Operation};
use crate::{Misfit, Shape};

/// An elementwise function of two inputs. Comparisons give 1 or 0, and no gradient.
///
/// # Shapes
/// Inputs of as many axes each, where an extent of 1 stands for all of the other's; output of the larger extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`.
    Sum,
    /// `a - b`.
    Difference,
    /// `a * b`.
    Product,
    /// `a / b`.
    Quotient,
    /// `a ^ b`.
    Power,
    /// The larger; NaN wins.
    Maximum,
    /// The smaller; NaN wins.
    Minimum,
    /// The rest of `a / b`, with the sign of `b`.
    Remainder,
    /// The rest of `a / b`, with the sign of `a`.
    TruncatedRemainder,
    /// `a`, or `a * b` where `a` is below 0.
    Leak,
    /// `a = b`.
    Equal,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
    /// Whether both are other than 0.
    And,
    /// Whether one is other than 0.
    Or,
    /// Whether one is other than 0, not both.
    Xor,
}

impl Binary {
    /// The function's value.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Binary::Sum => a + b,
            Binary::Difference => a - b,
            Binary::Product => a * b,
            Binary::Quotient => a / b,
            Binary::Power => a.powf(b),
            Binary::Maximum if a.is_nan() || a > b => a,
            Binary::Minimum if a.is_nan() || a < b => a,
            Binary::Maximum | Binary::Minimum => b,
            Binary::Remainder => a - b * (a / b).floor(),
            Binary::TruncatedRemainder => a % b,
            Binary::Leak if a < 0.0 => a * b,
            Binary::Leak => a,
            Binary::Equal => truth(a == b),
            Binary::Less => truth(a < b),
            Binary::LessOrEqual => truth(a <= b),
            Binary::And => truth(a != 0.0 && b != 0.0),
            Binary::Or => truth(a != 0.0 || b != 0.0),
            Binary::Xor => truth((a != 0.0) != (b != 0.0)),
        }
    }

    /// The derivatives with respect to both.
    fn derivatives(self, a: f64, b: f64) -> [f64; 2] {
        match self {
            Binary::Sum => [1.0, 1.0],
            Binary::Difference => [1.0, -1.0],
            Binary::Product => [b, a],
            Binary::Quotient => [1.0 / b, -a / (b * b)],
            Binary::Power => [b * a.powf(b - 1.0), if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 }],
            Binary::Maximum if a > b => [1.0, 0.0],
            Binary::Minimum if a < b => [1.0, 0.0],
            Binary::Maximum | Binary::Minimum => [0.0, 1.0],
            Binary::Remainder => [1.0, -(a / b).floor()],
            Binary::TruncatedRemainder => [1.0, -(a / b).trunc()],
            Binary::Leak if a > 0.0 => [1.0, 0.0],
            Binary::Leak => [b, a],
            Binary::Equal | Binary::Less | Binary::LessOrEqual | Binary::And | Binary::Or | Binary::Xor => [0.0, 0.0],
        }
    }
}

/// The shape that inputs broadcast to; they have as many axes each.
fn broadcast(inputs: &[&Shape]) -> Result<Shape, Misfit> {
    let mut shape = inputs[0].to_vec();
    for input in inputs {
        let misfit = || Misfit("the inputs do not broadcast to one shape".to_string());
        if input.len() != shape.len() {
            return Err(misfit());
        }
        for (extent, &other) in shape.iter_mut().zip(input.iter()) {
            match (*extent, other) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *extent = b,
                _ => return Err(misfit()),
            }
        }
    }
    Ok(Shape::from(shape))
}

/// The strides of an input under the shape that it broadcasts to.
fn broadcast_strides(input: &Shape) -> Vec<isize> {
    strides(input).into_iter().zip(input.iter()).map(|(stride, &extent)| if extent == 1 { 0 } else { stride }).collect()
}

/// Calls `visit` with the flat index of each output of the batch and of what it reads.
fn for_each<const N: usize>(call: &Call<'_>, mut visit: impl FnMut(usize, [usize; N])) {
    let shapes: [&Shape; N] = std::array::from_fn(|n| call.inputs[n].shape);
    let strides = shapes.map(broadcast_strides);
    let lengths = shapes.map(Shape::elements);
    let length = call.output_shape.elements();
    for sample in 0..call.batch {
        walk(call.output_shape, std::array::from_fn(|n| &strides[n][..]), |place, at: [isize; N]| {
            visit(sample * length + place, std::array::from_fn(|n| sample * lengths[n] + at[n] as usize));
        });
    }
}

impl Operation for Binary {
    fn kind(&self) -> &str {
        match self {
            Binary::Sum => "Sum",
            Binary::Difference => "Difference",
            Binary::Product => "Product",
            Binary::Quotient => "Quotient",
            Binary::Power => "Power",
            Binary::Maximum => "Maximum",
            Binary::Minimum => "Minimum",
            Binary::Remainder | Binary::TruncatedRemainder => "Remainder",
            Binary::Leak => "Leak",
            Binary::Equal => "Equal",
            Binary::Less => "Less",
            Binary::LessOrEqual => "LessOrEqual",
            Binary::And => "And",
            Binary::Or => "Or",
            Binary::Xor => "Xor",
        }
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [_, _] => broadcast(inputs),
            _ => Err(Misfit(format!("takes two inputs, got {}", inputs.len()))),
        }
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        output.elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (a, b) = (call.inputs[0].data, call.inputs[1].data);
        for_each(call, |place, [i, j]| output[place] = self.apply(f64::from(a[i]), f64::from(b[j])) as f32);
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (a, b) = (call.inputs[0].data, call.inputs[1].data);
        let mut sums = [vec![0f64; a.len()], vec![0f64; b.len()]];
        for_each(call, |place, [i, j]| {
            let dy = f64::from(output_gradient[place]);
            let [da, db] = self.derivatives(f64::from(a[i]), f64::from(b[j]));
            sums[0][i] += dy * da;
            sums[1][j] += dy * db;
        });
        for (gradient, sums) in gradients.inputs.iter_mut().zip(sums) {
            gradient.iter_mut().zip(sums).for_each(|(g, sum)| *g += sum as f32);
        }
    }
}

/// The second input where the first is other than 0, the third elsewhere.
///
/// # Shapes
/// Three inputs that broadcast as those of [`Binary`].
#[derive(Debug, Clone, PartialEq)]
pub struct Where;

impl Operation for Where {
    fn kind(&self) -> &str {
        "Where"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [_, _, _] => broadcast(inputs),
            _ => Err(Misfit(format!("takes three inputs, got {}", inputs.len()))),
        }
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let [condition, a, b] = [0, 1, 2].map(|n| call.inputs[n].data);
        for_each(call, |place, [c, i, j]| output[place] = if condition[c] != 0.0 { a[i] } else { b[j] });
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let condition = call.inputs[0].data;
        for_each(call, |place, [c, i, j]| {
            let (input, at) = if condition[c] != 0.0 { (1, i) } else { (2, j) };
            gradients.inputs[input][at] += output_gradient[place];
        });
    }
}
