//! Normalisations. That of batches is a layer; the others are made of means, products and roots.

use cnn_core::layers::{BatchNorm2d, Binary, LocalResponseNorm, Unary};

use super::Call;
use super::elementwise::{apply, image_shape, pair};
use super::reduction::mean;
use super::shapes::with_dims;
use crate::onnx::array::Array;
use crate::onnx::context::{Context, Outcome, Value};

/// A value's extents without those of samples, and how many of them there are: what normalises channels starts there.
fn sample<'a>(context: &Context, value: &'a Value) -> Outcome<(&'a [usize], usize)> {
    let visible = 1 - context.hidden(value);
    match value.dims().get(..visible) {
        Some([] | [1]) if value.dims().len() > visible => Ok((&value.dims()[visible..], visible)),
        _ => Err("has several samples that are no batch".into()),
    }
}

pub(super) fn batch(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let trains = call.opset < 7 && !call.flag("is_test")?;
    if trains || call.flag("training_mode")? || call.int("spatial", 1)? != 1 {
        return Err("is in training mode, or normalises each place by itself".into());
    }
    let value = call.input(0)?;
    let (sample, _) = sample(context, &value)?;
    let parameters = [call.known(1)?, call.known(2)?, call.known(3)?, call.known(4)?];
    let layer = BatchNorm2d { epsilon: call.float("epsilon", 1e-5)?, momentum: 1.0 - call.float("momentum", 0.9)? };
    let shape = image_shape(sample);
    Ok(vec![context.apply(&call.name, layer, &[(&value, shape)], &parameters, value.dims())?])
}

pub(super) fn local_response(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let (sample, _) = sample(context, &value)?;
    let size = usize::try_from(call.int("size", 0)?).unwrap_or(0);
    if size % 2 == 0 {
        return Err("sees an even number of channels".into());
    }
    let layer = LocalResponseNorm {
        size,
        alpha: call.float("alpha", 1e-4)?,
        beta: call.float("beta", 0.75)?,
        k: call.float("bias", 1.0)?,
    };
    Ok(vec![context.apply(&call.name, layer, &[(&value, image_shape(sample))], &[], value.dims())?])
}

/// A value less its mean over the axes, and that over its deviation.
fn standardized(context: &mut Context, name: &str, value: &Value, axes: &[usize], epsilon: f32) -> Outcome<Value> {
    let centre = mean(context, name, value, axes)?;
    let centred = pair(context, name, Binary::Difference, value, &centre)?;
    let squares = pair(context, name, Binary::Product, &centred, &centred)?;
    let variance = mean(context, name, &squares, axes)?;
    let raised = apply(context, name, Unary::Scale { scale: 1.0, offset: epsilon }, &variance)?;
    let deviation = apply(context, name, Unary::Sqrt, &raised)?;
    pair(context, name, Binary::Quotient, &centred, &deviation)
}

/// Known numbers a channel as what broadcasts to a value with so many axes after its channels.
fn for_channels(array: &Array, after: usize) -> Value {
    let mut dims = vec![array.elements()];
    dims.extend(std::iter::repeat_n(1, after));
    Value::Known(array.reshaped(dims))
}

pub(super) fn instance(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let (sample, visible) = sample(context, &value)?;
    let after = sample.len() - 1;
    let axes: Vec<usize> = (visible + 1..value.dims().len()).collect();
    let normal = standardized(context, &call.name, &value, &axes, call.float("epsilon", 1e-5)?)?;
    let scaled = pair(context, &call.name, Binary::Product, &normal, &for_channels(&call.known(1)?, after))?;
    Ok(vec![pair(context, &call.name, Binary::Sum, &scaled, &for_channels(&call.known(2)?, after))?])
}

pub(super) fn group(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let (sample, visible) = sample(context, &value)?;
    let groups = usize::try_from(call.int("num_groups", 0)?).unwrap_or(0);
    let (channels, after) = (sample[0], sample.len() - 1);
    if groups == 0 || channels % groups != 0 {
        return Err(format!("splits {channels} channels into {groups} groups").into());
    }
    let lead = &value.dims()[..visible];
    let folded = with_dims(&value, [lead, &[groups, value.elements() / groups]].concat())?;
    let normal = standardized(context, &call.name, &folded, &[visible + 1], call.float("epsilon", 1e-5)?)?;
    let mut result = with_dims(&normal, value.dims().to_vec())?;
    for (place, operation) in [(1, Binary::Product), (2, Binary::Sum)] {
        let mut array = call.known(place)?;
        // Until version 21, one number a group.
        if array.elements() == groups && groups != channels {
            array = array.picked(vec![channels], (0..channels).map(|c| c / (channels / groups)));
        }
        result = pair(context, &call.name, operation, &result, &for_channels(&array, after))?;
    }
    Ok(vec![result])
}

pub(super) fn layer(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axis = context.axis(&value, call.int("axis", -1)?)?;
    let axes: Vec<usize> = (axis..value.dims().len()).collect();
    let normal = standardized(context, &call.name, &value, &axes, call.float("epsilon", 1e-5)?)?;
    let mut result = pair(context, &call.name, Binary::Product, &normal, &call.input(1)?)?;
    if let Some(bias) = call.optional(2) {
        result = pair(context, &call.name, Binary::Sum, &result, &bias)?;
    }
    Ok(vec![result])
}

pub(super) fn mean_variance(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axes = call.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes: Vec<usize> = axes.iter().map(|&axis| context.axis(&value, axis)).collect::<Outcome<_>>()?;
    Ok(vec![standardized(context, &call.name, &value, &axes, 1e-9)?])
}

pub(super) fn lp(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axis = context.axis(&value, call.int("axis", -1)?)?;
    let name = call.name.clone();
    let powers = match call.int("p", 2)? {
        1 => apply(context, &name, Unary::Abs, &value)?,
        2 => pair(context, &name, Binary::Product, &value, &value)?,
        other => return Err(format!("has the order {other}").into()),
    };
    let extent = value.dims()[axis] as f32;
    let average = mean(context, &name, &powers, &[axis])?;
    let mut norm = apply(context, &name, Unary::Scale { scale: extent, offset: 0.0 }, &average)?;
    if call.int("p", 2)? == 2 {
        norm = apply(context, &name, Unary::Sqrt, &norm)?;
    }
    Ok(vec![pair(context, &name, Binary::Quotient, &value, &norm)?])
}
