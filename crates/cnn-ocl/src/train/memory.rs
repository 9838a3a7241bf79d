//! The device's memory for the values of a network in training and their gradients.

use std::sync::Arc;

use cnn_core::training::Learner;
use cnn_core::{Result, ValueId};

use super::graph::Graph;
use super::layer::kept;
use super::place::{Held, Place, Sides};
use crate::buffer::Buffer;
use crate::driver::Driver;

/// For batches of up to so many groups of samples. Smaller ones use the first groups.
pub(super) struct Memory {
    pub(super) groups: usize,
    /// By value; nothing for those that lie in another's memory.
    values: Vec<Option<Held>>,
    gradients: Vec<Option<Held>>,
    /// By node: what its forward pass leaves for the backward one.
    pub(super) kept: Vec<Arc<Buffer>>,
    /// Images as they come, their labels, and what the loss tells of each.
    pub(super) images: Buffer,
    pub(super) labels: Arc<Buffer>,
    pub(super) found: Arc<Buffer>,
}

impl Memory {
    pub(super) fn new(driver: &Driver, learner: &Learner, graph: &Graph, sides: Sides, groups: usize) -> Result<Self> {
        let network = &learner.network;
        let hold = |what: &str, place: Place| -> Result<Option<Held>> {
            let floats = place.group().saturating_mul(groups).saturating_mul(sides.samples);
            let buffer = Buffer::filled(driver, what, floats, |out| out.fill(0.0))?;
            Ok(Some(Held { buffer: Arc::new(buffer), place }))
        };
        let (mut values, mut gradients) = (Vec::new(), Vec::new());
        for (i, value) in graph.values.iter().enumerate() {
            let is_held = graph.home[i] == i;
            values.push(if is_held { hold("a value", value.place)? } else { None });
            gradients.push(if is_held && value.has_gradient { hold("a gradient", value.gradient)? } else { None });
        }
        let kept = network.nodes()[..learner.depth].iter().enumerate().map(|(node, n)| {
            let channels = Place::new(network.input_shapes(node)[0]).channels;
            Buffer::new(driver, "statistics", kept(&n.layer, channels)).map(Arc::new)
        });
        let kept = kept.collect::<Result<_>>()?;
        let samples = groups * sides.samples;
        Ok(Memory {
            groups,
            values,
            gradients,
            kept,
            images: Buffer::new(driver, "the images", samples.saturating_mul(network.input_shape().elements()))?,
            labels: Arc::new(Buffer::new(driver, "the labels", samples)?),
            found: Arc::new(Buffer::new(driver, "the losses", 2 * samples)?),
        })
    }

    /// The numbers of a value, as its own shape has them.
    pub(super) fn value(&self, learner: &Learner, graph: &Graph, value: ValueId) -> Held {
        let held = self.values[graph.home[value.index()]].as_ref().expect("a home has memory");
        held.seen_as(learner.network.shape(value))
    }

    /// Its gradient, where one is wanted.
    pub(super) fn gradient(&self, learner: &Learner, graph: &Graph, value: ValueId) -> Option<Held> {
        let held = self.gradients[graph.home[value.index()]].as_ref()?;
        Some(held.seen_as(learner.network.shape(value)))
    }
}
