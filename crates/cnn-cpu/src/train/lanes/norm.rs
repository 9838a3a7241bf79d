//! Batch normalisation with a sample in each lane, both ways. What a channel shows over the whole batch is put together from what it
//! shows in each vector of samples.

use cnn_core::layers::BatchNorm2d;

use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::{Instructions, Simd, Task, with_simd};

pub(super) struct BatchNorm {
    instructions: Instructions,
    channels: usize,
    /// Pixels of a channel.
    plane: usize,
    epsilon: f64,
    momentum: f64,
}

/// Numbers of a channel and how they lie: of a vector of samples, or of the whole batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    /// The sum of squared differences from the mean.
    squares: f64,
    /// The sums of the output's gradients, and of these times the normalised input; 0 before the backward pass.
    slopes: [f64; 2],
}

impl Moments {
    /// Of two sets of numbers together (Chan et al. 1979).
    pub(super) fn and(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
            slopes: [0.0; 2],
        }
    }

    /// Adds what the gradients show in a vector of samples.
    pub(super) fn add_slopes(&mut self, slopes: [f64; 2]) {
        self.slopes = [0, 1].map(|i| self.slopes[i] + slopes[i]);
    }
}

impl BatchNorm {
    pub(super) fn new(instructions: Instructions, norm: &BatchNorm2d, [channels, plane]: [usize; 2]) -> Self {
        let (epsilon, momentum) = (f64::from(norm.epsilon), f64::from(norm.momentum));
        BatchNorm { instructions, channels, plane, epsilon, momentum }
    }

    /// What the input shows in a vector of samples, by channel.
    pub(super) fn observe(&self, input: &[f32], samples: usize) -> Vec<Moments> {
        let mut found = vec![Moments::default(); self.channels];
        let inside = inside(samples);
        let task = Observe { input, plane: self.plane, inside: &inside, samples, found: &mut found };
        with_simd!(self.instructions, s => s.vectorize(task));
        found
    }

    /// What the gradients of the output show in a vector of samples, by channel: their sum, and that of them times the normalised
    /// input. `of_batch` is what the input shows in all.
    pub(super) fn observe_slopes(&self, input: &[f32], dy: &[f32], of_batch: &[Moments]) -> Vec<[f64; 2]> {
        let mut found = vec![[0.0; 2]; self.channels];
        let scales = self.scales(of_batch, None);
        let task = ObserveSlopes { input, dy, plane: self.plane, scales: &scales, found: &mut found };
        with_simd!(self.instructions, s => s.vectorize(task));
        found
    }

    /// Moves the running statistics towards the batch's, as [`BatchNorm2d`] does.
    pub(super) fn update_state(&self, of_batch: &[Moments], parameters: &mut [Vec<f32>]) {
        let blend =
            |old: &mut f32, new: f64| *old = ((1.0 - self.momentum) * f64::from(*old) + self.momentum * new) as f32;
        for (c, moments) in of_batch.iter().enumerate() {
            blend(&mut parameters[2][c], moments.mean);
            blend(&mut parameters[3][c], moments.squares / (moments.count - 1.0).max(1.0));
        }
    }

    /// By channel: the mean, one over the deviation, and that times the weight.
    fn scales(&self, of_batch: &[Moments], weight: Option<&[f32]>) -> Vec<[f32; 3]> {
        let scale = |(c, moments): (usize, &Moments)| {
            let inverse = 1.0 / (moments.squares / moments.count + self.epsilon).sqrt();
            let weight = weight.map_or(1.0, |weight| f64::from(weight[c]));
            [moments.mean as f32, inverse as f32, (weight * inverse) as f32]
        };
        of_batch.iter().enumerate().map(scale).collect()
    }
}

/// 1 for lanes that hold a sample, else 0.
fn inside(samples: usize) -> [f32; MOST_LANES] {
    std::array::from_fn(|lane| if lane < samples { 1.0 } else { 0.0 })
}

/// Lanes of the widest vectors.
const MOST_LANES: usize = 16;

impl LaneKernel for BatchNorm {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        let scales = self.scales(block.of_batch, Some(block.parameters[0]));
        let (input, bias) = (block.inputs[0], block.parameters[1]);
        let task = Forward { input, plane: self.plane, scales: &scales, bias, output };
        with_simd!(self.instructions, s => s.vectorize(task));
    }

    fn backward(
        &self,
        block: &Block<'_>,
        (_, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        // The sums over the batch are the gradients of weight and bias: the first vector of samples tells them.
        for (c, moments) in block.of_batch.iter().enumerate().filter(|_| slopes.is_due) {
            for (gradient, sum) in slopes.parameters.iter_mut().zip([moments.slopes[1], moments.slopes[0]]) {
                let own = if block.is_first() { sum as f32 } else { 0.0 };
                gradient[c] = if slopes.fresh { own } else { gradient[c] + own };
            }
        }
        let Some((dx, fresh)) = &mut slopes.inputs[0] else { return };
        let scales = self.scales(block.of_batch, Some(block.parameters[0]));
        let means: Vec<[f32; 2]> =
            block.of_batch.iter().map(|moments| moments.slopes.map(|sum| (sum / moments.count) as f32)).collect();
        let inside = inside(block.samples);
        let task = Backward {
            input: block.inputs[0],
            dy,
            plane: self.plane,
            scales: &scales,
            means: &means,
            inside: &inside,
            dx,
            fresh: *fresh,
        };
        with_simd!(self.instructions, s => s.vectorize(task));
    }

    fn norm(&self) -> Option<&BatchNorm> {
        Some(self)
    }
}

struct Observe<'a> {
    input: &'a [f32],
    plane: usize,
    inside: &'a [f32; MOST_LANES],
    samples: usize,
    found: &'a mut [Moments],
}

impl<S: Simd> Task<S> for Observe<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let inside = s.load(self.inside);
        let count = (self.samples * self.plane) as f64;
        for (channel, found) in self.input.chunks_exact(self.plane * S::LANES).zip(self.found) {
            let mut sum = s.splat(0.0);
            for at in (0..channel.len()).step_by(S::LANES) {
                sum = s.add(sum, s.load(&channel[at..]));
            }
            let mean = f64::from(s.sum_of_lanes(s.mul(sum, inside))) / count;
            let (middle, mut squares) = (s.splat(mean as f32), s.splat(0.0));
            for at in (0..channel.len()).step_by(S::LANES) {
                let apart = s.sub(s.load(&channel[at..]), middle);
                squares = s.mul_add(apart, apart, squares);
            }
            let squares = f64::from(s.sum_of_lanes(s.mul(squares, inside)));
            *found = Moments { count, mean, squares, slopes: [0.0; 2] };
        }
    }
}

struct ObserveSlopes<'a> {
    input: &'a [f32],
    dy: &'a [f32],
    plane: usize,
    scales: &'a [[f32; 3]],
    found: &'a mut [[f64; 2]],
}

impl<S: Simd> Task<S> for ObserveSlopes<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let length = self.plane * S::LANES;
        for (c, (&[mean, inverse, _], found)) in self.scales.iter().zip(self.found).enumerate() {
            let (x, dy) = (&self.input[c * length..][..length], &self.dy[c * length..][..length]);
            let (mean, mut sum, mut products) = (s.splat(mean), s.splat(0.0), s.splat(0.0));
            for at in (0..length).step_by(S::LANES) {
                let slope = s.load(&dy[at..]);
                sum = s.add(sum, slope);
                products = s.mul_add(slope, s.sub(s.load(&x[at..]), mean), products);
            }
            let (sum, products) = (s.sum_of_lanes(sum), s.sum_of_lanes(products));
            *found = [f64::from(sum), f64::from(products) * f64::from(inverse)];
        }
    }
}

struct Forward<'a> {
    input: &'a [f32],
    plane: usize,
    scales: &'a [[f32; 3]],
    bias: &'a [f32],
    output: &'a mut [f32],
}

impl<S: Simd> Task<S> for Forward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let length = self.plane * S::LANES;
        for (c, &[mean, _, scale]) in self.scales.iter().enumerate() {
            let (x, y) = (&self.input[c * length..][..length], &mut self.output[c * length..][..length]);
            let (mean, scale, bias) = (s.splat(mean), s.splat(scale), s.splat(self.bias[c]));
            for at in (0..length).step_by(S::LANES) {
                s.store(&mut y[at..], s.mul_add(s.sub(s.load(&x[at..]), mean), scale, bias));
            }
        }
    }
}

struct Backward<'a> {
    input: &'a [f32],
    dy: &'a [f32],
    plane: usize,
    scales: &'a [[f32; 3]],
    /// The output's gradients, and these times the normalised input, over their number.
    means: &'a [[f32; 2]],
    inside: &'a [f32; MOST_LANES],
    dx: &'a mut [f32],
    fresh: bool,
}

impl<S: Simd> Task<S> for Backward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let length = self.plane * S::LANES;
        for (c, (&[mean, inverse, scale], &[of_dy, of_products])) in self.scales.iter().zip(self.means).enumerate() {
            let at_channel = c * length;
            let (x, dy) = (&self.input[at_channel..][..length], &self.dy[at_channel..][..length]);
            let dx = &mut self.dx[at_channel..][..length];
            // Lanes without a sample keep a gradient of 0.
            let scale = s.mul(s.splat(scale), s.load(self.inside));
            let (mean, along, shift) = (s.splat(mean), s.splat(inverse * of_products), s.splat(of_dy));
            for at in (0..length).step_by(S::LANES) {
                let through = s.mul_add(s.sub(s.load(&x[at..]), mean), along, shift);
                let slope = s.mul(scale, s.sub(s.load(&dy[at..]), through));
                let sum = if self.fresh { slope } else { s.add(s.load(&dx[at..]), slope) };
                s.store(&mut dx[at..], sum);
            }
        }
    }
}
