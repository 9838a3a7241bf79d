//! What stands between the parts of split layers: values are spread, cut, gathered or summed, one way on the way forward and the other way
//! on the way back.
//!
//! | joint | forward | back | between |
//! |---|---|---|---|
//! | spread | as it is | sum | a whole value and a layer split by its outputs |
//! | gather | side by side | own part | such a layer and one that needs the whole value |
//! | cut | own part | side by side | a whole value and a layer split by its inputs |
//! | sum | sum | as it is | such a layer and the next |
//!
//! Joints couple the samples of a batch, so that a backend runs each once, for the whole batch, in the order of the network: all workers
//! have to meet there.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use cnn_core::layers::{Call, Dropout, Gradients, Operation};
use cnn_core::{Misfit, Shape};

use super::wire::{Way, Wire, lock};

/// Each worker's part of a value's features, in order.
pub(super) type Parts = Arc<[Range<usize>]>;

/// So many features in as many parts as there are workers, as evenly as they go.
pub(super) fn parts(features: usize, workers: usize) -> Parts {
    let start = |worker: usize| (features as u128 * worker as u128 / workers as u128) as usize;
    (0..workers).map(|worker| start(worker)..start(worker + 1)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Spread,
    Gather,
    Cut,
    Sum,
}

/// A meeting of all workers.
///
/// # Shapes
/// Input and output `[F]`; of a gather the input, of a cut the output has this worker's part of the features.
#[derive(Debug)]
pub(super) struct Joint {
    pub(super) kind: Kind,
    pub(super) rank: usize,
    pub(super) parts: Parts,
    pub(super) wire: Arc<Mutex<Wire>>,
}

impl Joint {
    fn features(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end)
    }

    fn own(&self) -> Range<usize> {
        self.parts[self.rank].clone()
    }

    /// This worker's part of every sample.
    fn part<'a>(&'a self, whole: &'a [f32]) -> impl Iterator<Item = &'a f32> {
        whole.chunks(self.features()).flat_map(|sample| &sample[self.own()])
    }

    fn gather(&self, way: Way, own: &[f32], all: &mut [f32]) {
        let is_well = lock(&self.wire).attempt(|wire| wire.gather(way, own, &self.parts, all));
        spoil(is_well, all);
    }

    fn sum(&self, way: Way, values: &mut [f32]) {
        let is_well = lock(&self.wire).attempt(|wire| wire.sum(way, values));
        spoil(is_well, values);
    }
}

/// Leaves no number where the exchange failed, so that the loss is none either.
fn spoil(is_well: bool, values: &mut [f32]) {
    if !is_well {
        values.fill(f32::NAN);
    }
}

fn add<'a>(to: &mut [f32], values: impl IntoIterator<Item = &'a f32>) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
}

impl Operation for Joint {
    fn kind(&self) -> &str {
        match self.kind {
            Kind::Spread => "Spread",
            Kind::Gather => "Gather",
            Kind::Cut => "Cut",
            Kind::Sum => "Sum",
        }
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let (part, whole) = (self.own().len(), self.features());
        let [takes, gives] = match self.kind {
            Kind::Spread | Kind::Sum => [whole, whole],
            Kind::Gather => [part, whole],
            Kind::Cut => [whole, part],
        };
        match inputs {
            [input] if input[..] == [takes] => Ok(Shape::from([gives])),
            _ => Err(Misfit(format!("takes a vector of {takes} features"))),
        }
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        match self.kind {
            Kind::Spread => output.copy_from_slice(input),
            Kind::Sum => {
                output.copy_from_slice(input);
                self.sum(Way::Forward, output);
            }
            Kind::Gather => self.gather(Way::Forward, input, output),
            Kind::Cut => output.iter_mut().zip(self.part(input)).for_each(|(to, value)| *to = *value),
        }
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let to = &mut *gradients.inputs[0];
        match self.kind {
            Kind::Spread => {
                let mut sum = output_gradient.to_vec();
                self.sum(Way::Back, &mut sum);
                add(to, &sum);
            }
            Kind::Sum => add(to, output_gradient),
            Kind::Gather => add(to, self.part(output_gradient)),
            Kind::Cut => {
                let mut all = vec![0.0; to.len()];
                self.gather(Way::Back, output_gradient, &mut all);
                add(to, &all);
            }
        }
    }

    fn couples_samples(&self) -> bool {
        true
    }
}

/// Dropout of a part: draws for these features what dropout of the whole value would.
///
/// # Shapes
/// Input and output of this part's elements, in any shape.
#[derive(Debug)]
pub(super) struct PartDropout {
    pub(super) whole: Dropout,
    /// This part's elements of a sample's.
    pub(super) part: Range<usize>,
    /// Elements of a sample of the whole.
    pub(super) elements: usize,
}

impl PartDropout {
    /// Calls `value` with each flat index and its factor.
    fn for_each_factor(&self, call: &Call<'_>, mut value: impl FnMut(usize, f32)) {
        for i in 0..call.inputs[0].data.len() {
            let (sample, element) = (i / self.part.len(), self.part.start + i % self.part.len());
            value(i, self.whole.factor(call.mode, sample * self.elements + element, self.elements));
        }
    }
}

impl Operation for PartDropout {
    fn kind(&self) -> &str {
        self.whole.kind()
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let shape = self.whole.output_shape(inputs)?;
        match shape.elements() == self.part.len() {
            true => Ok(shape),
            false => Err(Misfit(format!("takes {} elements", self.part.len()))),
        }
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        self.whole.flops(inputs, output)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0].data;
        self.for_each_factor(call, |i, factor| output[i] = input[i] * factor);
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        self.for_each_factor(call, |i, factor| gradients.inputs[0][i] += output_gradient[i] * factor);
    }
}
