//! Local response normalisation (Krizhevsky et al. 2012, section 3.3).

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// Divides each value by `(k + alpha / size * sum)^beta`, the sum over the squares of `size` neighbouring channels.
///
/// An even `size` sees one channel more below than above, as in PyTorch.
///
/// # Shapes
/// Input and output `[C, H, W]` or `[F]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalResponseNorm {
    /// Channels that are summed.
    pub size: usize,
    /// Weight of the sum.
    pub alpha: f32,
    /// Power of the divisor.
    pub beta: f32,
    /// Offset of the divisor.
    pub k: f32,
}

impl LocalResponseNorm {
    /// PyTorch's defaults: alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> Self {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    fn below(&self) -> usize {
        self.size / 2
    }

    fn above(&self) -> usize {
        (self.size - 1) / 2
    }
}

/// The values of one pixel across channels.
struct Pixels {
    channels: usize,
    plane: usize,
}

impl Pixels {
    fn of(call: &Call<'_>) -> Self {
        let shape = call.inputs[0].shape;
        Pixels { channels: shape[0], plane: shape[1..].iter().product() }
    }

    /// Flat index of channel 0 of each pixel of the batch.
    fn starts(&self, batch: usize) -> impl Iterator<Item = usize> + use<> {
        let (channels, plane) = (self.channels, self.plane);
        (0..batch).flat_map(move |n| (0..plane).map(move |p| n * channels * plane + p))
    }
}

impl LocalResponseNorm {
    /// The divisor before its power, of channel `c` of the pixel that starts at `start`.
    fn base(&self, pixels: &Pixels, input: &[f32], start: usize, c: usize) -> f64 {
        let channels = c.saturating_sub(self.below())..(c + self.above() + 1).min(pixels.channels);
        let sum: f64 = channels.map(|j| f64::from(input[start + j * pixels.plane]).powi(2)).sum();
        f64::from(self.k) + f64::from(self.alpha) / self.size as f64 * sum
    }
}

impl Operation for LocalResponseNorm {
    fn kind(&self) -> &str {
        "LocalResponseNorm"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let input = only_input(inputs)?;
        if self.size == 0 || self.size > crate::window::Window::MAX {
            return Err(Misfit(format!("size {} is not between 1 and {}", self.size, crate::window::Window::MAX)));
        }
        input.channels_and_plane().map(|_| input.clone()).ok_or("takes shape [C, H, W] or [F]".into())
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(2 * self.size as u64 + 3)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (pixels, input) = (Pixels::of(call), call.inputs[0].data);
        for start in pixels.starts(call.batch) {
            for c in 0..pixels.channels {
                let i = start + c * pixels.plane;
                let divisor = self.base(&pixels, input, start, c).powf(f64::from(self.beta));
                output[i] = (f64::from(input[i]) / divisor) as f32;
            }
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (pixels, input) = (Pixels::of(call), call.inputs[0].data);
        let beta = f64::from(self.beta);
        let factor = 2.0 * f64::from(self.alpha) * beta / self.size as f64;
        for start in pixels.starts(call.batch) {
            for c in 0..pixels.channels {
                let i = start + c * pixels.plane;
                let direct = f64::from(output_gradient[i]) * self.base(&pixels, input, start, c).powf(-beta);
                // The channels whose window holds c.
                let channels = c.saturating_sub(self.above())..(c + self.below() + 1).min(pixels.channels);
                let through_sums: f64 = channels
                    .map(|j| {
                        let o = start + j * pixels.plane;
                        let base = self.base(&pixels, input, start, j);
                        f64::from(output_gradient[o]) * f64::from(input[o]) * base.powf(-beta - 1.0)
                    })
                    .sum();
                gradients.inputs[0][i] += (direct - factor * f64::from(input[i]) * through_sums) as f32;
            }
        }
    }
}
