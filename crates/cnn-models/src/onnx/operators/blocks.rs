//! Operators between channels and blocks of pixels.

use super::Call;
use super::movement::permuted;
use super::shapes::with_dims;
use crate::onnx::context::{Context, Outcome, Value};

/// An image as `[a, b, c, d, e]` in another order: what both operators between depth and space are.
fn between(
    context: &mut Context,
    call: &Call<'_>,
    five: [usize; 5],
    order: [usize; 5],
    dims: [usize; 3],
) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let batch = &value.dims()[..value.dims().len() - 3];
    let split = with_dims(&value, [batch, &five].concat())?;
    let order: Vec<usize> = (0..batch.len()).chain(order.map(|axis| axis + batch.len())).collect();
    let moved = permuted(context, &call.name, &split, &order)?;
    Ok(vec![with_dims(&moved, [batch, &dims].concat())?])
}

/// Channels, rows, columns, and the side of blocks.
fn image_and_block(call: &Call<'_>) -> Outcome<[usize; 4]> {
    let value = call.input(0)?;
    let block = usize::try_from(call.int("blocksize", 0)?).unwrap_or(0);
    match value.dims() {
        [.., c, h, w] if (1..=1 << 16).contains(&block) => Ok([*c, *h, *w, block]),
        _ => Err("needs an image and blocks of 1 or more".into()),
    }
}

pub(super) fn depth_to_space(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let [c, h, w, block] = image_and_block(call)?;
    let channels = c / (block * block);
    let dims = [channels, h * block, w * block];
    match &call.text("mode", "DCR")?[..] {
        "DCR" => between(context, call, [block, block, channels, h, w], [2, 3, 0, 4, 1], dims),
        "CRD" => between(context, call, [channels, block, block, h, w], [0, 3, 1, 4, 2], dims),
        other => Err(format!("has the mode {other}").into()),
    }
}

pub(super) fn space_to_depth(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let [c, h, w, block] = image_and_block(call)?;
    let dims = [c * block * block, h / block, w / block];
    between(context, call, [c, h / block, block, w / block, block], [2, 4, 0, 1, 3], dims)
}
