//! A value that does not depend on the input.

use super::{Call, Gradients, Init, Operation, Parameter, Role, only_input};
use crate::{Misfit, Shape};

/// Its parameter, for every sample alike. It reads an input and ignores it.
///
/// # Shapes
/// Input of any shape, output `shape`. Parameter: `value` of that shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Shape of the value.
    pub shape: Shape,
    /// Whether training learns it.
    pub role: Role,
}

impl Operation for Constant {
    fn kind(&self) -> &str {
        "Constant"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        only_input(inputs).map(|_| self.shape.clone())
    }

    fn parameters(&self, _inputs: &[&Shape]) -> Vec<Parameter> {
        vec![Parameter { name: "value", shape: self.shape.clone(), role: self.role, init: Init::Constant(1.0) }]
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.chunks_mut(self.shape.elements()).for_each(|sample| sample.copy_from_slice(call.parameters[0]));
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        if self.role == Role::Learned {
            for sample in output_gradient.chunks(self.shape.elements()) {
                gradients.parameters[0].iter_mut().zip(sample).for_each(|(g, dy)| *g += dy);
            }
        }
    }
}
