//! Sums and activations, element by element, in any layout.

use cnn_core::Layer;
use cnn_core::layers::Activation;

use super::{Io, Kernel};
use crate::machine::Machine;
use crate::simd::{Instructions, Simd, Task, with_simd};
use crate::threads::Workers;

/// Name in reports.
pub const NAME: &str = "elementwise";

/// Elements that one piece of work makes.
pub(super) const PIECE: usize = 1 << 14;

/// A sum of inputs, or one input, with an activation behind it.
pub struct Elementwise {
    activation: Option<Activation>,
    instructions: Instructions,
}

impl Elementwise {
    /// The layer, which is a sum or an activation.
    pub fn new(layer: &Layer, machine: &Machine) -> Self {
        let activation = match layer {
            Layer::Activation(activation) => Some(*activation),
            _ => None,
        };
        Elementwise { activation, instructions: machine.instructions() }
    }

    /// An activation behind the sum.
    pub fn with(self, activation: Option<Activation>) -> Self {
        Elementwise { activation: activation.or(self.activation), ..self }
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
                with_simd!(self.instructions, s => apply(s, activation, output));
            }
        });
    }
}

/// Applies an activation in place.
pub fn apply<S: Simd>(s: S, activation: Activation, values: &mut [f32]) {
    let vectors = if has_vectors(activation) { values.len() / S::LANES * S::LANES } else { 0 };
    let (vectors, rest) = values.split_at_mut(vectors);
    s.vectorize(Vectors { activation, values: vectors });
    rest.iter_mut().for_each(|v| *v = activation.apply(*v));
}

/// Whole vectors, to which an activation is applied in place.
struct Vectors<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl<S: Simd> Task<S> for Vectors<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        for values in self.values.chunks_exact_mut(S::LANES) {
            let mut vector = [s.load(values)];
            of_vectors(s, Some(self.activation), &mut vector);
            s.store(values, vector[0]);
        }
    }
}

/// Whether [`of_vectors`] applies an activation: others take more than a few instructions.
pub fn has_vectors(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::Relu6 | Activation::LeakyRelu { .. })
}

/// Applies an activation that [`has_vectors`] names; leaves the vectors alone where it is another.
#[inline(always)]
pub fn of_vectors<S: Simd, const N: usize>(s: S, activation: Option<Activation>, vectors: &mut [S::Vector; N]) {
    match activation {
        Some(Activation::Relu) => {
            for v in vectors {
                *v = s.relu(*v);
            }
        }
        Some(Activation::Relu6) => {
            let six = s.splat(6.0);
            for v in vectors {
                let x = s.relu(*v);
                *v = s.where_less(six, x, six, x);
            }
        }
        Some(Activation::LeakyRelu { slope }) => {
            let (zero, slope) = (s.splat(0.0), s.splat(slope));
            for v in vectors {
                *v = s.where_less(*v, zero, s.mul(*v, slope), *v);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_instruction_set_hold_what_the_function_says() {
        let slope = 0.25;
        let activations = [
            Activation::Relu,
            Activation::Relu6,
            Activation::LeakyRelu { slope },
            Activation::Sigmoid,
            Activation::Tanh,
        ];
        let special =
            [0.0, -0.0, 6.0, 6.0 + 1e-6, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, -1e-40];
        let values: Vec<f32> = special.into_iter().chain((0..40).map(|i| i as f32 * 0.5 - 10.0)).collect();
        let same = |(g, w): (&f32, f32)| *g == w || g.is_nan() && w.is_nan();
        for set in Instructions::supported() {
            for activation in activations {
                for length in 0..=values.len() {
                    let mut got = values[..length].to_vec();
                    with_simd!(set, s => apply(s, activation, &mut got));
                    let mut pairs = got.iter().zip(values.iter().map(|&v| activation.apply(v)));
                    assert!(pairs.all(same), "{activation:?}, {}: {got:?}", set.name());
                }
            }
        }
    }
}
