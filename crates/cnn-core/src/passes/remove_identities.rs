//! Removes layers that move no value in inference: dropout and flatten.

use super::Program;
use crate::Layer;

/// Lets the readers of a dropout or flatten read its input. One that reads the network's input and is its output
/// stays, as a program has to write something.
pub(super) fn remove_identities(program: &mut Program<'_>) {
    let mut at = 0;
    while at < program.steps.len() {
        let step = &program.steps[at];
        let identity = matches!(program.layer(step), Layer::Dropout(_) | Layer::Flatten(_));
        let (from, to) = (step.output, step.inputs[0]);
        if !identity || (program.output == from && to == crate::ValueId::INPUT) {
            at += 1;
            continue;
        }
        program.steps.remove(at);
        for input in program.steps.iter_mut().flat_map(|step| &mut step.inputs).filter(|input| **input == from) {
            *input = to;
        }
        if program.output == from {
            program.output = to;
        }
    }
}
