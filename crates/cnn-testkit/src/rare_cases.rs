//! Cases of layers that few networks have: every backend runs them on their plain loops.

use std::sync::Arc;

use cnn_core::layers::{
    Call, Gradients, Init, LocalContrastNorm, LocallyConnected2d, Operation, Parameter, Rrelu, SpectralPool2d, View,
};
use cnn_core::{Layer, Misfit, Shape};

use crate::Case;
use crate::cases::image;

/// Their cases.
pub(crate) fn rare_cases() -> Vec<Case> {
    let local = |channels: usize, kernel: [usize; 2]| LocallyConnected2d::new(channels, kernel);
    vec![
        Case::new("rrelu", Rrelu::default(), &image(3, 4, 5)),
        Case::new("rrelu of vectors", Rrelu::new(-0.5, 0.9), &[Shape::from([21])]),
        Case::new("spectral pool", SpectralPool2d::new([3, 5]), &image(2, 7, 8)),
        Case::new("spectral pool to even extents", SpectralPool2d::new([4, 6]), &image(2, 7, 8)),
        Case::new("spectral pool of rows alone", SpectralPool2d::new([2, 5]), &image(3, 6, 5)),
        Case::new("spectral pool to one pixel", SpectralPool2d::new(1), &image(2, 5, 4)),
        Case::new("local contrast norm", LocalContrastNorm::new(3), &image(2, 5, 4)),
        Case::new(
            "local contrast norm with a wide window",
            LocalContrastNorm { epsilon: 0.4, ..LocalContrastNorm::new(9) },
            &image(3, 4, 6),
        ),
        Case::new("locally connected 3x3", local(4, [3, 3]), &image(3, 6, 5)),
        Case::new("locally connected padded", local(3, [3, 2]).padding([1, 0, 2, 1]).stride(2), &image(2, 7, 6)),
        Case::new(
            "locally connected in groups",
            local(4, [2, 2]).groups(2).dilation([2, 1]).without_bias(),
            &image(4, 5, 4),
        ),
        Case::new("locally connected padded beyond its kernel", local(2, [2, 2]).padding(3), &image(2, 3, 3)),
        Case::new("custom layer that observes", Layer::Custom(Arc::new(Centred)), &image(2, 3, 4)),
    ]
}

/// A user's own layer with state alone: values less the mean of earlier batches.
#[derive(Debug)]
struct Centred;

impl Operation for Centred {
    fn kind(&self) -> &str {
        "Centred"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [input] => Ok((*input).clone()),
            _ => Err("takes one input".into()),
        }
    }

    fn parameters(&self, _inputs: &[&Shape]) -> Vec<Parameter> {
        vec![Parameter::state("mean", [1], Init::Constant(0.0))]
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let mean = call.parameters[0][0];
        output.iter_mut().zip(call.inputs[0].data).for_each(|(y, x)| *y = x - mean);
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], dy: &[f32], gradients: &mut Gradients<'_, '_>) {
        gradients.inputs[0].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
    }

    fn update_state(&self, _batch: usize, inputs: &[View<'_>], parameters: &mut [Vec<f32>]) {
        let sum: f64 = inputs[0].data.iter().map(|&x| f64::from(x)).sum();
        let mean = &mut parameters[0][0];
        *mean += 0.25 * ((sum / inputs[0].data.len() as f64) as f32 - *mean);
    }
}
