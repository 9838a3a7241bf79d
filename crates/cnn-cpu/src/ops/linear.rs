//! Fully connected layers as a matrix product: the batch's rows times the transposed weights, which are packed once.

use cnn_core::layers::{Activation, Call, Gradients};

use super::{Io, Kernel};
use crate::gemm::{Bias, Epilogue, Gemm, Matrix, Panels, Pass, pack, packed_length};
use crate::threads::Workers;

/// Name of the only row.
pub const NAME: &str = "linear/gemm";

/// Columns that one piece of work makes, before they are rounded to whole panels.
const WIDTH: usize = 64;

/// A fully connected layer with packed weights.
pub struct LinearKernel {
    gemm: Gemm,
    features: usize,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl LinearKernel {
    /// Packs `weight` of `[out_features, features]`.
    pub fn new(
        gemm: Gemm,
        features: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
    ) -> Self {
        let out_features = weight.len() / features;
        let mut weights = vec![0.0; packed_length(out_features, features, gemm.kernel.columns)];
        pack(Matrix::new(weight, out_features, features), gemm.kernel.columns, &mut weights);
        let bias = bias.map(<[f32]>::to_vec);
        LinearKernel { gemm, features, weights, bias, activation }
    }
}

impl Kernel for LinearKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let bias = self.bias.as_deref().map_or(Bias::None, Bias::Columns);
        let epilogue = Epilogue { bias, activation: self.activation };
        let weights = Panels::new(&self.weights, self.gemm.kernel.columns, self.features);
        multiply(self.gemm, weights, epilogue, io, workers);
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    fn scratch_length(&self) -> usize {
        rows_length(self.gemm, 1)
    }
}

/// The batch's rows times packed weights.
pub(crate) fn multiply(gemm: Gemm, weights: Panels<'_>, epilogue: Epilogue<'_>, io: Io<'_>, workers: Workers<'_>) {
    let features = weights.depth();
    let input = Matrix::new(io.inputs[0], io.batch, features);
    let shape = (io.batch, io.output.len() / io.batch);
    let width = WIDTH.next_multiple_of(gemm.kernel.columns);
    workers.for_each_column_block(io.output, shape, width, |_, mut block| {
        let weights = weights.from_panel(block.columns().start / gemm.kernel.columns);
        workers.scratch(rows_length(gemm, io.batch), |scratch| {
            for start in (0..features).step_by(gemm.blocking.depth) {
                let part = start..(start + gemm.blocking.depth).min(features);
                let rows = &mut scratch[..packed_length(io.batch, part.len(), gemm.kernel.rows)];
                pack(input.columns(part.clone()), gemm.kernel.rows, rows);
                let pass = Pass { first: start == 0, last: part.end == features, epilogue };
                let rows = Panels::new(rows, gemm.kernel.rows, part.len());
                gemm.multiply_block(rows, weights.at_depth(part), &mut block, pass);
            }
        });
    });
}

/// Adds the gradients of a batch of inputs of F elements to those of input, weight `[O, F]` and bias, given that of the
/// output, `dy`.
pub(crate) fn backward(
    gemm: Gemm,
    call: &Call<'_>,
    dy: &[f32],
    gradients: &mut Gradients<'_, '_>,
    workers: Workers<'_>,
) {
    let (batch, features) = (call.batch, call.inputs[0].shape.elements());
    let out_features = dy.len() / batch;
    let weight = Matrix::new(call.parameters[0], out_features, features);
    let (x, dy_rows) = (Matrix::new(call.inputs[0].data, batch, features), Matrix::new(dy, batch, out_features));
    workers.for_each_column_block(&mut *gradients.inputs[0], (batch, features), WIDTH, |_, mut block| {
        let length = gemm.multiply_length(batch, block.columns().len());
        workers.scratch(length, |scratch| gemm.multiply(dy_rows, weight, &mut block, true, scratch));
    });
    workers.for_each_column_block(&mut *gradients.parameters[0], (out_features, features), WIDTH, |_, mut block| {
        let length = gemm.multiply_length(out_features, block.columns().len());
        workers.scratch(length, |scratch| gemm.multiply(dy_rows.transposed(), x, &mut block, true, scratch));
    });
    if let Some(bias) = gradients.parameters.get_mut(1) {
        for dy in dy.chunks(out_features) {
            bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
    }
}

/// Floats of scratch for one block of depth of the batch's rows.
fn rows_length(gemm: Gemm, batch: usize) -> usize {
    packed_length(batch, gemm.blocking.depth, gemm.kernel.rows)
}
