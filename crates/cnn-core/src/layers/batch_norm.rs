//! Batch normalisation (Ioffe and Szegedy 2015).

use super::{Call, Gradients, Init, Mode, Operation, Parameter, View, only_input};
use crate::{Misfit, Shape};

/// Batch normalisation of each channel: `weight * (x - mean) / sqrt(variance + epsilon) + bias`.
///
/// Inference uses the running mean and variance. Training uses the batch's own (the biased variance) and moves the
/// running ones towards them (the unbiased variance), as PyTorch does.
///
/// # Shapes
/// Input and output `[C, H, W]` or `[F]`. Parameters: `weight`, `bias`, `running_mean`, `running_var`, each `[C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm2d {
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the new batch in the running mean and variance.
    pub momentum: f32,
}

impl Default for BatchNorm2d {
    fn default() -> Self {
        BatchNorm2d { epsilon: 1e-5, momentum: 0.1 }
    }
}

impl BatchNorm2d {
    /// PyTorch's defaults: epsilon 1e-5, momentum 0.1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mean and biased variance of each channel of a batch.
    fn batch_statistics(input: &View<'_>) -> Vec<(f64, f64)> {
        let (channels, plane) = channels_and_plane(input.shape);
        let of_channel = |c: usize| input.data.chunks(plane).skip(c).step_by(channels).flatten().map(|&v| f64::from(v));
        (0..channels)
            .map(|c| {
                let count = (input.data.len() / channels) as f64;
                let mean = of_channel(c).sum::<f64>() / count;
                let variance = of_channel(c).map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                (mean, variance)
            })
            .collect()
    }

    /// Mean and variance of a channel: the batch's in training, the running ones in inference.
    fn statistics<'a>(call: &Call<'a>) -> impl Fn(usize) -> (f64, f64) + use<'a> {
        let batch = match call.mode {
            Mode::Training { .. } => Self::batch_statistics(&call.inputs[0]),
            Mode::Inference => Vec::new(),
        };
        let (mean, variance) = (call.parameters[2], call.parameters[3]);
        move |c| batch.get(c).copied().unwrap_or_else(|| (f64::from(mean[c]), f64::from(variance[c])))
    }
}

fn channels_and_plane(shape: &Shape) -> (usize, usize) {
    (shape[0], shape[1..].iter().product())
}

impl Operation for BatchNorm2d {
    fn kind(&self) -> &str {
        "BatchNorm2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        if !(self.epsilon >= 0.0 && (0.0..=1.0).contains(&self.momentum)) {
            return Err(Misfit(format!("epsilon {} or momentum {} is out of range", self.epsilon, self.momentum)));
        }
        let input = only_input(inputs)?;
        input.channels_and_plane().map(|_| input.clone()).ok_or("takes shape [C, H, W] or [F]".into())
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        let c = inputs[0][0];
        vec![
            Parameter::learned("weight", [c], Init::Constant(1.0)),
            Parameter::learned("bias", [c], Init::Constant(0.0)),
            Parameter::state("running_mean", [c], Init::Constant(0.0)),
            Parameter::state("running_var", [c], Init::Constant(1.0)),
        ]
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        2 * inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let statistics = Self::statistics(call);
        let (channels, plane) = channels_and_plane(call.inputs[0].shape);
        let planes = call.inputs[0].data.chunks(plane).zip(output.chunks_mut(plane));
        for (index, (input, output)) in planes.enumerate() {
            let c = index % channels;
            let (mean, variance) = statistics(c);
            let scale = f64::from(call.parameters[0][c]) / (variance + f64::from(self.epsilon)).sqrt();
            for (y, &x) in output.iter_mut().zip(input) {
                *y = ((f64::from(x) - mean) * scale + f64::from(call.parameters[1][c])) as f32;
            }
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let statistics = Self::statistics(call);
        let (channels, plane) = channels_and_plane(call.inputs[0].shape);
        let input = call.inputs[0].data;
        let places = |c: usize| (c * plane..input.len()).step_by(channels * plane).flat_map(move |p| p..p + plane);
        for c in 0..channels {
            let (mean, variance) = statistics(c);
            let inverse = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
            let normal = |i: usize| (f64::from(input[i]) - mean) * inverse;
            let dy = |i: usize| f64::from(output_gradient[i]);
            let sum_dy: f64 = places(c).map(dy).sum();
            let sum_dy_normal: f64 = places(c).map(|i| dy(i) * normal(i)).sum();
            gradients.parameters[0][c] += sum_dy_normal as f32;
            gradients.parameters[1][c] += sum_dy as f32;
            let count = (input.len() / channels) as f64;
            let scale = f64::from(call.parameters[0][c]) * inverse;
            for i in places(c) {
                let through_statistics = match call.mode {
                    Mode::Training { .. } => (sum_dy + normal(i) * sum_dy_normal) / count,
                    Mode::Inference => 0.0,
                };
                gradients.inputs[0][i] += (scale * (dy(i) - through_statistics)) as f32;
            }
        }
    }

    fn update_state(&self, _batch: usize, inputs: &[View<'_>], parameters: &mut [Vec<f32>]) {
        let (channels, _) = channels_and_plane(inputs[0].shape);
        let count = (inputs[0].data.len() / channels) as f64;
        let momentum = f64::from(self.momentum);
        let blend = |old: &mut f32, new: f64| *old = ((1.0 - momentum) * f64::from(*old) + momentum * new) as f32;
        for (c, (mean, variance)) in Self::batch_statistics(&inputs[0]).into_iter().enumerate() {
            blend(&mut parameters[2][c], mean);
            blend(&mut parameters[3][c], variance * count / (count - 1.0).max(1.0));
        }
    }

    fn couples_samples(&self) -> bool {
        true
    }
}
