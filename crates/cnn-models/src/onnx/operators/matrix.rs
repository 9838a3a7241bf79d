//! Matrix products.

use cnn_core::Shape;
use cnn_core::layers::{Binary, Linear, MatMul, Unary};

use super::Call;
use super::elementwise::{apply, pair};
use super::movement::permuted;
use super::shapes::with_dims;
use crate::onnx::array::Array;
use crate::onnx::context::{Context, Outcome, Refusal, Value};

pub(super) fn mat_mul(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    Ok(vec![product(context, &call.name, &a, &b)?])
}

/// The product of two values, of the last two axes of each.
pub(super) fn product(context: &mut Context, name: &str, a: &Value, b: &Value) -> Outcome<Value> {
    if let (1, Some(weight)) = (context.hidden(a), b.known()) {
        if let ([features], [rows, outputs]) = (a.dims(), &weight.dims[..]) {
            if features == rows {
                let (features, outputs) = (*features, *outputs);
                context.spend(weight.elements() as u64)?;
                let from = (0..features * outputs).map(|i| i % features * outputs + i / features);
                let weight = weight.picked(vec![outputs, features], from);
                return linear(context, name, a, &[weight]);
            }
        }
    }
    // Vectors are matrices of one row or column for the time of the product.
    let ranks = [context.rank(a), context.rank(b)];
    let row = if ranks[0] == 1 { with_dims(a, [&[1], a.dims()].concat())? } else { a.clone() };
    let column = if ranks[1] == 1 { with_dims(b, [b.dims(), &[1]].concat())? } else { b.clone() };
    if (context.hidden(a) == 1 && a.dims().len() < 2) || (context.hidden(b) == 1 && b.dims().len() < 2) {
        return Err(Refusal::mixes());
    }
    let result = matrices(context, name, &row, &column)?;
    let mut dims = result.dims().to_vec();
    if ranks[1] == 1 {
        dims.pop();
    }
    if ranks[0] == 1 {
        let at = dims.len() - if ranks[1] == 1 { 1 } else { 2 };
        dims.remove(at);
    }
    with_dims(&result, dims)
}

/// The product of values of two or more axes.
fn matrices(context: &mut Context, name: &str, a: &Value, b: &Value) -> Outcome<Value> {
    let flows = context.batched && (a.known().is_none() || b.known().is_none());
    // Extents before the matrices, without the batch.
    let lead = |value: &Value, rank: usize| {
        let mut dims = vec![1; rank - context.rank(value)];
        dims.extend_from_slice(value.dims());
        if flows && context.hidden(value) == 0 && (dims.is_empty() || dims.remove(0) != 1) {
            return Err(Refusal::mixes());
        }
        Ok(dims)
    };
    let rank = context.rank(a).max(context.rank(b));
    if flows && [a, b].iter().any(|value| context.hidden(value) == 1 && context.rank(value) < rank) {
        return Err(Refusal::mixes());
    }
    let (left, right) = (lead(a, rank.max(2 + usize::from(flows)))?, lead(b, rank.max(2 + usize::from(flows)))?);
    let ([left @ .., m, k], [right @ .., l, n]) = (&left[..], &right[..]) else { return Err(Refusal::mixes()) };
    let [pairs, others] = [left, right].map(|dims| dims.iter().product::<usize>());
    if k != l {
        return Err(format!("multiplies rows of {k} by columns of {l}").into());
    }
    let same = left == right || pairs == 1 || others == 1;
    if !same {
        return Err("broadcasts some axes of its matrices and not others".into());
    }
    let mut dims: Vec<usize> = left.iter().zip(right).map(|(&x, &y)| x.max(y)).collect();
    dims.extend([*m, *n]);
    let inputs = [(a, Shape::from([pairs, *m, *k])), (b, Shape::from([others, *k, *n]))];
    context.apply(name, MatMul, &inputs, &[], &dims)
}

/// A fully connected layer on vectors.
fn linear(context: &mut Context, name: &str, value: &Value, parameters: &[Array]) -> Outcome<Value> {
    let outputs = parameters[0].dims[0];
    let layer = Linear { bias: parameters.len() == 2, ..Linear::new(outputs) };
    context.apply(name, layer, &[(value, Shape::from(value.dims()))], parameters, &[outputs])
}

pub(super) fn gemm(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let [turn_a, turn_b] = [call.flag("transA")?, call.flag("transB")?];
    let addend = call.optional(2);
    if let (Some(weight), 1, false) = (b.known(), context.hidden(&a), turn_a) {
        if let Some(parameters) = weights(context, weight, addend.as_ref(), (alpha, beta, turn_b), a.dims())? {
            return Ok(vec![linear(context, &call.name, &a, &parameters)?]);
        }
    }
    let turned = |context: &mut Context, value: &Value, turn: bool| match (turn, value.dims().len()) {
        (false, _) => Ok(value.clone()),
        (true, 2) => permuted(context, &call.name, value, &[1, 0]),
        (true, _) => Err(Refusal::mixes()),
    };
    let (a, b) = (turned(context, &a, turn_a)?, turned(context, &b, turn_b)?);
    let mut result = product(context, &call.name, &a, &b)?;
    let scaled = |context: &mut Context, value: Value, scale: f32| match scale {
        1.0 => Ok(value),
        scale => apply(context, &call.name, Unary::Scale { scale, offset: 0.0 }, &value),
    };
    result = scaled(context, result, alpha)?;
    if let Some(addend) = addend {
        let addend = scaled(context, addend, beta)?;
        result = pair(context, &call.name, Binary::Sum, &result, &addend)?;
    }
    Ok(vec![result])
}

/// Weight and bias of a fully connected layer; nothing where what is added is no bias.
fn weights(
    context: &mut Context,
    weight: &Array,
    addend: Option<&Value>,
    (alpha, beta, turned): (f32, f32, bool),
    dims: &[usize],
) -> Outcome<Option<Vec<Array>>> {
    let (&[rows, columns], &[features]) = (&weight.dims[..], dims) else { return Ok(None) };
    let outputs = if turned { rows } else { columns };
    if features.checked_mul(outputs) != Some(weight.elements()) {
        return Err(format!("has weights of shape {:?} for {features} features", weight.dims).into());
    }
    let mut weight = weight.clone();
    if !turned {
        context.spend(weight.elements() as u64)?;
        let from = (0..features * outputs).map(|i| i % features * outputs + i / features);
        weight = weight.picked(vec![outputs, features], from);
    }
    let scaled = |array: Array, scale: f32| match scale {
        1.0 => array,
        scale => Array::floats(array.dims.clone(), array.to_f32().iter().map(|v| v * scale).collect()),
    };
    let weight = scaled(weight, alpha);
    let Some(addend) = addend else { return Ok(Some(vec![weight])) };
    let Some(array) = addend.known() else { return Ok(None) };
    let bias = match array.elements() {
        1 => array.picked(vec![outputs], std::iter::repeat_n(0, outputs)),
        elements if elements == outputs && array.dims.last() == Some(&outputs) => array.reshaped(vec![outputs]),
        _ => return Ok(None),
    };
    Ok(Some(vec![weight, scaled(bias, beta)]))
}
