//! Leaky ReLU with slopes drawn by chance (Xu et al. 2015, section 2.4).

use super::dropout::draw;
use super::{Call, Gradients, Mode, Operation, only_input};
use crate::{Misfit, Shape};

/// `x`, or `slope * x` below 0. In training a slope is drawn for each value, evenly from between `lower` and `upper`; in
/// inference it is their mean.
///
/// A draw depends on the layer's seed, the sample's place in the batch and the element alone, so that backward sees the slopes of
/// forward, and a batch cut in pieces those of the whole.
///
/// # Shapes
/// Input and output of any shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Rrelu {
    /// Least slope.
    pub lower: f32,
    /// Largest slope.
    pub upper: f32,
}

impl Default for Rrelu {
    /// PyTorch's slopes, from 1/8 to 1/3.
    fn default() -> Self {
        Rrelu::new(1.0 / 8.0, 1.0 / 3.0)
    }
}

impl Rrelu {
    /// Slopes from `lower` to `upper`.
    pub fn new(lower: f32, upper: f32) -> Self {
        Rrelu { lower, upper }
    }

    /// The slope of an element by its flat index into a batch of samples of so many.
    fn slope(&self, mode: Mode, index: usize, elements: usize) -> f64 {
        let share = draw(mode, index, elements).unwrap_or(0.5);
        let (lower, upper) = (f64::from(self.lower), f64::from(self.upper));
        lower + f64::from(share) * (upper - lower)
    }
}

impl Operation for Rrelu {
    fn kind(&self) -> &str {
        "Rrelu"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let (lower, upper) = (self.lower, self.upper);
        if !(lower.is_finite() && upper.is_finite() && lower <= upper) {
            return Err(Misfit(format!("slopes from {lower} to {upper} are no range of finite numbers")));
        }
        only_input(inputs).cloned()
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (elements, input) = (call.inputs[0].shape.elements(), call.inputs[0].data);
        for (i, y) in output.iter_mut().enumerate() {
            let x = input[i];
            *y = if x < 0.0 { (self.slope(call.mode, i, elements) * f64::from(x)) as f32 } else { x };
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (elements, input) = (call.inputs[0].shape.elements(), call.inputs[0].data);
        for (i, &dy) in output_gradient.iter().enumerate() {
            let slope = if input[i] <= 0.0 { self.slope(call.mode, i, elements) } else { 1.0 };
            gradients.inputs[0][i] += (slope * f64::from(dy)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::trial;

    const TRAINING: Mode = Mode::Training { seed: 7, first_sample: 0 };

    /// `torch.nn.RReLU().eval()` multiplies by 11/48.
    #[test]
    fn inference_takes_the_mean_slope() {
        let (shape, input) = (Shape::from([5]), [-48.0, -1.0, -0.0, 0.0, 3.0]);
        let output = trial::forward(&Rrelu::default(), Mode::Inference, &shape, &input, &[]);
        assert_eq!(output, [-11.0, -11.0 / 48.0, -0.0, 0.0, 3.0]);
        let gradient = trial::backward(&Rrelu::default(), Mode::Inference, &shape, &input, &[], &[48.0; 5]).0;
        assert_eq!(gradient, [11.0, 11.0, 11.0, 11.0, 48.0]);
    }

    #[test]
    fn slopes_fill_their_range_evenly() {
        let (shape, rrelu) = (Shape::from([50_000]), Rrelu::new(0.2, 0.6));
        let slopes = trial::forward(&rrelu, TRAINING, &shape, &[-1.0; 50_000], &[]).into_iter().map(|y| -y);
        let mut slopes: Vec<f32> = slopes.collect();
        slopes.sort_by(f32::total_cmp);
        for (i, slope) in slopes.iter().enumerate() {
            let even = 0.2 + 0.4 * i as f32 / 50_000.0;
            assert!((slope - even).abs() < 0.01, "number {i} in order is {slope}, not about {even}");
        }
    }

    #[test]
    fn pieces_of_a_batch_and_backward_draw_the_same() {
        let (shape, rrelu) = (Shape::from([2, 3]), Rrelu::default());
        let whole = trial::forward(&rrelu, TRAINING, &shape, &[-1.0; 24], &[]);
        assert!(whole[..6] != whole[6..12]);
        for (first_sample, samples) in [(0, 1), (1, 3)] {
            let mode = Mode::Training { seed: 7, first_sample };
            let piece = trial::forward(&rrelu, mode, &shape, &vec![-1.0; samples * 6], &[]);
            assert_eq!(piece, whole[first_sample * 6..(first_sample + samples) * 6]);
        }
        let gradient = trial::backward(&rrelu, TRAINING, &shape, &[-1.0; 24], &[], &[-1.0; 24]).0;
        assert_eq!(gradient, whole);
    }

    #[test]
    fn slopes_that_are_no_range_are_refused() {
        for (lower, upper) in [(0.5, 0.25), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
            assert!(Rrelu::new(lower, upper).output_shape(&[&Shape::from([3])]).is_err(), "{lower} to {upper}");
        }
        let widest = Rrelu::new(f32::MIN, f32::MAX);
        assert!(trial::forward(&widest, TRAINING, &Shape::from([9]), &[-0.5; 9], &[]).iter().all(|y| y.is_finite()));
    }
}
