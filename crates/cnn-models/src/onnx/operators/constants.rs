//! Operators that make known arrays.

use super::Call;
use crate::onnx::array::{Array, ElementType, extents};
use crate::onnx::context::{Context, Outcome, Refusal, Value};
use crate::onnx::proto::Attribute;

pub(super) fn constant(_context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let ints = |dims: Vec<usize>, values: &[i64]| Array::ints(dims, values.to_vec(), ElementType::I64);
    let array = match &call.node.attributes[..] {
        [(_, Attribute::Tensor(tensor))] => Array::of_tensor(tensor, call.file, call.folder)?,
        [(_, Attribute::Float(value))] => Array::floats(vec![], vec![*value]),
        [(_, Attribute::Floats(values))] => Array::floats(vec![values.len()], values.clone()),
        [(_, Attribute::Int(value))] => ints(vec![], &[*value]),
        [(_, Attribute::Ints(values))] => ints(vec![values.len()], values),
        _ => return Err("has no value that is read: one tensor, number or list of numbers".into()),
    };
    Ok(vec![Value::Known(array)])
}

pub(super) fn of_shape(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let shape = call.known_ints(0)?;
    if shape.contains(&crate::onnx::array::ANY_BATCH) {
        return Err(Refusal::mixes());
    }
    let (dims, elements) = extents(&shape)?;
    context.spend(elements as u64)?;
    let value = match call.attribute("value") {
        None => Array::floats(vec![1], vec![0.0]),
        Some(Attribute::Tensor(tensor)) => Array::of_tensor(tensor, call.file, call.folder)?,
        Some(_) => return Err("has a `value` that is no tensor".into()),
    };
    if value.elements() != 1 {
        return Err("has a `value` of more than one number".into());
    }
    Ok(vec![Value::Known(value.picked(dims, std::iter::repeat_n(0, elements)))])
}

pub(super) fn range(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let arrays = [call.known(0)?, call.known(1)?, call.known(2)?];
    if arrays.iter().any(|array| array.elements() != 1) {
        return Err("needs three numbers".into());
    }
    let numbers = arrays.each_ref().map(|array| array.to_f32()[0]);
    if let [Some(start), Some(limit), Some(step)] = arrays.each_ref().map(|array| array.as_ints().map(|v| v[0])) {
        let count = match step {
            0 => return Err("has steps of 0".into()),
            _ => {
                (i128::from(limit) - i128::from(start) + i128::from(step) - i128::from(step.signum()))
                    / i128::from(step)
            }
        };
        let count = u64::try_from(count.max(0)).map_err(|_| "is too long")?;
        context.spend(count)?;
        // The last lies before the limit, so that none overflows.
        let values = (0..count as i64).map(|i| start + i * step).collect();
        return Ok(vec![Value::Known(Array::ints(vec![count as usize], values, arrays[0].element_type))]);
    }
    let [start, limit, step] = numbers.map(f64::from);
    let count = ((limit - start) / step).ceil().max(0.0);
    if !count.is_finite() {
        return Err("has steps of 0 or no end".into());
    }
    context.spend(count as u64)?;
    let values = (0..count as usize).map(|i| (start + i as f64 * step) as f32).collect();
    Ok(vec![Value::Known(Array::floats(vec![count as usize], values))])
}
