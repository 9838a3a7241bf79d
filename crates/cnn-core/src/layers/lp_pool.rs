//! Lp norm over windows (Sermanet et al. 2012).

use super::{Call, Gradients, Operation, image};
use crate::window::{Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// `(sum |x|^p)^(1/p)` over windows of each channel: the sum of absolute values at `p` 1, and towards the largest of them as `p` grows.
/// All places of a window weigh the same; in the paper, a Gaussian weighs them. Padding counts as zeros, as in ONNX, and so does what
/// [`Rounding::Ceil`] lets hang over the edge.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct LpPool2d {
    /// The power, a number from 1 on.
    pub p: f32,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// What happens to a rest that does not fill a window.
    pub rounding: Rounding,
}

impl LpPool2d {
    /// Windows that touch without overlapping: the stride is the kernel.
    pub fn new(p: f32, kernel: impl Into<Extent>) -> Self {
        let kernel = kernel.into();
        let window = Window { stride: kernel.0, ..Window::new(kernel) };
        LpPool2d { p, window, rounding: Rounding::Floor }
    }

    pool_settings!();
    dilation_setting!();

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        self.window.resolve([h, w], self.rounding)
    }

    /// The norm of a window's values. Powers are of shares of the largest, so that none is beyond the numbers.
    fn norm(&self, values: impl Iterator<Item = f64> + Clone) -> f64 {
        let p = f64::from(self.p);
        let largest = values.clone().map(f64::abs).fold(0.0, |m, v| if v > m || v.is_nan() { v } else { m });
        if largest == 0.0 || !largest.is_finite() {
            return largest;
        }
        largest * values.map(|v| (v.abs() / largest).powf(p)).sum::<f64>().powf(1.0 / p)
    }

    /// Calls `visit` with the flat index of each output, those of its window's inputs, and their norm.
    fn for_each_norm(&self, call: &Call<'_>, mut visit: impl FnMut(usize, &[usize], f64)) {
        let (shape, input) = (call.inputs[0].shape, call.inputs[0].data);
        let plane = self.plane(shape).expect("the network has checked the window");
        plane.for_each_window(call.batch * shape[0], |o, seen| {
            visit(o, seen, self.norm(seen.iter().map(|&i| f64::from(input[i]))));
        });
    }
}

impl Operation for LpPool2d {
    fn kind(&self) -> &str {
        "LpPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        if self.p < 1.0 || !self.p.is_finite() {
            return Err(Misfit(format!("p {} is not a number from 1 on", self.p)));
        }
        let [h, w] = self.plane(inputs[0])?.output();
        Ok(Shape::from([c, h, w]))
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        let [kh, kw] = self.window.kernel.map(|taps| taps as u64);
        (output.elements() as u64).saturating_mul(2 * kh * kw)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        self.for_each_norm(call, |o, _, norm| output[o] = norm as f32);
    }

    /// A value of 0 gets no gradient, at the kinks of `p` 1 and of windows of zeros either.
    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        self.for_each_norm(call, |o, seen, norm| {
            for &i in seen.iter().filter(|&&i| input[i] != 0.0) {
                let slope = (f64::from(input[i]).abs() / norm).powf(f64::from(self.p) - 1.0);
                gradients.inputs[0][i] += (f64::from(output_gradient[o]) * slope.copysign(input[i].into())) as f32;
            }
        });
    }
}
