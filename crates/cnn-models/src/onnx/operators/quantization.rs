//! Quantised operators by way of the numbers that they stand for: what is quantised flows as whole numbers in `f32`.

use cnn_core::layers::{Binary, Unary};

use super::Call;
use super::convolution::convolve;
use super::elementwise::{apply, pair};
use super::matrix::product;
use crate::onnx::array::{Array, ElementType};
use crate::onnx::context::{Context, Outcome, Value};

/// A scale or zero point for one axis of a value, as what broadcasts to it.
fn along(context: &Context, value: &Value, numbers: &Array, axis: i64) -> Outcome<Value> {
    let elements = numbers.elements();
    if elements == 1 {
        return Ok(Value::Known(numbers.reshaped(vec![])));
    }
    if numbers.dims.len() != 1 {
        return Err("is quantised in blocks".into());
    }
    let place = context.axis(value, axis)?;
    if value.dims()[place] != elements {
        return Err(format!("has {elements} scales or zero points for {} places", value.dims()[place]).into());
    }
    let mut dims = vec![1; value.dims().len() - place];
    dims[0] = elements;
    Ok(Value::Known(numbers.reshaped(dims)))
}

/// The numbers that quantised ones stand for.
fn real(
    context: &mut Context,
    name: &str,
    value: &Value,
    (scale, zero): (&Array, Option<&Array>),
    axis: i64,
) -> Outcome<Value> {
    let mut result = whole(context, name, value, zero, axis)?;
    let scale = along(context, value, scale, axis)?;
    result = pair(context, name, Binary::Product, &result, &scale)?;
    Ok(super::typed(result, ElementType::Float))
}

/// Quantised numbers less their zero point.
fn whole(context: &mut Context, name: &str, value: &Value, zero: Option<&Array>, axis: i64) -> Outcome<Value> {
    let value = match value {
        Value::Known(array) => Value::Known(Array::floats(array.dims.clone(), array.to_f32().into_owned())),
        flowing => flowing.clone(),
    };
    match zero.filter(|zero| zero.to_f32().iter().any(|&v| v != 0.0)) {
        None => Ok(value),
        Some(zero) => {
            let zero = along(context, &value, zero, axis)?;
            pair(context, name, Binary::Difference, &value, &zero)
        }
    }
}

/// Real numbers as quantised ones of a type.
fn quantized(
    context: &mut Context,
    name: &str,
    value: &Value,
    (scale, zero): (&Array, Option<&Array>),
    (axis, element_type): (i64, ElementType),
) -> Outcome<Value> {
    let [low, high] = element_type.limits();
    if element_type.is_float() {
        return Err("quantises to floats".into());
    }
    let scale = along(context, value, scale, axis)?;
    let mut result = pair(context, name, Binary::Quotient, value, &scale)?;
    result = apply(context, name, Unary::Round, &result)?;
    if let Some(zero) = zero {
        let zero = along(context, value, zero, axis)?;
        result = pair(context, name, Binary::Sum, &result, &zero)?;
    }
    let clipped = apply(context, name, Unary::Clip { low: low as f32, high: high as f32 }, &result)?;
    Ok(super::typed(clipped, element_type))
}

pub(super) fn quantize(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, scale) = (call.input(0)?, call.known(1)?);
    let zero = call.optional(2).map(|_| call.known(2)).transpose()?;
    let element_type = match (&zero, call.int("output_dtype", 0)?) {
        (Some(zero), _) => zero.element_type,
        (None, 0) => ElementType::U8,
        (None, number) => ElementType::of_number(number)?,
    };
    let axis = call.int("axis", 1)?;
    Ok(vec![quantized(context, &call.name, &value, (&scale, zero.as_ref()), (axis, element_type))?])
}

pub(super) fn dequantize(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, scale) = (call.input(0)?, call.known(1)?);
    let zero = call.optional(2).map(|_| call.known(2)).transpose()?;
    Ok(vec![real(context, &call.name, &value, (&scale, zero.as_ref()), call.int("axis", 1)?)?])
}

/// A known value as an array.
fn array(value: Value) -> Outcome<Array> {
    value.known().cloned().ok_or_else(|| "has weights that are not constant".into())
}

pub(super) fn linear_conv(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let scales = [call.known(1)?, call.known(4)?, call.known(6)?];
    let zeros = [call.known(2)?, call.known(5)?, call.known(7)?];
    let name = call.name.clone();
    let input = real(context, &name, &call.input(0)?, (&scales[0], Some(&zeros[0])), 1)?;
    let weight = Value::Known(call.known(3)?);
    let weight = array(real(context, &name, &weight, (&scales[1], Some(&zeros[1])), 0)?)?;
    let bias = match call.optional(8) {
        None => None,
        Some(_) => {
            let (bias, weights) = (call.known(8)?, scales[1].to_f32());
            let scale = scales[0].to_f32().first().copied().unwrap_or(1.0);
            let value = |(o, b): (usize, &f32)| {
                b * scale * weights[if weights.len() == 1 { 0 } else { o.min(weights.len() - 1) }]
            };
            let values = bias.to_f32().iter().enumerate().map(value).collect();
            Some(Array::floats(bias.dims.clone(), values))
        }
    };
    let result = convolve(context, call, &input, weight, bias)?;
    Ok(vec![quantized(context, &name, &result, (&scales[2], Some(&zeros[2])), (1, zeros[2].element_type))?])
}

pub(super) fn conv(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let name = call.name.clone();
    let zero = |place: usize| call.optional(place).map(|_| call.known(place)).transpose();
    let (input_zero, weight_zero) = (zero(2)?, zero(3)?);
    let input = whole(context, &name, &call.input(0)?, input_zero.as_ref(), 1)?;
    let weight = array(whole(context, &name, &Value::Known(call.known(1)?), weight_zero.as_ref(), 0)?)?;
    let result = convolve(context, call, &input, weight, None)?;
    Ok(vec![super::typed(result, ElementType::I32)])
}

pub(super) fn mat_mul(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let name = call.name.clone();
    let zero = |place: usize| call.optional(place).map(|_| call.known(place)).transpose();
    let (left, right) = (zero(2)?, zero(3)?);
    if [&left, &right].iter().any(|zero| zero.as_ref().is_some_and(|zero| zero.elements() != 1)) {
        return Err("has more than one zero point".into());
    }
    let a = whole(context, &name, &call.input(0)?, left.as_ref(), 0)?;
    let b = whole(context, &name, &call.input(1)?, right.as_ref(), 0)?;
    Ok(vec![super::typed(product(context, &name, &a, &b)?, ElementType::I32)])
}

pub(super) fn linear_mat_mul(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let known = |places: [usize; 3]| -> Outcome<Vec<Array>> { places.iter().map(|&place| call.known(place)).collect() };
    let (scales, zeros) = (known([1, 4, 6])?, known([2, 5, 7])?);
    if scales.iter().chain(&zeros).any(|array| array.elements() != 1) {
        return Err("has more than one scale or zero point".into());
    }
    let name = call.name.clone();
    let a = real(context, &name, &call.input(0)?, (&scales[0], Some(&zeros[0])), 0)?;
    let b = real(context, &name, &call.input(3)?, (&scales[1], Some(&zeros[1])), 0)?;
    let result = product(context, &name, &a, &b)?;
    Ok(vec![quantized(context, &name, &result, (&scales[2], Some(&zeros[2])), (0, zeros[2].element_type))?])
}
