//! Mean over windows.

use super::{Call, Gradients, Operation, image};
use crate::window::{Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// Mean over windows of each channel.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool2d {
    /// Kernel, stride and padding; the dilation must be 1.
    pub window: Window,
    /// What happens to a rest that does not fill a window.
    pub rounding: Rounding,
    /// Whether padding counts as zeros of the mean (PyTorch's default) or is left out (ONNX's). What
    /// [`Rounding::Ceil`] lets hang over beyond the padding never counts.
    pub count_padding: bool,
}

impl AvgPool2d {
    /// Windows that touch without overlapping: the stride is the kernel. Padding counts.
    pub fn new(kernel: impl Into<Extent>) -> Self {
        let kernel = kernel.into();
        let window = Window { stride: kernel.0, ..Window::new(kernel) };
        AvgPool2d { window, rounding: Rounding::Floor, count_padding: true }
    }

    pool_settings!();

    /// Leaves padding out of the mean.
    pub fn without_padding_in_mean(mut self) -> Self {
        self.count_padding = false;
        self
    }

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        if self.window.dilation != [1, 1] {
            return Err("the mean takes no dilation".into());
        }
        let plane = self.window.resolve([h, w], self.rounding)?;
        match plane.has_empty_window() {
            true => Err("some window lies wholly in the padding".into()),
            false => Ok(plane),
        }
    }

    /// Calls `window` with the flat index of each output, its inputs' indices, and the divisor.
    fn for_each_window(&self, call: &Call<'_>, mut window: impl FnMut(usize, &mut dyn Iterator<Item = usize>, f64)) {
        let shape = call.inputs[0].shape;
        let Plane { rows, columns } = self.plane(shape).expect("the network has checked the window");
        for channel in 0..call.batch * shape[0] {
            for y in 0..rows.output {
                for x in 0..columns.output {
                    let (taps_y, taps_x) = (rows.taps(y), columns.taps(x));
                    let count = match self.count_padding {
                        true => rows.padded_taps(y) * columns.padded_taps(x),
                        false => taps_y.len() * taps_x.len(),
                    };
                    let mut inputs = taps_y.flat_map(|ky| {
                        let row = channel * rows.input + rows.input_index(y, ky);
                        taps_x.clone().map(move |kx| row * columns.input + columns.input_index(x, kx))
                    });
                    window((channel * rows.output + y) * columns.output + x, &mut inputs, count as f64);
                }
            }
        }
    }
}

impl Operation for AvgPool2d {
    fn kind(&self) -> &str {
        "AvgPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, ..] = image(inputs)?;
        let [h, w] = self.plane(inputs[0])?.output();
        Ok(Shape::from([c, h, w]))
    }

    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        (output.elements() as u64).saturating_mul(taps as u64)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_window(call, |o, inputs, count| {
            output[o] = (inputs.map(|i| f64::from(input[i])).sum::<f64>() / count) as f32;
        });
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        self.for_each_window(call, |o, inputs, count| {
            let share = (f64::from(output_gradient[o]) / count) as f32;
            inputs.for_each(|i| gradients.inputs[0][i] += share);
        });
    }
}
