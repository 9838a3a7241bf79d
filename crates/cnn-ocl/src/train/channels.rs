//! Layers that look across the channels of a pixel, forward and backward: softmax, local response normalisation.

use cnn_core::Result;
use cnn_core::layers::LocalResponseNorm;

use super::layer::{Site, Work};
use crate::kernel::Argument::{self, Float, Ints2};
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/channels", text: concat!(include_str!("samples.cl"), include_str!("channels.cl")) };

pub(super) fn softmax(site: &Site<'_>) -> Result<Work> {
    let program = site.program(SOURCE, &[])?;
    let (input, output) = (&site.inputs[0], &site.output);
    let launch = site
        .launch(&program, "softmax", [input.place.rows, site.groups])
        .with([input.memory(), output.memory(), input.place.argument(), output.place.argument()])
        .with([input.place.extents(0)]);
    Ok(Work::of(vec![launch]))
}

pub(super) fn softmax_backward(site: &Site<'_>) -> Result<Work> {
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(Work::default()) };
    let program = site.program(SOURCE, &[("ACCUMULATE", i64::from(flow.accumulate))])?;
    let (output, gradient) = (&site.output, &site.gradient);
    let launch = site
        .launch(&program, "softmax_backward", [output.place.rows, site.groups])
        .with([output.memory(), gradient.memory(), to.memory()])
        .with([output.place.argument(), gradient.place.argument(), to.place.argument(), output.place.extents(0)]);
    Ok(Work::of(vec![launch]))
}

/// Channels below and above that are summed, and what the sum becomes.
fn settings(norm: &LocalResponseNorm) -> [Argument; 4] {
    let reach = Ints2([(norm.size / 2) as i32, ((norm.size - 1) / 2) as i32]);
    [reach, Float(norm.alpha / norm.size as f32), Float(norm.beta), Float(norm.k)]
}

pub(super) fn local_response_norm(site: &Site<'_>, norm: &LocalResponseNorm) -> Result<Work> {
    let program = site.program(SOURCE, &[])?;
    let (input, output) = (&site.inputs[0], &site.output);
    let launch = site
        .launch(&program, "local_response_norm", [input.place.rows, site.groups])
        .with([input.memory(), output.memory(), input.place.argument(), output.place.argument()])
        .with([input.place.extents(0)])
        .with(settings(norm));
    Ok(Work::of(vec![launch]))
}

pub(super) fn local_response_norm_backward(site: &Site<'_>, norm: &LocalResponseNorm) -> Result<Work> {
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(Work::default()) };
    let program = site.program(SOURCE, &[("ACCUMULATE", i64::from(flow.accumulate))])?;
    let (input, gradient) = (&site.inputs[0], &site.gradient);
    let launch = site
        .launch(&program, "local_response_norm_backward", [input.place.rows, site.groups])
        .with([input.memory(), gradient.memory(), to.memory()])
        .with([input.place.argument(), gradient.place.argument(), to.place.argument(), input.place.extents(0)])
        .with(settings(norm));
    Ok(Work::of(vec![launch]))
}
