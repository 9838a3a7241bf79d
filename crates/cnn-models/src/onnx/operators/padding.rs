//! Padding.

use cnn_core::layers::Resample;

use super::Call;
use crate::onnx::array::{Array, ElementType};
use crate::onnx::context::{Context, Outcome, Refusal, Value, natural};

pub(super) fn pad(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let pads = match call.ints("paddings")? {
        Some(pads) => pads,
        None => call.ints_or_input("pads", 1)?.ok_or("lacks its pads")?,
    };
    let fill = if call.has("value") { call.float("value", 0.0)? } else { call.optional_number(2)?.unwrap_or(0.0) };
    let rank = context.rank(&value) as i64;
    let axes = call.optional_ints(3)?.unwrap_or_else(|| (0..rank).collect());
    if pads.len() != 2 * axes.len() {
        return Err("has pads for another number of axes".into());
    }
    let mode = call.text("mode", "constant")?;
    let mut result = value.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[axes.len() + i]);
        if before == 0 && after == 0 {
            continue;
        }
        let axis = context.axis(&value, axis)?;
        result = padded(context, &call.name, &result, axis, (before, after), (&mode, fill))?;
    }
    Ok(vec![super::typed(result, value.element_type())])
}

/// One axis with places before and after it, or less of them.
fn padded(
    context: &mut Context,
    name: &str,
    value: &Value,
    axis: usize,
    (before, after): (i64, i64),
    (mode, fill): (&str, f32),
) -> Outcome<Value> {
    let extent = value.dims()[axis] as i64;
    let length =
        extent.checked_add(before).and_then(|l| l.checked_add(after)).filter(|&l| l > 0).ok_or("pads to nothing")?;
    context.spend((length as u64).saturating_mul(64))?;
    let place = |at: i64| match mode {
        "constant" => Ok((0..extent).contains(&at).then_some(at)),
        "edge" => Ok(Some(at.clamp(0, extent - 1))),
        "wrap" => Ok(Some(at.rem_euclid(extent))),
        "reflect" if extent == 1 => Ok(Some(0)),
        "reflect" => {
            let around = at.rem_euclid(2 * (extent - 1));
            Ok(Some(around.min(2 * (extent - 1) - around)))
        }
        other => Err(Refusal::from(format!("has the mode {other}"))),
    };
    let places: Vec<Option<i64>> = (0..length).map(|i| place(i.saturating_sub(before))).collect::<Outcome<_>>()?;
    let taps = places.iter().map(|place| place.iter().map(|&place| (place as usize, 1.0)).collect()).collect();
    let mut dims = value.dims().to_vec();
    dims[axis] = length as usize;
    let layer = Resample { fill, ..Resample::new(axis, taps) };
    let padded = context.apply(name, layer, &[(value, natural(value.dims()))], &[], &dims)?;
    match (&padded, value.element_type().is_float()) {
        (Value::Known(array), false) => {
            let ints = array.to_f32().iter().map(|&v| v as i64).collect();
            Ok(Value::Known(Array::ints(dims, ints, ElementType::I64).typed(value.element_type())))
        }
        _ => Ok(padded),
    }
}
