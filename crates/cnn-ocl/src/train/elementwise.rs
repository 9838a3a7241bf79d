//! Layers that look at each element by itself, forward and backward: activations and dropout; sums, concatenation and flattening,
//! which copy.

use cnn_core::layers::{Activation, Dropout};
use cnn_core::{Layer, Result};

use super::layer::{Site, Work};
use super::place::{Held, Place};
use crate::kernel::Argument::{Float, Long, Workspace};
use crate::kernel::Launch;
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/elementwise", text: concat!(include_str!("samples.cl"), include_str!("elementwise.cl")) };

/// The argument of `dropout` that is another in every step.
pub(super) const SEED: u32 = 6;

/// A launch of a work-item for each row of a value.
fn rows(site: &Site<'_>, defines: &[(&str, i64)], function: &'static str, place: &Place) -> Result<Launch> {
    let program = site.program(SOURCE, defines)?;
    Ok(site.launch(&program, function, [place.rows, place.channels * site.groups]))
}

/// Planar images in workspace 0 to samples side by side.
pub(super) fn turn(site: &Site<'_>, to: &Held) -> Result<Launch> {
    Ok(rows(site, &[], "turn", &to.place)?
        .with([Workspace(0), to.memory(), to.place.argument(), to.place.extents(0)])
        .ints([site.batch]))
}

pub(super) fn apply(site: &Site<'_>, activation: Activation) -> Result<Work> {
    let (input, output) = (&site.inputs[0], &site.output);
    let (code, parameter) = activation_code(Some(activation));
    let launch = rows(site, &[("ACTIVATION", code)], "apply", &output.place)?
        .with([input.memory(), output.memory(), input.place.argument(), output.place.argument()])
        .with([output.place.extents(0), Float(parameter)]);
    Ok(Work::of(vec![launch]))
}

pub(super) fn apply_backward(site: &Site<'_>, activation: Activation) -> Result<Work> {
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(Work::default()) };
    let (input, output, gradient) = (&site.inputs[0], &site.output, &site.gradient);
    let (code, parameter) = activation_code(Some(activation));
    let defines = [("DERIVATIVE", code), ("ACCUMULATE", i64::from(flow.accumulate))];
    let launch = rows(site, &defines, "apply_backward", &output.place)?
        .with([input.memory(), output.memory(), gradient.memory(), to.memory()])
        .with([&input.place, &output.place, &gradient.place, &to.place].map(Place::argument))
        .with([output.place.extents(0), Float(parameter)]);
    Ok(Work::of(vec![launch]))
}

/// Takes the output's gradient through the activation that the layer does too.
pub(super) fn derive(site: &Site<'_>, activation: Activation) -> Result<Launch> {
    let (output, gradient) = (&site.output, &site.gradient);
    let (code, parameter) = activation_code(Some(activation));
    Ok(rows(site, &[("DERIVATIVE", code)], "derive", &output.place)?
        .with([output.memory(), gradient.memory(), output.place.argument(), gradient.place.argument()])
        .with([output.place.extents(0), Float(parameter)]))
}

fn drop(site: &Site<'_>, dropout: &Dropout, [from, to]: [&Held; 2], accumulate: bool) -> Result<Work> {
    let launch = rows(site, &[("ACCUMULATE", i64::from(accumulate))], "dropout", &to.place)?
        .with([from.memory(), to.memory(), from.place.argument(), to.place.argument(), to.place.extents(0)])
        .with([Float(dropout.probability), Long(0)]);
    Ok(Work::of(vec![launch]))
}

pub(super) fn dropout(site: &Site<'_>, dropout: &Dropout) -> Result<Work> {
    drop(site, dropout, [&site.inputs[0], &site.output], false)
}

pub(super) fn dropout_backward(site: &Site<'_>, dropout: &Dropout) -> Result<Work> {
    match (site.flows[0], &site.input_gradients[0]) {
        (Some(flow), Some(to)) => drop(site, dropout, [&site.gradient, to], flow.accumulate),
        _ => Ok(Work::default()),
    }
}

/// One end of a copy: numbers, seen as this place from `first` on.
struct End<'a> {
    held: &'a Held,
    place: Place,
    first: usize,
}

impl<'a> End<'a> {
    fn whole(held: &'a Held) -> Self {
        End { held, place: held.place, first: 0 }
    }

    /// The part of an output, or of its gradient, that an input becomes: some channels of a concatenation, else all. What is
    /// flattened still has the input's extents.
    fn of_output(site: &Site<'_>, held: &'a Held, input: usize) -> Self {
        let place = site.inputs[input].place;
        match site.layer() {
            Layer::Flatten(_) => End { held, place: Place { margin: [0, 0], ..place }, first: 0 },
            Layer::Concat(_) => {
                let channels: usize = site.inputs[..input].iter().map(|before| before.place.channels).sum();
                let first = channels * held.place.plane();
                End { held, place: held.place, first }
            }
            _ => End::whole(held),
        }
    }
}

/// Copies elements to where they are in the other end's place, or adds them; `extents` are those that are copied.
fn copy(site: &Site<'_>, from: &End<'_>, to: &End<'_>, extents: &Place, accumulate: bool) -> Result<Launch> {
    Ok(rows(site, &[("ACCUMULATE", i64::from(accumulate))], "copy", extents)?
        .with([from.held.memory(), to.held.memory()])
        .with([from.place.from(from.first as isize), to.place.from(to.first as isize), extents.extents(0)]))
}

/// Copies of the inputs, added up where the layer adds.
pub(super) fn copies(site: &Site<'_>) -> Result<Work> {
    let adds = matches!(site.layer(), Layer::Add(_));
    let launches = site.inputs.iter().enumerate().map(|(i, input)| {
        let (from, to) = (End::whole(input), End::of_output(site, &site.output, i));
        copy(site, &from, &to, &input.place, adds && i > 0)
    });
    Ok(Work::of(launches.collect::<Result<_>>()?))
}

pub(super) fn copies_backward(site: &Site<'_>) -> Result<Work> {
    let mut launches = Vec::new();
    for (i, (flow, to)) in site.flows.iter().zip(&site.input_gradients).enumerate() {
        if let (Some(flow), Some(to)) = (flow, to) {
            let from = End::of_output(site, &site.gradient, i);
            launches.push(copy(site, &from, &End::whole(to), &site.inputs[i].place, flow.accumulate)?);
        }
    }
    Ok(Work::of(launches))
}
