//! One layer on one input, for the layers' own tests.

use super::{Call, Gradients, Mode, Operation, View};
use crate::Shape;

fn with_call<R>(
    layer: &dyn Operation,
    mode: Mode,
    (shape, input): (&Shape, &[f32]),
    parameters: &[&[f32]],
    work: impl FnOnce(&Call<'_>, usize) -> R,
) -> R {
    let output_shape = layer.output_shape(&[shape]).expect("the input fits");
    let batch = input.len() / shape.elements();
    let inputs = [View { shape, data: input }];
    let call = Call { batch, inputs: &inputs, output_shape: &output_shape, parameters, mode };
    work(&call, batch * output_shape.elements())
}

/// The output for samples of a shape.
pub(super) fn forward(
    layer: &dyn Operation,
    mode: Mode,
    shape: &Shape,
    input: &[f32],
    parameters: &[&[f32]],
) -> Vec<f32> {
    with_call(layer, mode, (shape, input), parameters, |call, length| {
        let mut output = vec![f32::NAN; length];
        layer.forward(call, &mut output);
        output
    })
}

/// The gradients of the input and of the parameters, given that of the output.
pub(super) fn backward(
    layer: &dyn Operation,
    mode: Mode,
    shape: &Shape,
    input: &[f32],
    parameters: &[&[f32]],
    output_gradient: &[f32],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let output = forward(layer, mode, shape, input, parameters);
    let mut of_input = vec![0.0; input.len()];
    let mut of_parameters: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
    {
        let mut slices: Vec<&mut [f32]> = of_parameters.iter_mut().map(Vec::as_mut_slice).collect();
        let mut gradients = Gradients { inputs: &mut [&mut of_input], parameters: &mut slices };
        with_call(layer, mode, (shape, input), parameters, |call, _| {
            layer.backward(call, &output, output_gradient, &mut gradients);
        });
    }
    (of_input, of_parameters)
}
