//! Sums and activations, element by element, in any layout.

use cnn_core::Layer;
use cnn_core::layers::Activation;

use super::{Io, Kernel};
use crate::threads::Workers;

/// Name in reports.
pub const NAME: &str = "elementwise";

/// Elements that one piece of work makes.
pub(super) const PIECE: usize = 1 << 14;

/// A sum of inputs, or one input, with an activation behind it.
pub struct Elementwise {
    activation: Option<Activation>,
}

impl Elementwise {
    /// The layer, which is a sum or an activation.
    pub fn new(layer: &Layer) -> Self {
        match layer {
            Layer::Activation(activation) => Elementwise { activation: Some(*activation) },
            _ => Elementwise { activation: None },
        }
    }

    /// An activation behind the sum.
    pub fn with(self, activation: Option<Activation>) -> Self {
        Elementwise { activation: activation.or(self.activation) }
    }
}

impl Kernel for Elementwise {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        workers.for_each_chunk(io.output, PIECE, |index, output| {
            let piece = |input: usize| &io.inputs[input][index * PIECE..][..output.len()];
            output.copy_from_slice(piece(0));
            for input in 1..io.inputs.len() {
                output.iter_mut().zip(&io.inputs[input][index * PIECE..]).for_each(|(o, i)| *o += i);
            }
            if let Some(activation) = self.activation {
                apply(activation, output);
            }
        });
    }
}

/// Applies an activation in place.
pub fn apply(activation: Activation, values: &mut [f32]) {
    match activation {
        // Loops of their own, so that the compiler makes vectors of them.
        Activation::Relu => values.iter_mut().for_each(|v| *v = Activation::Relu.apply(*v)),
        Activation::Relu6 => values.iter_mut().for_each(|v| *v = Activation::Relu6.apply(*v)),
        activation => values.iter_mut().for_each(|v| *v = activation.apply(*v)),
    }
}
