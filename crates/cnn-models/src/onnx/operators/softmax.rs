//! Softmax and its logarithm.

use cnn_core::layers::{LogSoftmax, Softmax};
use cnn_core::{Layer, Shape};

use super::Call;
use super::movement::permuted;
use super::shapes::with_dims;
use crate::onnx::context::{Context, Outcome, Value};

pub(super) fn softmax(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let layer: Layer = if call.node.operator == "Softmax" { Softmax.into() } else { LogSoftmax.into() };
    let dims = value.dims().to_vec();
    // Before version 13, all axes from the given one on count as one.
    let (axis, last) = match call.opset {
        ..13 => (context.axis(&value, call.int("axis", 1)?)?, dims.len()),
        _ => {
            let axis = context.axis(&value, call.int("axis", -1)?)?;
            (axis, axis + 1)
        }
    };
    let [outer, length, inner] = [&dims[..axis], &dims[axis..last], &dims[last..]].map(|d| d.iter().product::<usize>());
    let folded = with_dims(&value, vec![outer, length, inner])?;
    let front = permuted(context, &call.name, &folded, &[1, 0, 2])?;
    let shape = if outer * inner == 1 { Shape::from([length]) } else { Shape::from([length, outer, inner]) };
    let result = context.apply(&call.name, layer, &[(&front, shape)], &[], &[length, outer, inner])?;
    let back = permuted(context, &call.name, &result, &[1, 0, 2])?;
    Ok(vec![with_dims(&back, dims)?])
}
