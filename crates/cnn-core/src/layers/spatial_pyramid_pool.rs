//! Spatial pyramid pooling (He et al. 2014).

use super::max_pool::place_of_maximum;
use super::{Call, Gradients, Operation, image};
use crate::window::{Window, bin};
use crate::{Misfit, Shape};

/// The maximum, or the mean, over each of `l` times `l` bins that cover a channel's plane, for each level `l`: as many values for a
/// plane of any size. NaN wins.
///
/// Bin `i` of `l` along `n` rows begins with row `i n / l`, rounded down, and ends before row `(i + 1) n / l`, rounded up; columns
/// likewise. So bins overlap by a row where `l` does not divide `n`, and there may be more of them than rows.
///
/// # Shapes
/// Input `[C, H, W]`, output `[F]` of `C * l * l` features a level: the levels in their order, in each the channels, in each the bins
/// row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct SpatialPyramidPool {
    /// Bins along rows and along columns, for each level.
    pub levels: Vec<usize>,
    /// Whether bins give their mean instead of their maximum.
    pub mean: bool,
}

impl SpatialPyramidPool {
    /// The maximum over the bins of these levels.
    pub fn new(levels: impl Into<Vec<usize>>) -> Self {
        SpatialPyramidPool { levels: levels.into(), mean: false }
    }

    /// Takes the mean over each bin.
    pub fn mean(mut self) -> Self {
        self.mean = true;
        self
    }

    /// Calls `visit` with the flat index of each output and with those of its bin's inputs.
    fn for_each_bin(&self, call: &Call<'_>, mut visit: impl FnMut(usize, &[usize])) {
        let [c, h, w] = image(&call.input_shapes()).expect("the network has checked the shape");
        let (mut o, mut seen) = (0, Vec::new());
        for sample in 0..call.batch {
            for &level in &self.levels {
                for channel in sample * c..(sample + 1) * c {
                    for y in 0..level {
                        for x in 0..level {
                            seen.clear();
                            for row in bin(h, level, y) {
                                seen.extend(bin(w, level, x).map(|column| (channel * h + row) * w + column));
                            }
                            visit(o, &seen);
                            o += 1;
                        }
                    }
                }
            }
        }
    }
}

impl Operation for SpatialPyramidPool {
    fn kind(&self) -> &str {
        "SpatialPyramidPool"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, h, w] = image(inputs)?;
        if h == 0 || w == 0 {
            return Err("input is 0".into());
        }
        match self.levels.iter().find(|level| !(1..=Window::MAX).contains(*level)) {
            Some(level) => return Err(Misfit(format!("level {level} is not between 1 and {}", Window::MAX))),
            None if self.levels.is_empty() => return Err("has no levels".into()),
            None => {}
        }
        let bins = self.levels.iter().fold(0usize, |sum, level| sum.saturating_add(level.saturating_mul(*level)));
        Ok(Shape::from([bins.saturating_mul(c)]))
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let sides = |extent, level| (0..level).map(|i| bin(extent, level, i).len() as u64).sum::<u64>();
        let of_level = |&level: &usize| sides(inputs[0][1], level).saturating_mul(sides(inputs[0][2], level));
        let of_channel = self.levels.iter().map(of_level).fold(0, u64::saturating_add);
        of_channel.saturating_mul(inputs[0][0] as u64)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_bin(call, |o, seen| {
            output[o] = match self.mean {
                true => (seen.iter().map(|&i| f64::from(input[i])).sum::<f64>() / seen.len() as f64) as f32,
                false => input[place_of_maximum(input, seen)],
            };
        });
    }

    /// The first of equal maxima gets the gradient.
    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let input = call.inputs[0].data;
        self.for_each_bin(call, |o, seen| match self.mean {
            true => {
                let share = (f64::from(output_gradient[o]) / seen.len() as f64) as f32;
                seen.iter().for_each(|&i| gradients.inputs[0][i] += share);
            }
            false => gradients.inputs[0][place_of_maximum(input, seen)] += output_gradient[o],
        });
    }
}
