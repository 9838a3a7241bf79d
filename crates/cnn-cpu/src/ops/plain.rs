//! The plain loops of any layer, over pieces of the batch at a time: channels where the layer treats them alike,
//! samples elsewhere.

use cnn_core::layers::{Call, Gradients, Mode, Operation, View};
use cnn_core::{Layer, Shape};
use smallvec::SmallVec;

use super::{Io, Kernel};
use crate::threads::Workers;

/// Name of the row in reports.
pub const NAME: &str = "plain";

/// Any layer by its own definition.
pub struct PlainKernel {
    layer: Layer,
    /// Shapes of one piece of each input and of the output.
    inputs: Vec<Shape>,
    output: Shape,
    parameters: Vec<Vec<f32>>,
}

impl PlainKernel {
    /// A layer with its parameters on inputs of these shapes.
    pub fn new(layer: &Layer, inputs: &[&Shape], output: &Shape, parameters: Vec<Vec<f32>>) -> Self {
        let piece = |shape: &Shape| if by_channel(layer) { one_channel(shape) } else { shape.clone() };
        let inputs = inputs.iter().map(|shape| piece(shape)).collect();
        PlainKernel { layer: layer.clone(), inputs, output: piece(output), parameters }
    }
}

/// Whether a channel of the output depends on that channel of the input alone, by the same rule for each.
pub fn by_channel(layer: &Layer) -> bool {
    matches!(layer, Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool(_) | Layer::Activation(_))
}

/// The shape of one channel.
pub fn one_channel(shape: &Shape) -> Shape {
    let mut dims = shape.to_vec();
    dims[0] = 1;
    Shape::from(dims)
}

impl Kernel for PlainKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        workers.for_each_chunk(io.output, self.output.elements(), |piece, output| {
            let inputs = self.inputs.iter().zip(io.inputs);
            let inputs = inputs.map(|(shape, data)| View { shape, data: piece_of(shape, data, piece) });
            workers.operands(inputs, self.parameters.iter().map(Vec::as_slice), |inputs, parameters| {
                let call = Call { batch: 1, inputs, output_shape: &self.output, parameters, mode: Mode::Inference };
                self.layer.operation().forward(&call, output);
            });
        });
    }

    fn weight_bytes(&self) -> usize {
        self.parameters.iter().map(|p| size_of_val(&p[..])).sum()
    }

    fn joins(&self) -> bool {
        matches!(self.layer, Layer::Concat(_))
    }
}

/// The forward pass of training, sample by sample where samples do not depend on each other.
pub(crate) fn forward(layer: &dyn Operation, call: &Call<'_>, output: &mut [f32], workers: Workers<'_>) {
    if layer.couples_samples() {
        return layer.forward(call, output);
    }
    workers.for_each_chunk(output, call.output_shape.elements(), |sample, output| {
        with_sample(call, sample, |call| layer.forward(call, output));
    });
}

/// The backward pass, sample by sample where no two of them add to the same gradient.
pub(crate) fn backward(
    layer: &dyn Operation,
    call: &Call<'_>,
    (output, dy): (&[f32], &[f32]),
    gradients: &mut Gradients<'_, '_>,
    workers: Workers<'_>,
) {
    if layer.couples_samples() || gradients.inputs.len() > 1 || !gradients.parameters.is_empty() {
        return layer.backward(call, output, dy, gradients);
    }
    let (length, out_length) = (call.inputs[0].shape.elements(), call.output_shape.elements());
    workers.for_each_chunk(&mut *gradients.inputs[0], length, |sample, dx| {
        let piece = sample * out_length..(sample + 1) * out_length;
        let mut gradients = Gradients { inputs: &mut [dx], parameters: &mut [] };
        with_sample(call, sample, |call| layer.backward(call, &output[piece.clone()], &dy[piece], &mut gradients));
    });
}

/// The call for one sample of the batch.
fn with_sample(call: &Call<'_>, sample: usize, work: impl FnOnce(&Call<'_>)) {
    let inputs = call.inputs.iter();
    let inputs: SmallVec<[View<'_>; 4]> =
        inputs.map(|view| View { shape: view.shape, data: piece_of(view.shape, view.data, sample) }).collect();
    let mode = match call.mode {
        Mode::Inference => Mode::Inference,
        Mode::Training { seed, first_sample } => Mode::Training { seed, first_sample: first_sample + sample },
    };
    work(&Call { batch: 1, inputs: &inputs, mode, ..*call });
}

fn piece_of<'a>(shape: &Shape, data: &'a [f32], piece: usize) -> &'a [f32] {
    let length = shape.elements();
    &data[piece * length..(piece + 1) * length]
}
