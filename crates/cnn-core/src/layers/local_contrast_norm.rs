//! Local contrast normalisation (Jarrett et al. 2009, section 2).

use super::{Call, Gradients, Operation, image};
use crate::window::{Axis, Padding, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// Subtracts from each value the mean `m` around its pixel, then divides by the standard deviation `s` there, or by the mean of `s`
/// over the sample where that is larger: `v = x - m`, `y = v / max(mean(s), s, epsilon)`.
///
/// `m` of `x` and `s^2` of `v^2` are weighted means over all channels and a square window, Gaussian in rows and columns. At the border
/// they are over the part of the window that lies inside the image, whose weights sum to 1 like those of a whole one.
///
/// `epsilon` is not the paper's, but its implementation's in Torch: where there is no contrast at all, `v` is rounding alone and must
/// not be made large.
///
/// # Shapes
/// Input and output `[C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalContrastNorm {
    /// Rows and columns of the window, odd.
    pub size: usize,
    /// Standard deviation of the Gaussian, in pixels.
    pub deviation: f32,
    /// Least divisor.
    pub epsilon: f32,
}

impl LocalContrastNorm {
    /// A window, 9 in the paper, whose Gaussian has a quarter of it as its deviation; epsilon 1e-4.
    pub fn new(size: usize) -> Self {
        LocalContrastNorm { size, deviation: size as f32 / 4.0, epsilon: 1e-4 }
    }

    /// The window on each pixel of an image.
    fn plane(&self, shape: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[shape])?;
        Window { padding: Padding::from(self.size / 2), ..Window::new(self.size) }.resolve([h, w], Rounding::Floor)
    }

    fn blur(&self, shape: &Shape) -> Blur {
        let Plane { rows, columns } = self.plane(shape).expect("the network has checked the window");
        let weights = |axis| weights(axis, f64::from(self.deviation));
        Blur { rows: weights(rows), columns: weights(columns) }
    }

    fn contrast(&self, blur: &Blur, sample: &[f32]) -> Contrast {
        let pixels = blur.pixels();
        let channels = sample.len() / pixels;
        let mean_of = |value: &dyn Fn(usize) -> f64| {
            let over_channels = |pixel| (0..channels).map(|c| value(c * pixels + pixel)).sum::<f64>() / channels as f64;
            blur.means(&(0..pixels).map(over_channels).collect::<Vec<_>>())
        };
        let means = mean_of(&|i| f64::from(sample[i]));
        let centred: Vec<f64> = sample.iter().enumerate().map(|(i, &x)| f64::from(x) - means[i % pixels]).collect();
        let deviations: Vec<f64> = mean_of(&|i| centred[i].powi(2)).into_iter().map(f64::sqrt).collect();
        let mean_deviation = deviations.iter().sum::<f64>() / pixels as f64;
        Contrast { centred, deviations, mean_deviation, least: f64::from(self.epsilon) }
    }
}

/// What a sample is normalised with.
struct Contrast {
    /// By element.
    centred: Vec<f64>,
    /// By pixel.
    deviations: Vec<f64>,
    mean_deviation: f64,
    least: f64,
}

/// Which of the three a divisor is.
enum Divisor {
    Deviation,
    MeanDeviation,
    Least,
}

impl Contrast {
    /// The divisor of a pixel. NaN counts as the largest number.
    fn divisor(&self, pixel: usize) -> (Divisor, f64) {
        let (deviation, mean) = (self.deviations[pixel], self.mean_deviation);
        if mean < self.least && deviation < self.least {
            (Divisor::Least, self.least)
        } else if deviation > mean {
            (Divisor::Deviation, deviation)
        } else {
            (Divisor::MeanDeviation, mean)
        }
    }
}

/// Weighted means around each pixel of a plane.
struct Blur {
    /// For each row: the rows around it and their weights.
    rows: Vec<Vec<(usize, f64)>>,
    columns: Vec<Vec<(usize, f64)>>,
}

/// For each place of an axis: the places around it and their weights, whose sum is 1.
fn weights(axis: Axis, deviation: f64) -> Vec<Vec<(usize, f64)>> {
    let around = |place: usize| {
        let weight = |other: usize| (-0.5 * (other.abs_diff(place) as f64 / deviation).powi(2)).exp();
        let others = || axis.taps(place).map(|tap| axis.input_index(place, tap));
        let sum: f64 = others().map(weight).sum();
        others().map(|other| (other, weight(other) / sum)).collect()
    };
    (0..axis.output).map(around).collect()
}

impl Blur {
    fn pixels(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Calls `pair` with each pixel, each pixel of its window, and the weight of that.
    fn for_each_pair(&self, mut pair: impl FnMut(usize, usize, f64)) {
        let width = self.columns.len();
        for (row, rows) in self.rows.iter().enumerate() {
            for (column, columns) in self.columns.iter().enumerate() {
                for &(r, of_row) in rows {
                    columns.iter().for_each(|&(c, of_column)| {
                        pair(row * width + column, r * width + c, of_row * of_column);
                    });
                }
            }
        }
    }

    fn means(&self, values: &[f64]) -> Vec<f64> {
        let mut means = vec![0.0; values.len()];
        self.for_each_pair(|pixel, other, weight| means[pixel] += weight * values[other]);
        means
    }

    /// The gradient of what [`means`](Self::means) took, from that of what it gave.
    fn gradient(&self, of_means: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; of_means.len()];
        self.for_each_pair(|pixel, other, weight| gradient[other] += weight * of_means[pixel]);
        gradient
    }
}

impl Operation for LocalContrastNorm {
    fn kind(&self) -> &str {
        "LocalContrastNorm"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        image(inputs)?;
        if self.size % 2 == 0 {
            return Err(Misfit(format!("size {} is not odd", self.size)));
        }
        for (what, value) in [("deviation", self.deviation), ("epsilon", self.epsilon)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Misfit(format!("{what} {value} is not a positive number")));
            }
        }
        self.plane(inputs[0]).map(|_| inputs[0].clone())
    }

    /// The sums of two windows, and five operations a value.
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let pixels: usize = inputs[0][1..].iter().product();
        let windows = (pixels as u64).saturating_mul(4 * (self.size as u64).pow(2));
        windows.saturating_add((inputs[0].elements() as u64).saturating_mul(5))
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (blur, elements) = (self.blur(call.output_shape), call.output_shape.elements());
        for (sample, output) in call.inputs[0].data.chunks(elements).zip(output.chunks_mut(elements)) {
            let contrast = self.contrast(&blur, sample);
            for (i, y) in output.iter_mut().enumerate() {
                *y = (contrast.centred[i] / contrast.divisor(i % blur.pixels()).1) as f32;
            }
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (blur, elements) = (self.blur(call.output_shape), call.output_shape.elements());
        let (pixels, channels) = (blur.pixels(), call.output_shape[0]);
        let samples = call.inputs[0].data.chunks(elements).zip(output_gradient.chunks(elements));
        for ((sample, dy), gradient) in samples.zip(gradients.inputs[0].chunks_mut(elements)) {
            let contrast = self.contrast(&blur, sample);
            let mut of_deviations = vec![0.0; pixels];
            let mut of_mean_deviation = 0.0;
            for (pixel, of_deviation) in of_deviations.iter_mut().enumerate() {
                let places = (0..channels).map(|c| c * pixels + pixel);
                let product: f64 = places.map(|i| f64::from(dy[i]) * contrast.centred[i]).sum();
                match contrast.divisor(pixel) {
                    (Divisor::Deviation, divisor) => *of_deviation = -product / divisor.powi(2),
                    (Divisor::MeanDeviation, divisor) => of_mean_deviation -= product / divisor.powi(2),
                    (Divisor::Least, _) => {}
                }
            }
            // By the sum of squares under each root. Where there is no deviation, nothing that is centred is anything but 0.
            let of_sums = (0..pixels).map(|pixel| match contrast.deviations[pixel] {
                0.0 => 0.0,
                deviation => (of_deviations[pixel] + of_mean_deviation / pixels as f64) / deviation,
            });
            let of_squares = blur.gradient(&of_sums.collect::<Vec<_>>());
            let of_centred = |i: usize| {
                let through_deviations = of_squares[i % pixels] * contrast.centred[i] / channels as f64;
                f64::from(dy[i]) / contrast.divisor(i % pixels).1 + through_deviations
            };
            let of_means = (0..pixels).map(|pixel| (0..channels).map(|c| of_centred(c * pixels + pixel)).sum::<f64>());
            let through_means = blur.gradient(&of_means.collect::<Vec<_>>());
            for (i, g) in gradient.iter_mut().enumerate() {
                *g += (of_centred(i) - through_means[i % pixels] / channels as f64) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::dropout::uniform;
    use crate::layers::{Mode, trial};

    fn normalised(layer: &LocalContrastNorm, shape: [usize; 3], input: &[f32]) -> Vec<f32> {
        trial::forward(layer, Mode::Inference, &Shape::from(shape), input, &[])
    }

    fn assert_close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(got) - want).abs() < 1e-5, "number {i} is {got}, not {want}");
        }
    }

    /// The paper's sums, one after the other, over `w[i][p][q]`.
    fn defined(layer: &LocalContrastNorm, [c, h, w]: [usize; 3], x: &[f64]) -> Vec<f64> {
        let reach = layer.size as isize / 2;
        let mean = |of: &dyn Fn(usize, usize, usize) -> f64, j: usize, k: usize| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for (i, p, q) in
                (0..c).flat_map(|i| (-reach..=reach).flat_map(move |p| (-reach..=reach).map(move |q| (i, p, q))))
            {
                let weight = (-((p * p + q * q) as f64) / (2.0 * f64::from(layer.deviation).powi(2))).exp();
                if let (Some(row), Some(column)) = (j.checked_add_signed(p), k.checked_add_signed(q)) {
                    if row < h && column < w {
                        sum += weight * of(i, row, column);
                        weights += weight;
                    }
                }
            }
            sum / weights
        };
        let at = |i: usize, j: usize, k: usize| (i * h + j) * w + k;
        let places = || (0..c).flat_map(|i| (0..h).flat_map(move |j| (0..w).map(move |k| (i, j, k))));
        let v: Vec<f64> = places().map(|(i, j, k)| x[at(i, j, k)] - mean(&|i, j, k| x[at(i, j, k)], j, k)).collect();
        let sigma: Vec<f64> =
            places().take(h * w).map(|(_, j, k)| mean(&|i, j, k| v[at(i, j, k)].powi(2), j, k).sqrt()).collect();
        let least = (sigma.iter().sum::<f64>() / (h * w) as f64).max(f64::from(layer.epsilon));
        v.iter().enumerate().map(|(i, v)| v / sigma[i % (h * w)].max(least)).collect()
    }

    fn drawn(seed: u64, length: usize) -> Vec<f32> {
        (0..length as u64).map(|i| uniform(seed, i) - 0.5).collect()
    }

    /// Windows of one pixel, over two channels: deviations 1 and 3, their mean 2.
    #[test]
    fn the_mean_deviation_divides_where_it_is_larger() {
        let output = normalised(&LocalContrastNorm::new(1), [2, 1, 2], &[1.0, 0.0, 3.0, 6.0]);
        assert_eq!(output, [-0.5, -1.0, 0.5, 1.0]);
    }

    /// Weights 1/4, 1/2, 1/4, and 2/3, 1/3 at the borders.
    #[test]
    fn windows_at_the_border_are_weighted_anew() {
        let layer = LocalContrastNorm { deviation: (0.5f32 / 2f32.ln()).sqrt(), ..LocalContrastNorm::new(3) };
        let squares: [f64; 3] = [9.0 / 3.0, 9.0 / 2.0 + 16.0 / 4.0, 16.0 * 2.0 / 3.0 + 9.0 / 3.0];
        let mean = squares.iter().map(|square| square.sqrt()).sum::<f64>() / 3.0;
        assert!(squares[1].sqrt() > mean);
        let want = [0.0, -3.0 / squares[1].sqrt(), 4.0 / squares[2].sqrt()];
        assert_close(&normalised(&layer, [1, 1, 3], &[0.0, 0.0, 12.0]), &want);
        assert_close(&normalised(&layer, [1, 3, 1], &[0.0, 0.0, 12.0]), &want);
    }

    #[test]
    fn it_is_the_papers_sum() {
        for (layer, shape) in [
            (LocalContrastNorm::new(3), [2, 5, 4]),
            (LocalContrastNorm::new(9), [3, 6, 11]),
            (LocalContrastNorm { deviation: 0.7, ..LocalContrastNorm::new(5) }, [1, 3, 3]),
            (LocalContrastNorm { epsilon: 0.3, ..LocalContrastNorm::new(3) }, [2, 5, 4]),
        ] {
            let input = drawn(5, shape.iter().product());
            let exact: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            assert_close(&normalised(&layer, shape, &input), &defined(&layer, shape, &exact));
        }
    }

    /// With windows over which the deviation divides, those where its mean does, and those where epsilon does.
    #[test]
    fn backward_agrees_with_differences_of_the_papers_sum() {
        for (epsilon, shape) in [(1e-4, [2, 5, 4]), (0.28, [2, 5, 4]), (9.0, [2, 5, 4]), (1e-4, [1, 2, 7])] {
            let layer = LocalContrastNorm { epsilon, ..LocalContrastNorm::new(3) };
            let elements = shape.iter().product();
            let (input, dy) = (drawn(6, elements), drawn(7, elements));
            let (gradient, _) = trial::backward(&layer, Mode::Inference, &Shape::from(shape), &input, &[], &dy);
            let loss = |place: usize, step: f64| -> f64 {
                let mut x: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
                x[place] += step;
                defined(&layer, shape, &x).iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            let differences: Vec<f64> =
                (0..elements).map(|place| (loss(place, 1e-6) - loss(place, -1e-6)) / 2e-6).collect();
            assert_close(&gradient, &differences);
        }
    }

    #[test]
    fn images_without_contrast_are_0() {
        for value in [0.0, 0.1, -1e3, 1e-40] {
            let input = [value; 2 * 7 * 5];
            let output = normalised(&LocalContrastNorm::new(5), [2, 7, 5], &input);
            assert!(output.iter().all(|y| y.abs() < 1e-6), "{value}: {output:?}");
            let shape = Shape::from([2, 7, 5]);
            let layer = LocalContrastNorm::new(5);
            let gradient = trial::backward(&layer, Mode::Inference, &shape, &input, &[], &[1.0; 70]).0;
            assert!(gradient.iter().all(|g| g.is_finite()));
        }
    }

    #[test]
    fn one_value_that_is_no_number_is_not_lost() {
        let mut input = drawn(8, 2 * 9 * 9);
        input[0] = f32::NAN;
        assert!(normalised(&LocalContrastNorm::new(3), [2, 9, 9], &input).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let shape = Shape::from([2, 7, 5]);
        let refused = |layer: LocalContrastNorm| layer.output_shape(&[&shape]).unwrap_err().0;
        assert_eq!(refused(LocalContrastNorm::new(4)), "size 4 is not odd");
        assert_eq!(refused(LocalContrastNorm::new(0)), "size 0 is not odd");
        assert!(refused(LocalContrastNorm::new(usize::MAX)).contains("is over"));
        assert!(refused(LocalContrastNorm { deviation: 0.0, ..LocalContrastNorm::new(3) }).contains("deviation 0"));
        assert!(refused(LocalContrastNorm { epsilon: f32::NAN, ..LocalContrastNorm::new(3) }).contains("epsilon NaN"));
        let narrowest = LocalContrastNorm { deviation: f32::MIN_POSITIVE, ..LocalContrastNorm::new(5) };
        assert!(normalised(&narrowest, [2, 7, 5], &drawn(9, 70)).iter().all(|y| y.is_finite()));
    }
}
