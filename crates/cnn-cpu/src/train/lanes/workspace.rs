//! What a vector of samples works in on its way through a network: every value, and the gradients, of which few are needed
//! at a time: that of a value from the last layer that reads it, on the way back the first, to the layer that made it.

use cnn_core::training::Learner;
use cnn_core::{Network, ValueId};

use crate::memory::Buffer;

/// A vector of samples of every value, and room for gradients.
pub(super) struct Workspace {
    pub(super) values: Vec<Buffer>,
    pub(super) gradients: Gradients,
    pub(super) scratch: Buffer,
}

impl Workspace {
    pub(super) fn new(network: &Network, slots: &Slots, (lanes, scratch): (usize, usize)) -> Self {
        let values = network.values().map(|value| Buffer::zeroed(network.shape(value).elements() * lanes)).collect();
        let buffers = slots.lengths.iter().map(|length| Buffer::zeroed(length * lanes)).collect();
        let lengths = network.values().map(|value| network.shape(value).elements() * lanes).collect();
        let gradients = Gradients { slots: slots.of_value.clone(), lengths, buffers };
        Workspace { values, gradients, scratch: Buffer::zeroed(scratch) }
    }

    /// A node's first input.
    pub(super) fn input(&self, learner: &Learner, node: usize) -> &[f32] {
        &self.values[learner.network.nodes()[node].inputs[0].index()]
    }
}

/// The gradients of values, in buffers that they share.
pub(super) struct Gradients {
    slots: Vec<Option<usize>>,
    lengths: Vec<usize>,
    buffers: Vec<Buffer>,
}

impl Gradients {
    /// That of a value while it is needed; empty for the network's input.
    pub(super) fn of(&mut self, value: ValueId) -> &mut [f32] {
        let length = self.lengths[value.index()];
        self.slots[value.index()].map_or(&mut [], |slot| &mut self.buffers[slot][..length])
    }

    /// Takes out the buffer of a value, which may be longer than the value.
    pub(super) fn take(&mut self, value: ValueId) -> Buffer {
        self.slots[value.index()].map(|slot| std::mem::take(&mut self.buffers[slot])).unwrap_or_default()
    }

    /// Puts it back.
    pub(super) fn put(&mut self, value: ValueId, buffer: Buffer) {
        if let Some(slot) = self.slots[value.index()] {
            self.buffers[slot] = buffer;
        }
    }
}

/// Which buffer holds the gradient of each value.
pub(super) struct Slots {
    of_value: Vec<Option<usize>>,
    /// Elements of each.
    lengths: Vec<usize>,
}

impl Slots {
    /// The largest first, each in the first buffer that is free while it is needed.
    pub(super) fn new(learner: &Learner) -> Self {
        let network = &learner.network;
        let mut values: Vec<_> = (0..learner.depth).map(|n| (network.output_of(n), needed(learner, n))).collect();
        values.sort_by_key(|&(value, _)| std::cmp::Reverse(network.shape(value).elements()));
        let mut of_value = vec![None; network.value_count()];
        let mut taken: Vec<Vec<[usize; 2]>> = Vec::new();
        let mut lengths = Vec::new();
        for (value, [from, to]) in values {
            let is_free = |others: &Vec<[usize; 2]>| others.iter().all(|&[first, last]| to < first || last < from);
            let slot = taken.iter().position(is_free).unwrap_or(taken.len());
            if slot == taken.len() {
                taken.push(Vec::new());
                lengths.push(network.shape(value).elements());
            }
            taken[slot].push([from, to]);
            of_value[value.index()] = Some(slot);
        }
        Slots { of_value, lengths }
    }
}

/// The first and the last of the nodes on the way back that leave the gradient of what `node` makes as it must be: from the layer
/// that made it to the last that reads it, or beyond all where the loss reaches it. What nothing reaches stays the zeros that it is
/// from the start, in a buffer of its own.
fn needed(learner: &Learner, node: usize) -> [usize; 2] {
    let value = learner.network.output_of(node);
    let reads = |node: &usize| learner.network.nodes()[*node].inputs.contains(&value);
    match (value == learner.logits, (0..learner.depth).rev().find(reads)) {
        (true, _) => [node, learner.depth],
        (false, Some(reader)) => [node, reader],
        (false, None) => [0, learner.depth],
    }
}
