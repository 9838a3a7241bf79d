//! What a vector of samples works in on its way through a network: every value, and the gradients, of which few are needed
//! at a time: that of a value from the last layer that reads it, the first on the way back, to the layer that made it.

use cnn_core::ValueId;
use cnn_core::training::Learner;

use crate::memory::Buffer;

/// A vector of samples of every value, and room for gradients.
pub(super) struct Workspace {
    pub(super) values: Vec<Buffer>,
    pub(super) gradients: Gradients,
    pub(super) scratch: Buffer,
}

impl Workspace {
    pub(super) fn new(slots: &Slots, (lanes, scratch): (usize, usize)) -> Self {
        let buffers = |lengths: &[usize]| lengths.iter().map(|length| Buffer::zeroed(length * lanes)).collect();
        let lengths = slots.values.iter().map(|length| length * lanes).collect();
        let gradients = Gradients { slots: slots.of_value.clone(), lengths, buffers: buffers(&slots.gradients) };
        Workspace { values: buffers(&slots.values), gradients, scratch: Buffer::zeroed(scratch) }
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

/// How long values are, and which buffer holds the gradient of each.
pub(super) struct Slots {
    /// Elements of each value; 0 where it is not kept.
    values: Vec<usize>,
    of_value: Vec<Option<usize>>,
    /// Elements of each buffer.
    gradients: Vec<usize>,
}

impl Slots {
    /// `reads` has for each node the one whose inputs its step reads; nothing where the next one's step does its work, and what it
    /// makes is not kept. The largest gradients first, each in the first buffer that is free while it is needed.
    pub(super) fn new(learner: &Learner, reads: &[Option<usize>]) -> Self {
        let network = &learner.network;
        let elements = |value: ValueId| network.shape(value).elements();
        let mut slots =
            Slots { values: network.values().map(elements).collect(), of_value: Vec::new(), gradients: Vec::new() };
        slots.of_value.resize(slots.values.len(), None);
        let (done, not_kept): (Vec<usize>, Vec<usize>) = (0..reads.len()).partition(|&node| reads[node].is_some());
        for node in not_kept {
            slots.values[network.output_of(node).index()] = 0;
        }
        let mut values: Vec<_> =
            done.into_iter().map(|node| (network.output_of(node), needed(learner, reads, node))).collect();
        values.sort_by_key(|&(value, _)| std::cmp::Reverse(elements(value)));
        let mut taken: Vec<Vec<[usize; 2]>> = Vec::new();
        for (value, [from, to]) in values {
            let is_free = |others: &Vec<[usize; 2]>| others.iter().all(|&[first, last]| to < first || last < from);
            let slot = taken.iter().position(is_free).unwrap_or(taken.len());
            if slot == taken.len() {
                taken.push(Vec::new());
                slots.gradients.push(elements(value));
            }
            taken[slot].push([from, to]);
            slots.of_value[value.index()] = Some(slot);
        }
        slots
    }
}

/// The first and the last of the nodes on the way back that leave the gradient of what `node` makes as it must be: from the layer
/// that made it to the last that reads it, or beyond all where the loss reaches it. What nothing reaches stays the zeros that it is
/// from the start, in a buffer of its own.
fn needed(learner: &Learner, reads: &[Option<usize>], node: usize) -> [usize; 2] {
    let value = learner.network.output_of(node);
    let reads_it =
        |&node: &usize| reads[node].is_some_and(|from| learner.network.nodes()[from].inputs.contains(&value));
    match (value == learner.logits, (0..reads.len()).rev().find(reads_it)) {
        (true, _) => [node, reads.len()],
        (false, Some(reader)) => [node, reader],
        (false, None) => [0, reads.len()],
    }
}
