//! PReLU, forward and backward.

use cnn_core::Result;

use super::layer::{Site, Work};
use crate::kernel::Argument::Workspace;
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/prelu", text: concat!(include_str!("samples.cl"), include_str!("prelu.cl")) };

/// Slopes of the layer: one, or one a channel.
fn slopes(site: &Site<'_>) -> usize {
    site.learner.learned[site.node][0].length()
}

pub(super) fn forward(site: &Site<'_>) -> Result<Work> {
    let (input, output) = (&site.inputs[0], &site.output);
    let program = site.program(SOURCE, &[("SLOPES", i64::from(slopes(site) > 1))])?;
    let launch = site
        .launch(&program, "prelu", [output.place.rows, output.place.channels * site.groups])
        .with([input.memory(), site.weights(), output.memory(), input.place.argument(), output.place.argument()])
        .with([output.place.extents(0)])
        .ints([site.offset(0)]);
    Ok(Work::of(vec![launch]))
}

pub(super) fn backward(site: &Site<'_>) -> Result<Work> {
    let (input, gradient, slopes) = (&site.inputs[0], &site.gradient, slopes(site));
    let program = site.program(SOURCE, &[("SLOPES", i64::from(slopes > 1))])?;
    let sums = site
        .launch(&program, "prelu_slopes", [input.place.channels, site.groups])
        .with([input.memory(), gradient.memory(), Workspace(0)])
        .with([input.place.argument(), gradient.place.argument(), input.place.extents(0)]);
    let all = site.groups * site.sides.vectors() * input.place.channels;
    let mut launches = vec![sums, site.gather(slopes, all / slopes)?];
    if let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) {
        let defines = [("SLOPES", i64::from(slopes > 1)), ("ACCUMULATE", i64::from(flow.accumulate))];
        let program = site.program(SOURCE, &defines)?;
        let launch = site
            .launch(&program, "prelu_backward", [input.place.rows, input.place.channels * site.groups])
            .with([input.memory(), site.weights(), gradient.memory(), to.memory()])
            .with([input.place.argument(), gradient.place.argument(), to.place.argument(), input.place.extents(0)])
            .ints([site.offset(0)]);
        launches.push(launch);
    }
    Ok(Work { launches, workspace: all })
}
