//! Maximum and average pooling, forward and backward.

use cnn_core::window::{Axis, Plane, Rounding, Window};
use cnn_core::{Layer, Result};

use super::layer::{Site, Work};
use crate::kernel::Argument::{self, Float, Ints2, Ints4};
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/pool", text: concat!(include_str!("samples.cl"), include_str!("pool.cl")) };

/// What the source calls `MEAN`.
fn mean(layer: &Layer) -> i64 {
    match layer {
        Layer::MaxPool2d(_) => 0,
        Layer::AvgPool2d(pool) if pool.count_padding => 1,
        _ => 2,
    }
}

fn plane(site: &Site<'_>) -> Plane {
    let input = &site.learner.network.input_shapes(site.node)[0];
    let extents = [site.inputs[0].place.rows, site.inputs[0].place.columns];
    let plane = match site.layer() {
        Layer::MaxPool2d(pool) => pool.plane(input),
        Layer::AvgPool2d(pool) => pool.plane(input),
        _ => Window::new(extents).resolve(extents, Rounding::Floor),
    };
    plane.expect("the network has checked the window")
}

/// Whether windows touch and cover the input, so that each input is in one.
fn is_exact(plane: &Plane) -> bool {
    /// Taps that are worth a program of their own.
    const MOST: usize = 16;
    let exact = |axis: &Axis| {
        let Axis { input, output, kernel, stride, dilation, before, after } = *axis;
        kernel == stride && dilation == 1 && before == 0 && after == 0 && input == output * stride
    };
    exact(&plane.rows) && exact(&plane.columns) && plane.rows.kernel * plane.columns.kernel <= MOST
}

fn defines(site: &Site<'_>, plane: &Plane) -> [(&'static str, i64); 3] {
    let exact = |axis: &Axis| if is_exact(plane) { axis.kernel as i64 } else { 0 };
    [("MEAN", mean(site.layer())), ("EXACT_Y", exact(&plane.rows)), ("EXACT_X", exact(&plane.columns))]
}

/// The windows along an axis: (taps, stride, dilation, padding before).
fn window(axis: &Axis) -> Argument {
    Ints4([axis.kernel, axis.stride, axis.dilation, axis.before].map(|number| number as i32))
}

fn geometry(site: &Site<'_>, plane: &Plane) -> [Argument; 5] {
    [
        site.inputs[0].place.extents(site.groups),
        site.output.place.extents(site.groups),
        window(&plane.rows),
        window(&plane.columns),
        Ints2([plane.rows.after as i32, plane.columns.after as i32]),
    ]
}

pub(super) fn forward(site: &Site<'_>) -> Result<Work> {
    let (plane, input, output) = (plane(site), &site.inputs[0], &site.output);
    let program = site.program(SOURCE, &defines(site, &plane))?;
    let launch = site
        .launch(&program, "pool", [output.place.rows, output.place.channels * site.groups])
        .with([input.memory(), output.memory(), input.place.argument(), output.place.argument()])
        .with(geometry(site, &plane));
    Ok(Work::of(vec![launch]))
}

pub(super) fn backward(site: &Site<'_>) -> Result<Work> {
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(Work::default()) };
    let (plane, input) = (plane(site), &site.inputs[0]);
    let (code, parameter) = activation_code(flow.through);
    let defines =
        [&defines(site, &plane)[..], &[("DERIVATIVE", code), ("ACCUMULATE", i64::from(flow.accumulate))]].concat();
    let program = site.program(SOURCE, &defines)?;
    let rows = if is_exact(&plane) { site.output.place.rows } else { 1 };
    let launch = site
        .launch(&program, "pool_backward", [rows, site.output.place.channels * site.groups])
        .with([input.memory(), site.gradient.memory(), to.memory()])
        .with([input.place.argument(), site.gradient.place.argument(), to.place.argument()])
        .with(geometry(site, &plane))
        .with([Float(parameter)]);
    Ok(Work::of(vec![launch]))
}
