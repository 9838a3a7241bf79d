//! Casts. What flows is `f32` whatever its type is said to be; a cast to whole numbers cuts fractions off.

use cnn_core::layers::Unary;

use super::elementwise::apply;
use super::{Call, typed};
use crate::onnx::array::{ANY_BATCH, Array, ElementType};
use crate::onnx::context::{Context, Outcome, Refusal, Value};

pub(super) fn cast(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let to = ElementType::of_number(call.int("to", 0)?)?;
    Ok(vec![cast_to(context, &call.name, &call.input(0)?, to)?])
}

pub(super) fn cast_like(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let to = call.input(1)?.element_type();
    Ok(vec![cast_to(context, &call.name, &call.input(0)?, to)?])
}

fn cast_to(context: &mut Context, name: &str, value: &Value, to: ElementType) -> Outcome<Value> {
    let from = value.element_type();
    if to == ElementType::Bfloat && from != to {
        return Err("rounds to bfloat16".into());
    }
    if let Some(array) = value.known() {
        let ints = array.as_ints();
        return Ok(Value::Known(match (ints, to.is_float()) {
            (Some(ints), true) if ints.contains(&ANY_BATCH) => return Err(Refusal::mixes()),
            (_, true) => Array::floats(array.dims.clone(), array.to_f32().into_owned()).typed(to),
            (Some(ints), false) if to == ElementType::Bool => {
                let truths = ints.iter().map(|&v| i64::from(v != 0)).collect();
                Array::ints(array.dims.clone(), truths, to)
            }
            (Some(ints), false) => {
                let [low, high] = to.limits();
                if ints.iter().any(|&v| v != ANY_BATCH && (v < low || v > high)) {
                    return Err("casts a number beyond the type that it is cast to".into());
                }
                array.clone().typed(to)
            }
            (None, false) => {
                let truth = to == ElementType::Bool;
                let ints = array.to_f32().iter().map(|&v| if truth { i64::from(v != 0.0) } else { v as i64 }).collect();
                Array::ints(array.dims.clone(), ints, to)
            }
        }));
    }
    if to.is_float() || (!from.is_float() && to != ElementType::Bool) || from == to {
        return Ok(typed(value.clone(), to));
    }
    let whole = match to {
        ElementType::Bool => {
            let not = apply(context, name, Unary::Not, value)?;
            apply(context, name, Unary::Not, &not)?
        }
        _ => apply(context, name, Unary::Trunc, value)?,
    };
    Ok(typed(whole, to))
}
