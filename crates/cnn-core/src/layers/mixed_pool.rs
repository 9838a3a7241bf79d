//! Mixed pooling (Yu et al. 2014).

use super::dropout::draw;
use super::max_pool::place_of_maximum;
use super::{Call, Gradients, Operation, image};
use crate::window::{Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// In training, the maximum or the mean over windows, drawn once for each channel of each sample; in inference, both with their
/// chances as weights: what is drawn in the mean. Padding counts neither as a maximum nor in the mean.
///
/// In the paper both chances are 1/2, and a channel's inference takes what was drawn for it more often in training;
/// [`likelier_in_inference`](Self::likelier_in_inference) comes near that.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedPool2d {
    /// Chance of the maximum, from 0 to 1.
    pub chance_of_maximum: f32,
    /// Whether inference takes the likelier of both, instead of their weighted sum.
    pub likelier: bool,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// What happens to a rest that does not fill a window.
    pub rounding: Rounding,
}

impl MixedPool2d {
    /// Even chances. Windows touch without overlapping: the stride is the kernel.
    pub fn new(kernel: impl Into<Extent>) -> Self {
        let kernel = kernel.into();
        let window = Window { stride: kernel.0, ..Window::new(kernel) };
        MixedPool2d { chance_of_maximum: 0.5, likelier: false, window, rounding: Rounding::Floor }
    }

    pool_settings!();
    dilation_setting!();

    /// Sets how likely the maximum is.
    pub fn chance_of_maximum(mut self, chance: f32) -> Self {
        self.chance_of_maximum = chance;
        self
    }

    /// Lets inference take the likelier of both, the maximum where they are equally likely.
    pub fn likelier_in_inference(mut self) -> Self {
        self.likelier = true;
        self
    }

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        let plane = self.window.resolve([h, w], self.rounding)?;
        match plane.has_empty_window() {
            true => Err("some window lies wholly in the padding".into()),
            false => Ok(plane),
        }
    }

    /// Calls `visit` with the flat index of each output, those of its window's inputs, and the weight of their maximum beside their mean.
    fn for_each_window(&self, call: &Call<'_>, mut visit: impl FnMut(usize, &[usize], f64)) {
        let shape = call.inputs[0].shape;
        let plane = self.plane(shape).expect("the network has checked the window");
        let of_channel = plane.rows.output * plane.columns.output;
        plane.for_each_window(call.batch * shape[0], |o, seen| {
            let first = o / of_channel * of_channel;
            let weight = match draw(call.mode, first, call.output_shape.elements()) {
                None if self.likelier => f64::from(u8::from(self.chance_of_maximum >= 0.5)),
                None => self.chance_of_maximum.into(),
                Some(drawn) => f64::from(u8::from(drawn < self.chance_of_maximum)),
            };
            visit(o, seen, weight);
        });
    }
}

/// The product, of which no infinity makes NaN where the weight is 0.
fn weighted(weight: f64, value: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * value }
}

impl Operation for MixedPool2d {
    fn kind(&self) -> &str {
        "MixedPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        if !(0.0..=1.0).contains(&self.chance_of_maximum) {
            return Err(Misfit(format!("chance {} is not in [0, 1]", self.chance_of_maximum)));
        }
        let [h, w] = self.plane(inputs[0])?.output();
        Ok(Shape::from([c, h, w]))
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        let [kh, kw] = self.window.kernel.map(|taps| taps as u64);
        (output.elements() as u64).saturating_mul(2 * kh * kw)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_window(call, |o, seen, weight| {
            let maximum = f64::from(input[place_of_maximum(input, seen)]);
            let mean = seen.iter().map(|&i| f64::from(input[i])).sum::<f64>() / seen.len() as f64;
            output[o] = (weighted(weight, maximum) + weighted(1.0 - weight, mean)) as f32;
        });
    }

    /// The maximum's part goes to the first of equal maxima.
    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        self.for_each_window(call, |o, seen, weight| {
            let dy = f64::from(output_gradient[o]);
            let share = (dy * (1.0 - weight) / seen.len() as f64) as f32;
            seen.iter().for_each(|&i| gradients.inputs[0][i] += share);
            gradients.inputs[0][place_of_maximum(input, seen)] += (dy * weight) as f32;
        });
    }
}
