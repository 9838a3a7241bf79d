//! Maximum over windows.

use super::{Call, Gradients, Operation, image};
use crate::window::{Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// Maximum over windows of each channel; padding counts as less than every number. NaN wins, as in PyTorch.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool2d {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// What happens to a rest that does not fill a window.
    pub rounding: Rounding,
}

impl MaxPool2d {
    /// Windows that touch without overlapping: the stride is the kernel.
    pub fn new(kernel: impl Into<Extent>) -> Self {
        let kernel = kernel.into();
        let window = Window { stride: kernel.0, ..Window::new(kernel) };
        MaxPool2d { window, rounding: Rounding::Floor }
    }

    pool_settings!();
    dilation_setting!();

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        let plane = self.window.resolve([h, w], self.rounding)?;
        match plane.has_empty_window() {
            true => Err("some window lies wholly in the padding".into()),
            false => Ok(plane),
        }
    }

    /// Calls `found` with the flat index of each output and of the input that is its maximum.
    fn for_each_maximum(&self, call: &Call<'_>, mut found: impl FnMut(usize, usize)) {
        let (shape, input) = (call.inputs[0].shape, call.inputs[0].data);
        let Plane { rows, columns } = self.plane(shape).expect("the network has checked the window");
        for channel in 0..call.batch * shape[0] {
            for y in 0..rows.output {
                for x in 0..columns.output {
                    let mut best: Option<usize> = None;
                    for ky in rows.taps(y) {
                        let row = channel * rows.input + rows.input_index(y, ky);
                        for kx in columns.taps(x) {
                            let i = row * columns.input + columns.input_index(x, kx);
                            if best.is_none_or(|b| exceeds(input[i], input[b])) {
                                best = Some(i);
                            }
                        }
                    }
                    if let Some(best) = best {
                        found((channel * rows.output + y) * columns.output + x, best);
                    }
                }
            }
        }
    }
}

/// Whether a value takes the place of the maximum so far.
#[inline(always)]
fn exceeds(value: f32, maximum: f32) -> bool {
    value > maximum || (value.is_nan() && !maximum.is_nan())
}

/// The first of those `places`, of which there is one at least, whose value is the maximum.
pub(super) fn place_of_maximum(values: &[f32], places: &[usize]) -> usize {
    places[1..].iter().fold(places[0], |best, &place| if exceeds(values[place], values[best]) { place } else { best })
}

impl Operation for MaxPool2d {
    fn kind(&self) -> &str {
        "MaxPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        let [h, w] = self.plane(inputs[0])?.output();
        Ok(Shape::from([c, h, w]))
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        (output.elements() as u64).saturating_mul(taps as u64 - 1)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_maximum(call, |o, i| output[o] = input[i]);
    }

    /// The first of equal maxima gets the gradient.
    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        self.for_each_maximum(call, |o, i| gradients.inputs[0][i] += output_gradient[o]);
    }
}
