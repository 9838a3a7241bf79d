//! Poolings.

use cnn_core::Layer;
use cnn_core::layers::{AvgPool2d, Binary, Conv2d, GlobalAvgPool, LpPool2d, MaxPool2d, Operation, Unary};
use cnn_core::window::{Axis, Padding, Rounding, Window};

use super::Call;
use super::elementwise::{apply, pair};
use super::window::{Image, kernel, window};
use crate::onnx::array::Array;
use crate::onnx::context::{Context, Outcome, Value};

fn rounding(call: &Call<'_>) -> Outcome<Rounding> {
    Ok(if call.flag("ceil_mode")? { Rounding::Ceil } else { Rounding::Floor })
}

fn run(context: &mut Context, name: &str, layer: Layer, value: &Value, image: &Image) -> Outcome<Value> {
    let made = layer.operation().output_shape(&[&image.shape]).map_err(|misfit| misfit.0)?;
    let dims = image.dims([made[0], made[1], made[2]]);
    context.apply(name, layer, &[(value, image.shape.clone())], &[], &dims)
}

pub(super) fn maximum(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    let window = window(call, &image, kernel(call, &image)?)?;
    let pool = MaxPool2d { window, rounding: rounding(call)? };
    let element_type = value.element_type();
    Ok(vec![super::typed(run(context, &call.name, pool.into(), &value, &image)?, element_type)])
}

pub(super) fn average(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    let window = window(call, &image, kernel(call, &image)?)?;
    let (rounding, count_padding) = (rounding(call)?, call.flag("count_include_pad")?);
    if window.dilation == [1, 1] {
        let pool = AvgPool2d { window, rounding, count_padding };
        return Ok(vec![run(context, &call.name, pool.into(), &value, &image)?]);
    }
    if rounding == Rounding::Ceil && count_padding {
        return Err("counts padding in dilated windows that hang over the edge".into());
    }
    // What hangs over counts no more than padding.
    let plane = window.resolve(image.extents(), rounding).map_err(|misfit| misfit.0)?;
    let reach = |axis: &Axis| (axis.output - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1;
    let after = |axis: &Axis| reach(axis).saturating_sub(axis.input + axis.before).max(axis.after);
    let padding = Padding { bottom: after(&plane.rows), right: after(&plane.columns), ..window.padding };
    let window = Window { padding, ..window };
    // The sum over each window over the number of places in it, which the sum over ones tells.
    let sum = sum_over(context, &call.name, window, &value, &image)?;
    let taps = (window.kernel[0] * window.kernel[1]) as f32;
    if count_padding {
        return Ok(vec![apply(context, &call.name, Unary::Scale { scale: 1.0 / taps, offset: 0.0 }, &sum)?]);
    }
    let [rows, columns] = image.extents();
    let plane = Image::of(context, &Value::Known(Array::floats(vec![1, 1, rows, columns], vec![1.0; rows * columns])))?;
    let ones = Value::Known(Array::floats(plane.dims([1, rows, columns]), vec![1.0; rows * columns]));
    let count = sum_over(context, &call.name, window, &ones, &plane)?;
    let count = if image.axes == 1 {
        let places = count.elements();
        super::shapes::with_dims(&count, vec![1, 1, places])?
    } else {
        count
    };
    Ok(vec![pair(context, &call.name, Binary::Quotient, &sum, &count)?])
}

/// The sum over each window: a convolution of ones with a group a channel.
fn sum_over(context: &mut Context, name: &str, window: Window, value: &Value, image: &Image) -> Outcome<Value> {
    let (channels, taps) = (image.shape[0], window.kernel[0].saturating_mul(window.kernel[1]));
    let conv = Conv2d { out_channels: channels, window, groups: channels, bias: false };
    let made = conv.output_shape(&[&image.shape]).map_err(|misfit| misfit.0)?;
    context.spend(channels.saturating_mul(taps) as u64)?;
    let ones = Array::floats(vec![channels, 1, window.kernel[0], window.kernel[1]], vec![1.0; channels * taps]);
    let dims = image.dims([made[0], made[1], made[2]]);
    context.apply(name, conv, &[(value, image.shape.clone())], &[ones], &dims)
}

pub(super) fn lp(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    let window = window(call, &image, kernel(call, &image)?)?;
    let pool = LpPool2d { p: call.int("p", 2)? as f32, window, rounding: rounding(call)? };
    Ok(vec![run(context, &call.name, pool.into(), &value, &image)?])
}

pub(super) fn global_average(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    Ok(vec![run(context, &call.name, GlobalAvgPool.into(), &value, &image)?])
}

pub(super) fn global_max(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    Ok(vec![run(context, &call.name, MaxPool2d::new(image.extents()).into(), &value, &image)?])
}

pub(super) fn global_lp(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let image = Image::of(context, &value)?;
    let pool = LpPool2d::new(call.int("p", 2)? as f32, image.extents());
    Ok(vec![run(context, &call.name, pool.into(), &value, &image)?])
}
