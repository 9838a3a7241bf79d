//! Stochastic pooling (Zeiler and Fergus 2013).

use super::dropout::draw;
use super::{Call, Gradients, Operation, image};
use crate::window::{Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// In training, one value of each window of each channel, drawn with a probability in proportion to it; in inference, the mean of all
/// with these probabilities as weights. Negative values and padding count as 0, and a window without a positive value gives 0.
///
/// Each window draws for itself. A NaN is the window's result, otherwise an infinity.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct StochasticPool2d {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// What happens to a rest that does not fill a window.
    pub rounding: Rounding,
}

impl StochasticPool2d {
    /// Windows that touch without overlapping: the stride is the kernel.
    pub fn new(kernel: impl Into<Extent>) -> Self {
        let kernel = kernel.into();
        let window = Window { stride: kernel.0, ..Window::new(kernel) };
        StochasticPool2d { window, rounding: Rounding::Floor }
    }

    pool_settings!();
    dilation_setting!();

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        self.window.resolve([h, w], self.rounding)
    }

    /// Calls `visit` with the flat index of each output, those of its window's inputs, and what it draws, in training.
    fn for_each_window(&self, call: &Call<'_>, mut visit: impl FnMut(usize, &[usize], Option<f32>)) {
        let shape = call.inputs[0].shape;
        let plane = self.plane(shape).expect("the network has checked the window");
        plane.for_each_window(call.batch * shape[0], |o, seen| {
            visit(o, seen, draw(call.mode, o, call.output_shape.elements()));
        });
    }
}

/// What a value counts as.
fn positive(value: f32) -> f64 {
    if value < 0.0 { 0.0 } else { value.into() }
}

fn sum(input: &[f32], seen: &[usize]) -> f64 {
    seen.iter().map(|&i| positive(input[i])).sum()
}

/// The first place up to which the values are more than the drawn share of their sum; none where all are 0.
fn place(input: &[f32], seen: &[usize], drawn: f32) -> Option<usize> {
    let (sum, mut reached) = (sum(input, seen), 0.0);
    seen.iter().copied().find(|&i| {
        reached += positive(input[i]);
        match sum.is_finite() {
            true => reached > f64::from(drawn) * sum,
            false => input[i].is_nan() || (input[i] == f32::INFINITY && !sum.is_nan()),
        }
    })
}

fn weighted_mean(input: &[f32], seen: &[usize]) -> f64 {
    match sum(input, seen) {
        sum if sum == 0.0 || !sum.is_finite() => sum,
        sum => seen.iter().map(|&i| positive(input[i]).powi(2)).sum::<f64>() / sum,
    }
}

impl Operation for StochasticPool2d {
    fn kind(&self) -> &str {
        "StochasticPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        let [h, w] = self.plane(inputs[0])?.output();
        Ok(Shape::from([c, h, w]))
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        let [kh, kw] = self.window.kernel.map(|taps| taps as u64);
        (output.elements() as u64).saturating_mul(3 * kh * kw)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_window(call, |o, seen, drawn| {
            output[o] = match drawn {
                Some(drawn) => place(input, seen, drawn).map_or(0.0, |i| input[i]),
                None => weighted_mean(input, seen) as f32,
            };
        });
    }

    /// In training, the value that was drawn gets the gradient.
    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        self.for_each_window(call, |o, seen, drawn| match drawn {
            Some(drawn) => {
                if let Some(i) = place(input, seen, drawn) {
                    gradients.inputs[0][i] += output_gradient[o];
                }
            }
            None => {
                let (sum, mean) = (sum(input, seen), weighted_mean(input, seen));
                for &i in seen.iter().filter(|&&i| positive(input[i]) != 0.0) {
                    let slope = (2.0 * f64::from(input[i]) - mean) / sum;
                    gradients.inputs[0][i] += (f64::from(output_gradient[o]) * slope) as f32;
                }
            }
        });
    }
}
