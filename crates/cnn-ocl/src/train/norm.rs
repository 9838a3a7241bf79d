//! Batch normalisation over the samples of a batch, forward and backward.

use cnn_core::Result;
use cnn_core::layers::BatchNorm2d;

use super::layer::{Site, Work};
use crate::kernel::Argument::{Float, Memory, Workspace};
use crate::kernel::Launch;
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/norm", text: concat!(include_str!("samples.cl"), include_str!("norm.cl")) };

// The places of its parameters.
const WEIGHT: usize = 0;
const BIAS: usize = 1;
const MEAN: usize = 2;
const VARIANCE: usize = 3;

pub(super) fn forward(site: &Site<'_>, norm: &BatchNorm2d) -> Result<Work> {
    let (input, output, channels) = (&site.inputs[0], &site.output, site.inputs[0].place.channels);
    let (code, parameter) = activation_code(site.activation);
    let program = site.program(SOURCE, &[("ACTIVATION", code)])?;
    let extents = input.place.extents(0);
    let apart = site.groups * site.sides.vectors();
    let moments = site
        .launch(&program, "moments", [channels, site.groups])
        .with([input.memory(), Workspace(0), input.place.argument(), extents.clone()])
        .ints([site.batch]);
    let combine = Launch::new(&program, "combine", [channels, 1, 1])
        .group(site.driver.tuning.line_group())
        .with([Workspace(0), Memory(site.kept.clone()), site.weights()])
        .ints([channels, apart, site.offset(MEAN), site.offset(VARIANCE)])
        .with([Float(norm.epsilon), Float(norm.momentum)]);
    let normalise = site
        .launch(&program, "normalise", [input.place.rows, channels * site.groups])
        .with([input.memory(), Memory(site.kept.clone()), site.weights(), output.memory()])
        .with([input.place.argument(), output.place.argument(), extents])
        .ints([site.offset(WEIGHT), site.offset(BIAS)])
        .with([Float(parameter)]);
    Ok(Work { launches: vec![moments, combine, normalise], workspace: 3 * channels * apart })
}

pub(super) fn backward(site: &Site<'_>) -> Result<Work> {
    let (input, gradient, channels) = (&site.inputs[0], &site.gradient, site.inputs[0].place.channels);
    let flow = site.flows[0];
    let accumulate = flow.is_some_and(|flow| flow.accumulate);
    let program = site.program(SOURCE, &[("ACCUMULATE", i64::from(accumulate))])?;
    let extents = input.place.extents(0);
    let apart = site.groups * site.sides.vectors();
    let sums = site
        .launch(&program, "backward_sums", [channels, site.groups])
        .with([input.memory(), gradient.memory(), Memory(site.kept.clone()), Workspace(0)])
        .with([input.place.argument(), gradient.place.argument(), extents.clone()]);
    let combine = Launch::new(&program, "backward_combine", [channels, 1, 1])
        .group(site.driver.tuning.line_group())
        .with([Workspace(0), site.slopes()])
        .ints([channels, apart, site.offset(WEIGHT), site.offset(BIAS)]);
    let mut launches = vec![sums, combine];
    if let Some(to) = &site.input_gradients[0] {
        launches.push(
            site.launch(&program, "normalise_backward", [input.place.rows, channels * site.groups])
                .with([input.memory(), gradient.memory(), Memory(site.kept.clone()), site.weights(), site.slopes()])
                .with([to.memory(), input.place.argument(), gradient.place.argument(), to.place.argument(), extents])
                .ints([site.offset(WEIGHT), site.offset(BIAS), site.batch]),
        );
    }
    Ok(Work { launches, workspace: 2 * channels * apart })
}
