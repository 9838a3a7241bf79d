//! Dropout (Srivastava et al. 2014), scaled in training so that inference is the identity.

use super::{Call, Gradients, Mode, Operation, only_input};
use crate::{Misfit, Shape};

/// In training, zeroes each value with the given probability and scales the rest by `1 / (1 - probability)`; in
/// inference, the identity.
///
/// # Shapes
/// Input and output of any shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// Chance of a value to be zeroed, from 0 up to but not including 1.
    pub probability: f32,
}

impl Dropout {
    /// Dropout with the given probability.
    pub fn new(probability: f32) -> Self {
        Dropout { probability }
    }

    /// The factor of an element by its flat index into a batch of samples of so many: 1 in inference, 0 or the scale in training.
    #[inline(always)]
    pub fn factor(&self, mode: Mode, index: usize, elements: usize) -> f32 {
        match draw(mode, index, elements) {
            None => 1.0,
            Some(drawn) if drawn >= self.probability => 1.0 / (1.0 - self.probability),
            Some(_) => 0.0,
        }
    }

    /// Calls `value` with each flat index and its factor.
    fn for_each_factor(&self, call: &Call<'_>, mut value: impl FnMut(usize, f32)) {
        let elements = call.inputs[0].shape.elements();
        (0..call.inputs[0].data.len()).for_each(|i| value(i, self.factor(call.mode, i, elements)));
    }
}

/// What is drawn in training for an element of the output, by its flat index into a batch of samples of so many: a number in [0, 1).
#[inline(always)]
pub(super) fn draw(mode: Mode, index: usize, elements: usize) -> Option<f32> {
    match mode {
        Mode::Inference => None,
        Mode::Training { seed, first_sample } => Some(uniform(seed, (first_sample * elements + index) as u64)),
    }
}

/// A number in [0, 1) that depends on nothing but its arguments: the finaliser of SplitMix64 (Steele et al. 2014)
/// over a counter, so that any part of a batch can be drawn by itself.
#[inline(always)]
pub(super) fn uniform(seed: u64, index: u64) -> f32 {
    let mut z = counted_from(seed, index + 1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

/// The seed with which index 0 draws what `index` draws with `seed`.
#[inline(always)]
pub(crate) fn counted_from(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Operation for Dropout {
    fn kind(&self) -> &str {
        "Dropout"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Misfit(format!("probability {} is not in [0, 1)", self.probability)));
        }
        only_input(inputs).cloned()
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_factor(call, |i, factor| output[i] = input[i] * factor);
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        self.for_each_factor(call, |i, factor| gradients.inputs[0][i] += output_gradient[i] * factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::View;

    #[test]
    fn about_the_asked_share_is_zeroed_and_the_mean_kept() {
        let shape = Shape::from([100_000]);
        let input = vec![1.0; 100_000];
        let inputs = [View { shape: &shape, data: &input }];
        let mode = Mode::Training { seed: 7, first_sample: 0 };
        let call = Call { batch: 1, inputs: &inputs, output_shape: &shape, parameters: &[], mode };
        let mut output = vec![0.0; 100_000];
        Dropout::new(0.3).forward(&call, &mut output);
        let zeros = output.iter().filter(|&&v| v == 0.0).count();
        assert!((29_000..31_000).contains(&zeros), "{zeros} of 100000");
        let mean = output.iter().sum::<f32>() / 1e5;
        assert!((mean - 1.0).abs() < 0.02, "mean {mean}");
    }
}
