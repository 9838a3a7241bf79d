//! Elementwise operators, with ONNX's broadcasting.

use cnn_core::Shape;
use cnn_core::layers::{Activation, Add, Binary, Conv2d, Prelu, Unary, Where};

use super::shapes::with_dims;
use super::{Call, typed};
use crate::onnx::array::{Array, ElementType};
use crate::onnx::context::{Context, Outcome, Refusal, Value, absolute, natural};
use crate::onnx::integers;

/// Applies a function to a value of any shape.
pub(super) fn apply(context: &mut Context, name: &str, function: Unary, value: &Value) -> Outcome<Value> {
    let (shape, dims) = (natural(value.dims()), value.dims().to_vec());
    context.apply(name, function, &[(value, shape)], &[], &dims)
}

/// Functions without parameters of their own kind in a network.
pub(super) fn unary(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let function = match &call.node.operator[..] {
        "Abs" => Unary::Abs,
        "Acos" => Unary::Acos,
        "Acosh" => Unary::Acosh,
        "Asin" => Unary::Asin,
        "Asinh" => Unary::Asinh,
        "Atan" => Unary::Atan,
        "Atanh" => Unary::Atanh,
        "Ceil" => Unary::Ceil,
        "Celu" => Unary::Celu { alpha: call.float("alpha", 1.0)? },
        "Cos" => Unary::Cos,
        "Cosh" => Unary::Cosh,
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Floor" => Unary::Floor,
        "HardSigmoid" => Unary::HardSigmoid { slope: call.float("alpha", 0.2)?, offset: call.float("beta", 0.5)? },
        "HardSwish" => Unary::HardSwish,
        "IsInf" => Unary::IsInfinite {
            negative: call.int("detect_negative", 1)? != 0,
            positive: call.int("detect_positive", 1)? != 0,
        },
        "IsNaN" => Unary::IsNan,
        "Log" => Unary::Log,
        "Mish" => Unary::Mish,
        "Neg" => Unary::Scale { scale: -1.0, offset: 0.0 },
        "Not" => Unary::Not,
        "Reciprocal" => Unary::Reciprocal,
        "Round" => Unary::Round,
        "Selu" => Unary::Selu { alpha: call.float("alpha", 1.673_263_2)?, scale: call.float("gamma", 1.050_701)? },
        "Shrink" => Unary::Shrink { threshold: call.float("lambd", 0.5)?, offset: call.float("bias", 0.0)? },
        "Sign" => Unary::Sign,
        "Sin" => Unary::Sin,
        "Sinh" => Unary::Sinh,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Sqrt" => Unary::Sqrt,
        "Swish" => Unary::Swish { beta: call.float("alpha", 1.0)? },
        "Tan" => Unary::Tan,
        "ThresholdedRelu" => Unary::ThresholdedRelu { threshold: call.float("alpha", 1.0)? },
        other => return Err(format!("is the function {other}, which is not known").into()),
    };
    let value = call.input(0)?;
    if let Some(ints) = value.known().and_then(Array::as_ints) {
        let array = integers::unary(function, ints, value.element_type()).ok_or("is not computed on whole numbers")?;
        return Ok(vec![Value::Known(array.reshaped(value.dims().to_vec()))]);
    }
    let result = apply(context, &call.name, function, &value)?;
    let truth = matches!(function, Unary::Not | Unary::IsNan | Unary::IsInfinite { .. });
    Ok(vec![if truth { typed(result, ElementType::Bool) } else { typed(result, value.element_type()) }])
}

/// Activations that every backend has kernels for.
pub(super) fn activation(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let function = match &call.node.operator[..] {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu { slope: call.float("alpha", 0.01)? },
        "Elu" => Activation::Elu { alpha: call.float("alpha", 1.0)? },
        "Sigmoid" => Activation::Sigmoid,
        _ => Activation::Tanh,
    };
    Ok(vec![with_kernels(context, &call.name, function, &call.input(0)?)?])
}

fn with_kernels(context: &mut Context, name: &str, function: Activation, value: &Value) -> Outcome<Value> {
    let (shape, dims) = (natural(value.dims()), value.dims().to_vec());
    context.apply(name, function, &[(value, shape)], &[], &dims)
}

pub(super) fn gelu(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let function = match &call.text("approximate", "none")?[..] {
        "none" => Unary::Gelu,
        "tanh" => Unary::GeluTanh,
        other => return Err(format!("approximates by `{other}`").into()),
    };
    Ok(vec![apply(context, &call.name, function, &call.input(0)?)?])
}

pub(super) fn clip(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let limit = |place: usize, name: &str| match call.attribute(name) {
        Some(_) => call.float(name, 0.0).map(Some),
        None => call.optional_number(place),
    };
    let (low, high) = (limit(1, "min")?, limit(2, "max")?);
    if (low, high) == (Some(0.0), Some(6.0)) && value.element_type().is_float() {
        return Ok(vec![with_kernels(context, &call.name, Activation::Relu6, &value)?]);
    }
    let function = Unary::Clip { low: low.unwrap_or(f32::NEG_INFINITY), high: high.unwrap_or(f32::INFINITY) };
    let low_above_high = low.zip(high).is_some_and(|(low, high)| low > high);
    if low_above_high {
        // All values are the upper limit then.
        let limited =
            apply(context, &call.name, Unary::Clip { low: f32::NEG_INFINITY, high: f32::NEG_INFINITY }, &value)?;
        let high = high.unwrap_or_default();
        return Ok(vec![apply(context, &call.name, Unary::Clip { low: high, high }, &limited)?]);
    }
    Ok(vec![typed(apply(context, &call.name, function, &value)?, value.element_type())])
}

/// Extents under which values broadcast to each other, without the batch if they flow and have one; and their own, filled up
/// with ones.
pub(super) fn aligned(context: &Context, values: &[&Value]) -> Outcome<(Vec<usize>, Vec<Shape>)> {
    let rank = values.iter().map(|value| context.rank(value)).max().unwrap_or(0);
    let flows = context.batched && values.iter().any(|value| value.known().is_none());
    let mut shapes = Vec::new();
    for value in values {
        let mut dims = vec![1; rank - context.rank(value)];
        dims.extend_from_slice(value.dims());
        if flows && context.hidden(value) == 1 && context.rank(value) < rank {
            return Err(Refusal::mixes());
        }
        if flows && context.hidden(value) == 0 && dims.remove(0) != 1 {
            return Err(Refusal::mixes());
        }
        shapes.push(dims);
    }
    let mut dims = vec![1; shapes[0].len()];
    for (axis, extent) in dims.iter_mut().enumerate() {
        for shape in &shapes {
            match shape[axis] {
                1 => {}
                other if *extent == 1 || *extent == other => *extent = other,
                other => return Err(format!("broadcasts the extents {extent} and {other}").into()),
            }
        }
    }
    let natural = shapes.iter().map(|dims| natural(dims)).collect();
    Ok((dims, natural))
}

/// An operation on two values.
pub(super) fn pair(context: &mut Context, name: &str, operation: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    let (dims, shapes) = aligned(context, &[a, b])?;
    if let Some(scale) = scaled(operation, a, b) {
        let (function, value) = scale;
        if value.elements() == dims.iter().product::<usize>() {
            return context.apply(name, function, &[(value, natural(&dims))], &[], &dims);
        }
    }
    let flow = a.known().is_none() && b.known().is_none();
    if operation == Binary::Sum && flow && shapes[0] == shapes[1] {
        return context.apply(name, Add, &[(a, shapes[0].clone()), (b, shapes[1].clone())], &[], &dims);
    }
    if let Some((conv, value, parameters)) = per_channel(operation, (a, b), &shapes) {
        return context.apply(name, conv, &[(value, natural(&dims))], &parameters, &dims);
    }
    let inputs = [(a, shapes[0].clone()), (b, shapes[1].clone())];
    context.apply(name, operation, &inputs, &[], &dims)
}

/// A sum, difference or product with one known number.
fn scaled<'a>(operation: Binary, a: &'a Value, b: &'a Value) -> Option<(Unary, &'a Value)> {
    let number = |value: &Value| value.known().filter(|array| array.elements() == 1).map(|array| array.to_f32()[0]);
    let (first, second) = (number(a), number(b));
    let (function, value) = match (operation, first, second) {
        (Binary::Sum, _, Some(offset)) => (Unary::Scale { scale: 1.0, offset }, a),
        (Binary::Sum, Some(offset), _) => (Unary::Scale { scale: 1.0, offset }, b),
        (Binary::Product, _, Some(scale)) => (Unary::Scale { scale, offset: 0.0 }, a),
        (Binary::Product, Some(scale), _) => (Unary::Scale { scale, offset: 0.0 }, b),
        (Binary::Difference, _, Some(offset)) => (Unary::Scale { scale: 1.0, offset: -offset }, a),
        (Binary::Difference, Some(offset), _) => (Unary::Scale { scale: -1.0, offset }, b),
        _ => return None,
    };
    let finite = first.or(second).is_some_and(f32::is_finite);
    (finite && value.known().is_none()).then_some((function, value))
}

/// A sum, difference or product of an image with one known number a channel: a convolution of 1x1 with a group a channel.
fn per_channel<'a>(
    operation: Binary,
    (a, b): (&'a Value, &'a Value),
    shapes: &[Shape],
) -> Option<(Conv2d, &'a Value, Vec<Array>)> {
    let (image, numbers, value, reversed) = match (a.known(), b.known()) {
        (None, Some(numbers)) => (&shapes[0], numbers, a, false),
        (Some(numbers), None) => (&shapes[1], numbers, b, true),
        _ => return None,
    };
    let own = &shapes[if reversed { 0 } else { 1 }];
    let [channels, _, _] = image[..] else { return None };
    let numbers = numbers.to_f32();
    if own[..] != [channels, 1, 1] || numbers.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let array = |value: &dyn Fn(f32) -> f32| {
        let values = numbers.iter().map(|&v| value(v)).collect();
        Array::floats(vec![channels], values)
    };
    let parameters = match (operation, reversed) {
        (Binary::Sum, _) => vec![array(&|_| 1.0), array(&|v| v)],
        (Binary::Difference, false) => vec![array(&|_| 1.0), array(&|v| -v)],
        (Binary::Difference, true) => vec![array(&|_| -1.0), array(&|v| v)],
        (Binary::Product, _) => vec![array(&|v| v)],
        _ => return None,
    };
    let conv = Conv2d { bias: parameters.len() == 2, ..Conv2d::new(channels, 1).groups(channels) };
    Some((conv, value, parameters))
}

pub(super) fn binary(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (mut a, mut b) = (call.input(0)?, call.input(1)?);
    let operation = match &call.node.operator[..] {
        "Add" => Binary::Sum,
        "Sub" => Binary::Difference,
        "Mul" => Binary::Product,
        "Div" => Binary::Quotient,
        "Pow" => Binary::Power,
        "And" => Binary::And,
        "Or" => Binary::Or,
        "Xor" => Binary::Xor,
        "Equal" => Binary::Equal,
        "Less" => Binary::Less,
        "LessOrEqual" => Binary::LessOrEqual,
        other => {
            (a, b) = (b, a);
            if other == "Greater" { Binary::Less } else { Binary::LessOrEqual }
        }
    };
    if call.opset < 7 {
        b = placed(context, call, &a, &b)?;
    }
    Ok(vec![of_any_type(context, &call.name, operation, &a, &b)?])
}

/// A second input as versions before 7 broadcast it: its axes are those of the first from a given one on.
fn placed(context: &Context, call: &Call<'_>, a: &Value, b: &Value) -> Outcome<Value> {
    let (rank, own) = (context.rank(a), context.rank(b));
    match (call.flag("broadcast")?, call.has("axis")) {
        (true, true) => {
            let start = absolute(call.int("axis", 0)?, rank)?;
            let after = rank.checked_sub(start + own).ok_or("broadcasts more axes than there are")?;
            with_dims(b, [b.dims(), &vec![1; after]].concat())
        }
        (true, false) => Ok(b.clone()),
        (false, _) if rank == own => Ok(b.clone()),
        _ => Err("broadcasts without being told to".into()),
    }
}

/// The result of an operation, in whole numbers where it is one on whole numbers.
fn of_any_type(context: &mut Context, name: &str, operation: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    let compares = matches!(
        operation,
        Binary::Equal | Binary::Less | Binary::LessOrEqual | Binary::And | Binary::Or | Binary::Xor
    );
    if let (Some(left), Some(right)) = (a.known(), b.known()) {
        if let (Some(x), Some(y)) = (left.as_ints(), right.as_ints()) {
            let (dims, shapes) = aligned(context, &[a, b])?;
            context.spend(dims.iter().product::<usize>() as u64)?;
            let element_type = if compares { ElementType::Bool } else { left.element_type };
            let array = integers::binary(operation, (x, y), (&dims, &shapes), element_type)?;
            return Ok(Value::Known(array));
        }
    }
    let whole = !a.element_type().is_float() && operation != Binary::Power;
    if whole && matches!(operation, Binary::Quotient) {
        return Err("divides whole numbers that are not known at import".into());
    }
    let result = pair(context, name, operation, a, b)?;
    Ok(match (result, compares) {
        (Value::Known(array), true) => {
            let ints = array.to_f32().iter().map(|&v| v as i64).collect();
            Value::Known(Array::ints(array.dims.clone(), ints, ElementType::Bool))
        }
        (result, true) => typed(result, ElementType::Bool),
        (result, false) => typed(result, a.element_type()),
    })
}

pub(super) fn remainder(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let operation = if call.flag("fmod")? { Binary::TruncatedRemainder } else { Binary::Remainder };
    Ok(vec![of_any_type(context, &call.name, operation, &call.input(0)?, &call.input(1)?)?])
}

/// Operators of one or more values.
pub(super) fn variadic(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let operation = match &call.node.operator[..] {
        "Max" => Binary::Maximum,
        "Min" => Binary::Minimum,
        _ => Binary::Sum,
    };
    let values: Vec<Value> = (0..call.inputs.len()).map(|place| call.input(place)).collect::<Outcome<_>>()?;
    let Some((first, rest)) = values.split_first() else { return Err("has no inputs".into()) };
    let mut result = first.clone();
    for value in rest {
        result = of_any_type(context, &call.name, operation, &result, value)?;
    }
    if call.node.operator == "Mean" {
        let scale = 1.0 / values.len() as f32;
        result = apply(context, &call.name, Unary::Scale { scale, offset: 0.0 }, &result)?;
    }
    Ok(vec![result])
}

pub(super) fn prelu(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, mut slope) = (call.input(0)?, call.input(1)?);
    if call.opset < 7 && slope.dims().len() == 1 && slope.elements() > 1 {
        // One a channel.
        let after = context.rank(&value).saturating_sub(2);
        slope = with_dims(&slope, [slope.dims(), &vec![1; after]].concat())?;
    }
    let (dims, shapes) = aligned(context, &[&value, &slope])?;
    if dims != value.dims() {
        return Err("has more slopes than values".into());
    }
    let slopes = &shapes[1];
    let one = slopes.elements() == 1;
    let of_channels = slopes[0] == shapes[0][0] && slopes[1..].iter().all(|&extent| extent == 1);
    match slope.known() {
        Some(array) if one || of_channels => {
            let shape = image_shape(&dims);
            let layer = Prelu { per_channel: !one };
            Ok(vec![context.apply(&call.name, layer, &[(&value, shape)], std::slice::from_ref(array), &dims)?])
        }
        _ => Ok(vec![pair(context, &call.name, Binary::Leak, &value, &slope)?]),
    }
}

/// Extents as channels, rows and columns, of any number of axes.
pub(super) fn image_shape(dims: &[usize]) -> Shape {
    match dims {
        [] => Shape::from([1]),
        [_] | [_, _, _] => Shape::from(dims),
        [channels, rest @ ..] => Shape::from([*channels, rest.iter().product(), 1]),
    }
}

pub(super) fn choose(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let [condition, a, b] = [call.input(0)?, call.input(1)?, call.input(2)?];
    let (dims, shapes) = aligned(context, &[&condition, &a, &b])?;
    let known = |value: &Value| value.known().and_then(|array| array.as_ints().map(<[i64]>::to_vec));
    if let (Some(c), Some(x), Some(y)) = (known(&condition), known(&a), known(&b)) {
        context.spend(dims.iter().product::<usize>() as u64)?;
        return Ok(vec![Value::Known(integers::choose([&c, &x, &y], (&dims, &shapes), a.element_type()))]);
    }
    let inputs = [(&condition, shapes[0].clone()), (&a, shapes[1].clone()), (&b, shapes[2].clone())];
    Ok(vec![typed(context.apply(&call.name, Where, &inputs, &[], &dims)?, a.element_type())])
}
