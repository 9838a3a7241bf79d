//! The largest, the smallest, the product along one axis, and where the largest is.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// What is made of the values along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The largest; NaN wins. The first of equal ones gets the gradient.
    Maximum,
    /// The smallest; NaN wins. The first of equal ones gets the gradient.
    Minimum,
    /// The product.
    Product,
    /// The place of the largest, the first or the last of equal ones. No gradient.
    ArgMax {
        /// Whether the last counts.
        last: bool,
    },
    /// The place of the smallest, the first or the last of equal ones. No gradient.
    ArgMin {
        /// Whether the last counts.
        last: bool,
    },
}

/// Reduces one axis. Means and sums are a [`Resample`](super::Resample).
///
/// # Shapes
/// Input of any shape that has the axis, output with the extent 1 there.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    /// The axis, the channels' being 0.
    pub axis: usize,
    /// What is made of its values.
    pub reduction: Reduction,
}

impl Reduce {
    /// Calls `visit` with the flat index of each output, that of its first input, the number of inputs and their distance.
    fn for_each(&self, call: &Call<'_>, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let shape = call.inputs[0].shape;
        let inner: usize = shape[self.axis + 1..].iter().product();
        let (extent, outer) = (shape[self.axis], call.batch * shape[..self.axis].iter().product::<usize>());
        for block in 0..outer {
            (0..inner).for_each(|i| visit(block * inner + i, block * extent * inner + i, extent, inner));
        }
    }

    /// The place along the axis that decides, of all but products.
    fn place(&self, values: impl Iterator<Item = f32>) -> usize {
        let (least, last) = match self.reduction {
            Reduction::Minimum => (true, false),
            Reduction::ArgMin { last } => (true, last),
            Reduction::ArgMax { last } => (false, last),
            Reduction::Maximum | Reduction::Product => (false, false),
        };
        let mut best: Option<(usize, f32)> = None;
        for (place, value) in values.enumerate() {
            let better = |held: f32| {
                let beyond = if least { value < held } else { value > held };
                beyond || (value.is_nan() && !held.is_nan()) || (last && value == held)
            };
            if best.is_none_or(|(_, held)| better(held)) {
                best = Some((place, value));
            }
        }
        best.map_or(0, |(place, _)| place)
    }
}

impl Operation for Reduce {
    fn kind(&self) -> &str {
        match self.reduction {
            Reduction::Maximum => "ReduceMaximum",
            Reduction::Minimum => "ReduceMinimum",
            Reduction::Product => "ReduceProduct",
            Reduction::ArgMax { .. } => "ArgMax",
            Reduction::ArgMin { .. } => "ArgMin",
        }
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let mut shape = only_input(inputs)?.to_vec();
        match shape.get_mut(self.axis) {
            Some(extent) => *extent = 1,
            None => return Err(Misfit(format!("there is no axis {}", self.axis))),
        }
        Ok(Shape::from(shape))
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each(call, |o, start, extent, step| {
            let value = |place: usize| input[start + place * step];
            output[o] = match self.reduction {
                Reduction::Product => (0..extent).map(|p| f64::from(value(p))).product::<f64>() as f32,
                Reduction::Maximum | Reduction::Minimum => value(self.place((0..extent).map(value))),
                Reduction::ArgMax { .. } | Reduction::ArgMin { .. } => self.place((0..extent).map(value)) as f32,
            };
        });
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        self.for_each(call, |o, start, extent, step| {
            let value = |place: usize| input[start + place * step];
            let gradient = &mut gradients.inputs[0];
            match self.reduction {
                Reduction::Product => (0..extent).for_each(|p| {
                    let others = (0..extent).filter(|&q| q != p).map(|q| f64::from(value(q))).product::<f64>();
                    gradient[start + p * step] += (others * f64::from(output_gradient[o])) as f32;
                }),
                Reduction::Maximum | Reduction::Minimum => {
                    gradient[start + self.place((0..extent).map(value)) * step] += output_gradient[o];
                }
                Reduction::ArgMax { .. } | Reduction::ArgMin { .. } => {}
            }
        });
    }
}
