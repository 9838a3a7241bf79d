//! Operators that move no number: other extents for the same elements, and questions after extents.

use super::Call;
use crate::onnx::array::{ANY_BATCH, Array, ElementType, extents};
use crate::onnx::context::{Context, Flowing, Outcome, Refusal, Value, absolute};

/// The same elements under other extents.
pub(super) fn with_dims(value: &Value, dims: Vec<usize>) -> Outcome<Value> {
    if dims.iter().try_fold(1usize, |product, &d| product.checked_mul(d)) != Some(value.elements()) {
        return Err(format!("makes {dims:?} of {:?}", value.dims()).into());
    }
    Ok(match value {
        Value::Known(array) => Value::Known(array.reshaped(dims)),
        Value::Flowing(flowing) => Value::Flowing(Flowing { dims, ..flowing.clone() }),
    })
}

pub(super) fn identity(_context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    Ok(vec![call.input(0)?])
}

pub(super) fn dropout(_context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let told = call.optional_ints(2)?.is_some_and(|mode| mode.iter().any(|&v| v != 0));
    let training = told || (call.opset < 7 && !call.flag("is_test")?);
    match training && call.optional_number(1)? != Some(0.0) {
        true => Err("is in training mode".into()),
        false => Ok(vec![call.input(0)?]),
    }
}

/// Extents in the graph, the batch's as `ANY_BATCH` where the file leaves it open.
fn full_dims(context: &Context, value: &Value) -> Vec<i64> {
    let batch = context.batch.map_or(ANY_BATCH, |batch| batch as i64);
    let hidden = std::iter::repeat_n(batch, context.hidden(value));
    hidden.chain(value.dims().iter().map(|&d| d as i64)).collect()
}

pub(super) fn shape(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let dims = full_dims(context, &call.input(0)?);
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(call.int("start", 0)?), place(call.int("end", rank)?));
    let dims = dims[start..end.max(start)].to_vec();
    Ok(vec![Value::Known(Array::ints(vec![dims.len()], dims, ElementType::I64))])
}

pub(super) fn size(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let dims = full_dims(context, &call.input(0)?);
    if dims.contains(&ANY_BATCH) {
        return Err(Refusal::mixes());
    }
    let size = dims.iter().try_fold(1i64, |product, &d| product.checked_mul(d)).ok_or("overflows")?;
    Ok(vec![Value::Known(Array::ints(vec![], vec![size], ElementType::I64))])
}

pub(super) fn flatten(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let (rank, axis) = (context.rank(&value) as i64, call.int("axis", 1)?);
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if axis < 0 || axis > rank {
        return Err(format!("has the axis {axis} of a value of {rank} axes").into());
    }
    let hidden = context.hidden(&value);
    let dims = match (hidden, axis) {
        (1, 1) => vec![value.elements()],
        (1, _) => return Err(Refusal::mixes()),
        (_, axis) => {
            let (left, right) = value.dims().split_at(axis as usize);
            vec![left.iter().product(), right.iter().product()]
        }
    };
    Ok(vec![with_dims(&value, dims)?])
}

pub(super) fn reshape(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let target = call.ints_or_input("shape", 1)?.ok_or("lacks its shape")?;
    let keeps_zeros = call.flag("allowzero")?;
    let old = full_dims(context, &value);
    let copied = |(place, &extent): (usize, &i64)| match extent {
        0 if !keeps_zeros => old.get(place).copied().ok_or_else(|| Refusal::from("copies an extent that is not there")),
        other => Ok(other),
    };
    let target: Vec<i64> = target.iter().enumerate().map(copied).collect::<Outcome<_>>()?;
    let rest = match (context.hidden(&value), &target[..]) {
        (0, all) => all,
        (_, [first, rest @ ..]) => {
            let elements: i64 = rest.iter().fold(1, |product, &d| product.saturating_mul(d));
            let same = *first == ANY_BATCH || Some(*first) == context.batch.map(|batch| batch as i64);
            // What is left over is the batch where the rest is a sample; one sample is what a file of any batch may be written for.
            let fills = matches!(first, -1 | 1) && elements == value.elements() as i64;
            if !(same || fills) || rest.contains(&ANY_BATCH) {
                return Err(Refusal::mixes());
            }
            rest
        }
        _ => return Err(Refusal::mixes()),
    };
    if rest.contains(&ANY_BATCH) {
        return Err(Refusal::mixes());
    }
    let result = with_dims(&value, filled(rest, value.elements())?);
    // A sample that does not fill the extents may do so together with others.
    let result = result.map_err(|refusal| if context.hidden(&value) == 1 { Refusal::mixes() } else { refusal });
    Ok(vec![result?])
}

/// Extents of which one may be -1: what is left.
fn filled(target: &[i64], elements: usize) -> Outcome<Vec<usize>> {
    let open = target.iter().filter(|&&d| d == -1).count();
    let set: Vec<i64> = target.iter().copied().filter(|&d| d != -1).collect();
    let (_, product) = extents(&set)?;
    if open > 1 {
        return Err("leaves two extents open".into());
    }
    let left = elements.checked_div(product).unwrap_or(0);
    Ok(target.iter().map(|&d| if d == -1 { left } else { d as usize }).collect())
}

pub(super) fn squeeze(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let mut dims = value.dims().to_vec();
    match call.ints_or_input("axes", 1)? {
        None if context.hidden(&value) == 1 && context.batch == Some(1) => return Err(Refusal::mixes()),
        None => dims.retain(|&d| d != 1),
        Some(axes) => {
            for axis in axes {
                dims[context.axis(&value, axis)?] = usize::MAX;
            }
            let gone = dims.iter().zip(value.dims()).any(|(&new, &old)| new == usize::MAX && old != 1);
            if gone {
                return Err("takes away an axis with more than one place".into());
            }
            dims.retain(|&d| d != usize::MAX);
        }
    }
    Ok(vec![with_dims(&value, dims)?])
}

pub(super) fn unsqueeze(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axes = call.ints_or_input("axes", 1)?.ok_or("lacks its axes")?;
    let rank = context.rank(&value) + axes.len();
    if rank > crate::onnx::array::MOST_AXES {
        return Err(format!("makes {rank} axes").into());
    }
    let mut places: Vec<usize> = axes.iter().map(|&axis| absolute(axis, rank)).collect::<Outcome<_>>()?;
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("adds an axis twice".into());
    }
    let hidden = context.hidden(&value);
    let mut dims = value.dims().to_vec();
    for place in places {
        dims.insert(place.checked_sub(hidden).ok_or_else(Refusal::mixes)?, 1);
    }
    Ok(vec![with_dims(&value, dims)?])
}
