//! Operators that make one number of all along an axis.

use cnn_core::layers::{GlobalAvgPool, Reduce, Reduction, Resample, Unary};
use cnn_core::{Layer, Shape};

use super::Call;
use super::elementwise::{apply, pair};
use super::shapes::with_dims;
use crate::onnx::array::{Array, ElementType};
use crate::onnx::context::{Context, Outcome, Value, natural};
use cnn_core::layers::Binary;

/// One axis with one place left.
fn along(context: &mut Context, name: &str, layer: impl Into<Layer>, value: &Value, axis: usize) -> Outcome<Value> {
    let mut dims = value.dims().to_vec();
    dims[axis] = 1;
    context.apply(name, layer, &[(value, natural(value.dims()))], &[], &dims)
}

/// The mean over axes, which keep one place.
pub(super) fn mean(context: &mut Context, name: &str, value: &Value, axes: &[usize]) -> Outcome<Value> {
    let dims = value.dims();
    if let ([channels, rows, columns], [1, 2]) = (dims, axes) {
        let shape = Shape::from([*channels, *rows, *columns]);
        return context.apply(name, GlobalAvgPool, &[(value, shape)], &[], &[*channels, 1, 1]);
    }
    let mut result = value.clone();
    for &axis in axes {
        let extent = result.dims()[axis];
        context.spend(16 * extent as u64)?;
        result = along(context, name, Resample::mean(axis, extent), &result, axis)?;
    }
    Ok(result)
}

fn sum(context: &mut Context, name: &str, value: &Value, axes: &[usize]) -> Outcome<Value> {
    let mut result = value.clone();
    for &axis in axes {
        let extent = result.dims()[axis];
        context.spend(16 * extent as u64)?;
        let taps = vec![(0..extent).map(|place| (place, 1.0)).collect()];
        result = along(context, name, Resample::new(axis, taps), &result, axis)?;
    }
    Ok(result)
}

fn extreme(context: &mut Context, name: &str, value: &Value, axes: &[usize], reduction: Reduction) -> Outcome<Value> {
    let mut result = value.clone();
    for &axis in axes {
        result = along(context, name, Reduce { axis, reduction }, &result, axis)?;
    }
    Ok(result)
}

/// The axes that a node reduces, in order.
fn axes_of(context: &Context, call: &Call<'_>, value: &Value) -> Outcome<Vec<usize>> {
    let axes = call.ints_or_input("axes", 1)?.unwrap_or_default();
    let rank = context.rank(value) as i64;
    let axes = match axes.is_empty() {
        true if call.flag("noop_with_empty_axes")? => vec![],
        true => (0..rank).collect(),
        false => axes,
    };
    let mut axes: Vec<usize> = axes.into_iter().map(|axis| context.axis(value, axis)).collect::<Outcome<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

pub(super) fn reduce(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axes = axes_of(context, call, &value)?;
    let name = call.name.clone();
    if let Some(ints) = value.known().and_then(Array::as_ints) {
        if axes.len() == value.dims().len() {
            return Ok(vec![whole(call, ints, &value)?]);
        }
    }
    let function = |context: &mut Context, function: Unary, value: &Value| apply(context, &name, function, value);
    let result = match &call.node.operator[..] {
        "ReduceMean" => mean(context, &name, &value, &axes)?,
        "ReduceSum" => sum(context, &name, &value, &axes)?,
        "ReduceMax" => extreme(context, &name, &value, &axes, Reduction::Maximum)?,
        "ReduceMin" => extreme(context, &name, &value, &axes, Reduction::Minimum)?,
        "ReduceProd" => extreme(context, &name, &value, &axes, Reduction::Product)?,
        "ReduceL1" => {
            let positive = function(context, Unary::Abs, &value)?;
            sum(context, &name, &positive, &axes)?
        }
        "ReduceLogSum" => {
            let sum = sum(context, &name, &value, &axes)?;
            function(context, Unary::Log, &sum)?
        }
        "ReduceLogSumExp" => {
            // The largest taken off first, so that nothing overflows.
            let largest = extreme(context, &name, &value, &axes, Reduction::Maximum)?;
            let rest = pair(context, &name, Binary::Difference, &value, &largest)?;
            let powers = function(context, Unary::Exp, &rest)?;
            let sum = sum(context, &name, &powers, &axes)?;
            let logarithm = function(context, Unary::Log, &sum)?;
            pair(context, &name, Binary::Sum, &logarithm, &largest)?
        }
        other => {
            let squares = pair(context, &name, Binary::Product, &value, &value)?;
            let sum = sum(context, &name, &squares, &axes)?;
            if other == "ReduceL2" { function(context, Unary::Sqrt, &sum)? } else { sum }
        }
    };
    Ok(vec![super::typed(dropped(call, &result, &axes)?, value.element_type())])
}

/// Without the reduced axes, where they are not to be kept.
fn dropped(call: &Call<'_>, value: &Value, axes: &[usize]) -> Outcome<Value> {
    if call.int("keepdims", 1)? != 0 {
        return Ok(value.clone());
    }
    let kept = value.dims().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    with_dims(value, kept.map(|(_, &extent)| extent).collect())
}

/// All of a known array of whole numbers, as extents are multiplied.
fn whole(call: &Call<'_>, ints: &[i64], value: &Value) -> Outcome<Value> {
    let plain = ints.iter().all(|&v| v != crate::onnx::array::ANY_BATCH);
    let result = match &call.node.operator[..] {
        _ if !plain => None,
        "ReduceProd" => ints.iter().try_fold(1i64, |product, &v| product.checked_mul(v)),
        "ReduceSum" => ints.iter().try_fold(0i64, |sum, &v| sum.checked_add(v)),
        "ReduceMax" => ints.iter().max().copied(),
        "ReduceMin" => ints.iter().min().copied(),
        _ => None,
    };
    let result = result.ok_or("is not computed on whole numbers")?;
    let dims = if call.int("keepdims", 1)? != 0 { vec![1; value.dims().len()] } else { vec![] };
    Ok(Value::Known(Array::ints(dims, vec![result], value.element_type())))
}

pub(super) fn arg(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axis = context.axis(&value, call.int("axis", 0)?)?;
    let last = call.flag("select_last_index")?;
    let reduction =
        if call.node.operator == "ArgMax" { Reduction::ArgMax { last } } else { Reduction::ArgMin { last } };
    let place = along(context, &call.name, Reduce { axis, reduction }, &value, axis)?;
    let place = match &place {
        Value::Known(array) => {
            let ints = array.to_f32().iter().map(|&v| v as i64).collect();
            Value::Known(Array::ints(array.dims.clone(), ints, ElementType::I64))
        }
        flowing => super::typed(flowing.clone(), ElementType::I64),
    };
    Ok(vec![dropped(call, &place, &[axis])?])
}

/// Sums of all up to each place.
pub(super) fn running(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axis = match call.known_ints(1)?[..] {
        [axis] => context.axis(&value, axis)?,
        _ => return Err("needs one axis".into()),
    };
    let (exclusive, reverse) = (call.flag("exclusive")?, call.flag("reverse")?);
    let extent = value.dims()[axis];
    context.spend((extent as u64).saturating_mul(16 * extent as u64))?;
    let counts = |to: usize, from: usize| {
        let before = if reverse { from > to } else { from < to };
        before || (from == to && !exclusive)
    };
    let taps = |to: usize| {
        let taps: Vec<_> = (0..extent).filter(|&from| counts(to, from)).map(|from| (from, 1.0)).collect();
        taps
    };
    let layer = Resample::new(axis, (0..extent).map(taps).collect());
    let dims = value.dims().to_vec();
    Ok(vec![context.apply(&call.name, layer, &[(&value, natural(&dims))], &[], &dims)?])
}
