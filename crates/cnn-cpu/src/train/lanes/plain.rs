//! Layers by their plain loops: as they are where each element is worked on by itself, whatever its place; turned over
//! sample by sample where a layer asks for more.

use cnn_core::layers::{Call, Gradients, View};
use cnn_core::{Layer, Shape};
use smallvec::SmallVec;

use super::kernels::{Block, LaneKernel, Slopes};

/// The same values in another shape.
pub(super) struct Copy;

impl LaneKernel for Copy {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        output.copy_from_slice(block.inputs[0]);
    }

    fn backward(
        &self,
        _block: &Block<'_>,
        (_, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        match &mut slopes.inputs[0] {
            Some((dx, true)) => dx.copy_from_slice(dy),
            Some((dx, false)) => dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy),
            None => {}
        }
    }
}

/// Any layer that keeps samples apart.
pub(super) struct Plain {
    pub(super) layer: Layer,
    pub(super) inputs: Vec<Shape>,
    pub(super) output: Shape,
    pub(super) lanes: usize,
    /// Whether lanes may stand for samples as they lie: every element is worked on by itself.
    pub(super) elementwise: bool,
}

impl Plain {
    fn call<'a>(&'a self, block: &Block<'_>, inputs: &'a [View<'a>], parameters: &'a [&'a [f32]]) -> Call<'a> {
        let batch = if self.elementwise { self.lanes } else { block.samples };
        Call { batch, inputs, output_shape: &self.output, parameters, mode: block.mode }
    }

    /// A value as the layer wants it.
    fn taken(&self, data: &[f32], samples: usize) -> Vec<f32> {
        match self.elementwise {
            true => data.to_vec(),
            false => {
                let elements = data.len() / self.lanes;
                (0..samples * elements).map(|i| data[i % elements * self.lanes + i / elements]).collect()
            }
        }
    }

    /// Puts or adds what the layer made into a value, of which idle lanes become zeros.
    fn give(&self, made: &[f32], samples: usize, to: &mut [f32], fresh: bool) {
        if fresh {
            to.fill(0.0);
        }
        let elements = to.len() / self.lanes;
        match self.elementwise {
            true => to.iter_mut().zip(made).for_each(|(to, made)| *to += made),
            false => {
                for i in 0..samples * elements {
                    to[i % elements * self.lanes + i / elements] += made[i];
                }
            }
        }
    }
}

impl LaneKernel for Plain {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], _scratch: &mut [f32]) {
        let data: Vec<Vec<f32>> = block.inputs.iter().map(|data| self.taken(data, block.samples)).collect();
        let inputs: Vec<View<'_>> = self.inputs.iter().zip(&data).map(|(shape, data)| View { shape, data }).collect();
        let call = self.call(block, &inputs, &block.parameters);
        let mut made = vec![0.0; call.batch * self.output.elements()];
        self.layer.operation().forward(&call, &mut made);
        self.give(&made, block.samples, output, true);
    }

    fn backward(
        &self,
        block: &Block<'_>,
        (y, dy): (&[f32], &[f32]),
        slopes: &mut Slopes<'_, '_>,
        _scratch: &mut [f32],
    ) {
        let taken = |data: &[f32]| self.taken(data, block.samples);
        let data: Vec<Vec<f32>> = block.inputs.iter().map(|data| taken(data)).collect();
        let inputs: Vec<View<'_>> = self.inputs.iter().zip(&data).map(|(shape, data)| View { shape, data }).collect();
        let call = self.call(block, &inputs, &block.parameters);
        let mut made: Vec<Vec<f32>> = data.iter().map(|data| vec![0.0; data.len()]).collect();
        if slopes.fresh {
            slopes.parameters.iter_mut().for_each(|slope| slope.fill(0.0));
        }
        let mut to_inputs: SmallVec<[&mut [f32]; 4]> = made.iter_mut().map(Vec::as_mut_slice).collect();
        let mut to_parameters: SmallVec<[&mut [f32]; 4]> =
            slopes.parameters.iter_mut().map(|slope| &mut **slope).collect();
        let mut gradients = Gradients { inputs: &mut to_inputs, parameters: &mut to_parameters };
        self.layer.operation().backward(&call, &taken(y), &taken(dy), &mut gradients);
        drop((to_inputs, to_parameters));
        for (made, input) in made.iter().zip(&mut *slopes.inputs) {
            if let Some((dx, fresh)) = input {
                self.give(made, block.samples, dx, *fresh);
            }
        }
    }
}
