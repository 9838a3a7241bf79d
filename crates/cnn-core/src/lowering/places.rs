//! Where slots lie in the arena.

use super::{Slot, SlotId, Step};
use crate::arena::{self, Layout, Lifetime};

/// Places of one sample of each slot but the first.
#[derive(Debug)]
pub(super) struct Places {
    many: Layout,
    /// In a batch of one inputs that a step joins lie in its output.
    single: Layout,
}

impl Places {
    pub(super) fn new<K>(slots: &[Slot], steps: &[Step<K>], output: SlotId, alignment: usize) -> Self {
        let lifetimes = lifetimes(slots, steps, output);
        let single = arena::lay_out_joined(&lifetimes, &parts(slots, steps), alignment);
        Places { many: arena::lay_out(&lifetimes, alignment), single }
    }

    /// For a batch of some size.
    pub(super) fn of(&self, batch: usize) -> &Layout {
        if batch == 1 { &self.single } else { &self.many }
    }
}

/// Lifetimes of the slots that steps write, in units of steps. Each is written by the step before its number.
fn lifetimes<K>(slots: &[Slot], steps: &[Step<K>], output: SlotId) -> Vec<Lifetime> {
    let lifetime = |(slot, held): (usize, &Slot)| {
        let first = steps.iter().position(|step| step.output == SlotId(slot)).unwrap_or(0);
        let last = steps.iter().rposition(|step| step.inputs.contains(&SlotId(slot))).unwrap_or(first);
        let last = if output == SlotId(slot) { steps.len() } else { last };
        Lifetime { size: held.elements(), first, last }
    };
    slots.iter().enumerate().skip(1).map(lifetime).collect()
}

/// By slot that steps write: the one, of those alike, that it is a part of, and where in it. A step joins all of its inputs or
/// none: they are no part of anything else, nor twice of it.
fn parts<K>(slots: &[Slot], steps: &[Step<K>]) -> Vec<Option<(usize, usize)>> {
    let mut parts: Vec<Option<(usize, usize)>> = vec![None; slots.len()];
    for step in steps.iter().filter(|step| step.joins) {
        let inputs = &step.inputs;
        let free = |(i, slot): (usize, &SlotId)| {
            *slot != SlotId::INPUT && parts[slot.0].is_none() && !inputs[..i].contains(slot)
        };
        if inputs.iter().enumerate().all(free) {
            let mut at = 0;
            for slot in inputs {
                parts[slot.0] = Some((step.output.0 - 1, at));
                at += slots[slot.0].elements();
            }
        }
    }
    parts.split_off(1)
}
