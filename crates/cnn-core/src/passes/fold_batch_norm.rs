//! Folds a batch norm into the convolution or linear layer before it.

use super::Program;
use crate::Layer;
use crate::layers::BatchNorm2d;

/// Marks each batch norm that is the only reader of a convolution or linear layer.
pub(super) fn fold_batch_norm(program: &mut Program<'_>) {
    while let Some((leader, follower)) = program.find_pair(|leader, follower| {
        let linear = matches!(program.layer(leader), Layer::Conv2d(_) | Layer::Linear(_));
        let free = leader.batch_norm.is_none() && leader.activation.is_none();
        // A flatten between the two, removed by now, makes a channel of the norm of every pixel.
        let same_channels = program.network.input_shapes(follower.node) == [program.network.shape(leader.output)];
        linear && free && same_channels && matches!(program.layer(follower), Layer::BatchNorm2d(_))
    }) {
        let norm = program.steps[follower].node;
        program.absorb(leader, follower);
        program.steps[leader].batch_norm = Some(norm);
    }
}

/// Weights and bias of a layer with a batch norm folded in.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedConv {
    /// In the layout of the layer's own.
    pub weight: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<f32>,
}

/// Folds `norm`, whose parameters are weight, bias, mean and variance, into `weight` of `[O, ..]` and `bias` of
/// `[O]`. Computes in `f64` and rounds once.
pub fn fold(norm: &BatchNorm2d, parameters: [&[f32]; 4], weight: &[f32], bias: Option<&[f32]>) -> FoldedConv {
    let [gamma, beta, mean, variance] = parameters;
    let channels = gamma.len();
    let scale = |o: usize| f64::from(gamma[o]) / (f64::from(variance[o]) + f64::from(norm.epsilon)).sqrt();
    let per_channel = weight.len() / channels.max(1);
    FoldedConv {
        weight: weight.iter().enumerate().map(|(i, &w)| (f64::from(w) * scale(i / per_channel)) as f32).collect(),
        bias: (0..channels)
            .map(|o| {
                let offset = bias.map_or(0.0, |b| f64::from(b[o])) - f64::from(mean[o]);
                (offset * scale(o) + f64::from(beta[o])) as f32
            })
            .collect(),
    }
}
