//! Operators that put numbers into other places.

use cnn_core::Shape;
use cnn_core::layers::{self, Resample, StridedView};

use super::Call;
use super::shapes::with_dims;
use crate::onnx::array::{ANY_BATCH, Array, extents};
use crate::onnx::context::{Context, Outcome, Refusal, Value, natural};

/// A value read in another order.
pub(super) fn view(
    context: &mut Context,
    name: &str,
    view: StridedView,
    value: &Value,
    dims: &[usize],
) -> Outcome<Value> {
    let element_type = value.element_type();
    if let Some(array) = value.known() {
        // Bounds are the layer's to check.
        let source = Shape::from([array.elements()]);
        let made = layers::Operation::output_shape(&view, &[&source]).map_err(|misfit| misfit.0)?;
        context.spend(made.elements() as u64)?;
        let mut from = Vec::with_capacity(made.elements());
        view.for_each(|_, at| from.push(at));
        return Ok(Value::Known(array.picked(dims.to_vec(), from.into_iter())));
    }
    let moved = context.apply(name, view, &[(value, natural(value.dims()))], &[], dims)?;
    Ok(super::typed(moved, element_type))
}

/// A value with its axes in another order; these are places among its extents here.
pub(super) fn permuted(context: &mut Context, name: &str, value: &Value, permutation: &[usize]) -> Outcome<Value> {
    let dims: Vec<usize> = permutation.iter().map(|&axis| value.dims()[axis]).collect();
    // Axes of one place may change places freely.
    let long = |axes: &mut dyn Iterator<Item = usize>| axes.filter(|&axis| value.dims()[axis] != 1).collect::<Vec<_>>();
    if long(&mut permutation.iter().copied()) == long(&mut (0..dims.len())) {
        return with_dims(value, dims);
    }
    let mut layer = StridedView::transpose(value.dims(), permutation);
    layer.shape = natural(&dims);
    view(context, name, layer, value, &dims)
}

pub(super) fn transpose(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let (rank, hidden) = (context.rank(&value), context.hidden(&value));
    let order: Vec<usize> = match call.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(order) => order.iter().map(|&a| usize::try_from(a).unwrap_or(rank)).collect(),
    };
    if (0..rank).any(|axis| order.iter().filter(|&&a| a == axis).count() != 1) || order.len() != rank {
        return Err("has an order of axes that is none".into());
    }
    if hidden == 1 && order[0] != 0 {
        return Err(Refusal::mixes());
    }
    let order: Vec<usize> = order[hidden..].iter().map(|axis| axis - hidden).collect();
    Ok(vec![permuted(context, &call.name, &value, &order)?])
}

/// Part of one axis, in steps.
fn part(
    context: &mut Context,
    name: &str,
    value: &Value,
    axis: usize,
    (start, step, count): (usize, isize, usize),
) -> Outcome<Value> {
    let mut dims = value.dims().to_vec();
    let whole = StridedView::reshape(natural(&dims));
    if start == 0 && step == 1 && count == dims[axis] {
        return Ok(value.clone());
    }
    dims[axis] = count;
    let mut strides = whole.strides;
    let offset = start * strides[axis] as usize;
    strides[axis] = strides[axis].checked_mul(step).ok_or("has too large steps")?;
    if count == 0 {
        return match value.known() {
            Some(array) => Ok(Value::Known(array.picked(dims, std::iter::empty()))),
            None => Err("leaves nothing of an axis".into()),
        };
    }
    let layer = StridedView { source: value.elements(), shape: natural(&dims), offset, strides };
    view(context, name, layer, value, &dims)
}

pub(super) fn slice(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let mut value = call.input(0)?;
    let lists = [call.ints_or_input("starts", 1)?, call.ints_or_input("ends", 2)?];
    let [Some(starts), Some(ends)] = lists else { return Err("lacks its bounds".into()) };
    let axes = call.ints_or_input("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.optional_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("has lists of different lengths".into());
    }
    for i in 0..starts.len() {
        let (start, end, step) = (starts[i], ends[i], steps[i]);
        if [start, end].contains(&ANY_BATCH) && start != 0 {
            return Err(Refusal::mixes());
        }
        // All samples are all samples.
        let all = start == 0 && step == 1 && (end >= i64::from(i32::MAX) || end == ANY_BATCH);
        let is_batch =
            context.hidden(&value) == 1 && matches!(context.axis(&value, axes[i]), Err(Refusal { mixes: true, .. }));
        if is_batch && (all || context.batch.is_some_and(|batch| start == 0 && step == 1 && end >= batch as i64)) {
            continue;
        }
        let axis = context.axis(&value, axes[i])?;
        let extent = value.dims()[axis] as i64;
        let at = |place: i64, low: i64, high: i64| {
            (if place < 0 { place.saturating_add(extent) } else { place }).clamp(low, high)
        };
        let (first, count) = match step {
            0 => return Err("has steps of 0".into()),
            1.. => {
                let (first, last) = (at(start, 0, extent), at(end, 0, extent));
                (first, (last - first).max(0).saturating_add(step - 1) / step)
            }
            _ => {
                let (first, last) = (at(start, -1, extent - 1), at(end, -1, extent - 1));
                (first.max(0), (first - last).max(0).saturating_sub(step + 1) / step.saturating_neg())
            }
        };
        // Steps beyond the extent reach nothing more.
        let step = step.clamp(-extent.max(1), extent.max(1)) as isize;
        value = part(context, &call.name, &value, axis, (first as usize, step, count as usize))?;
    }
    Ok(vec![value])
}

pub(super) fn split(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let axis = context.axis(&value, call.int("axis", 0)?)?;
    let (extent, parts) = (value.dims()[axis], call.node.outputs.len().max(1));
    let lengths: Vec<usize> = match call.ints_or_input("split", 1)? {
        Some(lengths) => lengths.iter().map(|&l| usize::try_from(l).unwrap_or(usize::MAX)).collect(),
        None => {
            let length = extent.div_ceil(parts);
            (0..parts).map(|i| length.min(extent.saturating_sub(i * length))).collect()
        }
    };
    if lengths.iter().fold(0usize, |sum, &l| sum.saturating_add(l)) != extent || lengths.len() != parts {
        return Err(format!("splits {extent} places into {lengths:?}").into());
    }
    let mut start = 0;
    let mut values = Vec::new();
    for (place, length) in lengths.into_iter().enumerate() {
        // A part that nobody reads must not become a layer.
        let wanted = call.node.outputs.get(place).is_some_and(|name| !name.is_empty());
        values.push(match wanted {
            true => part(context, &call.name, &value, axis, (start, 1, length))?,
            false => value.clone(),
        });
        start += length;
    }
    Ok(values)
}

pub(super) fn gather(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, indices) = (call.input(0)?, call.known(1)?);
    let axis = context.axis(&value, call.int("axis", 0)?)?;
    let extent = value.dims()[axis];
    let places: Vec<usize> = indices
        .as_ints()
        .ok_or("has indices that are no whole numbers")?
        .iter()
        .map(|&index| usize::try_from(if index < 0 { index.saturating_add(extent as i64) } else { index }).ok())
        .map(|place| place.filter(|&place| place < extent))
        .collect::<Option<_>>()
        .ok_or("has an index outside its axis")?;
    let taken = taken(context, &call.name, &value, axis, &places)?;
    let mut dims = value.dims().to_vec();
    dims.splice(axis..=axis, indices.dims.iter().copied());
    Ok(vec![with_dims(&taken, dims)?])
}

/// These places of an axis, in this order.
fn taken(context: &mut Context, name: &str, value: &Value, axis: usize, places: &[usize]) -> Outcome<Value> {
    let mut dims = value.dims().to_vec();
    let inner: usize = dims[axis + 1..].iter().product();
    let extent = std::mem::replace(&mut dims[axis], places.len());
    let elements: usize = dims.iter().product();
    if let Some(array) = value.known() {
        context.spend(elements as u64)?;
        let from = |i: usize| {
            let (outer, place, rest) = (i / (inner * places.len()), i / inner % places.len(), i % inner);
            (outer * extent + places[place]) * inner + rest
        };
        return Ok(Value::Known(array.picked(dims, (0..elements).map(from))));
    }
    if let [first, ..] = places {
        let step = places.get(1).map_or(1, |&second| second as isize - *first as isize);
        let even = |(i, &place): (usize, &usize)| place as isize == *first as isize + i as isize * step;
        if places.iter().enumerate().all(even) {
            return part(context, name, value, axis, (*first, step, places.len()));
        }
    }
    context.spend(64 * places.len() as u64)?;
    let layer = Resample::new(axis, places.iter().map(|&place| vec![(place, 1.0)]).collect());
    context.apply(name, layer, &[(value, natural(value.dims()))], &[], &dims)
}

pub(super) fn concat(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let values: Vec<Value> = (0..call.inputs.len()).map(|place| call.input(place)).collect::<Outcome<_>>()?;
    let Some(first) = values.iter().find(|value| value.known().is_none()).or(values.first()) else {
        return Err("has no inputs".into());
    };
    let axis = context.axis(first, call.int("axis", 1)?)?;
    let hidden = context.hidden(first);
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    let mut parts = Vec::new();
    for value in &values {
        let mut own = value.dims().to_vec();
        // A known part is the same for every sample.
        if hidden == 1 && value.known().is_some() && (own.is_empty() || own.remove(0) != 1) {
            return Err(Refusal::mixes());
        }
        let misfit = own.len() != dims.len() || (0..dims.len()).any(|a| a != axis && own[a] != dims[a]);
        if misfit {
            return Err("joins values that differ elsewhere".into());
        }
        dims[axis] = dims[axis].saturating_add(own[axis]);
        if own[axis] > 0 {
            parts.push((value, own));
        }
    }
    let [outer, inner] = [dims[..axis].iter().product::<usize>(), dims[axis + 1..].iter().product()];
    let known: Option<Vec<&Array>> = values.iter().map(Value::known).collect();
    if let Some(arrays) = known {
        return Ok(vec![Value::Known(joined(context, &arrays, dims, axis)?)]);
    }
    if let [(only, _)] = parts[..] {
        return Ok(vec![only.clone()]);
    }
    // Channels come first in a network.
    let shape =
        |extent: usize| if outer == 1 { Shape::from([extent, inner, 1]) } else { Shape::from([extent, outer, inner]) };
    let plain = axis == 0 && matches!(dims.len(), 1 | 3);
    let mut inputs = Vec::new();
    for (value, own) in parts {
        let part = with_dims(value, own.clone())?;
        inputs.push(match outer {
            _ if plain => (part, Shape::from(own)),
            1 => (part, shape(own[axis])),
            _ => {
                let folded = with_dims(&part, vec![outer, own[axis], inner])?;
                (permuted(context, &call.name, &folded, &[1, 0, 2])?, shape(own[axis]))
            }
        });
    }
    let inputs: Vec<(&Value, Shape)> = inputs.iter().map(|(value, shape)| (value, shape.clone())).collect();
    let joined = context.apply(&call.name, layers::Concat, &inputs, &[], &[dims[axis], outer, inner])?;
    let back = if outer == 1 { joined } else { permuted(context, &call.name, &joined, &[1, 0, 2])? };
    Ok(vec![super::typed(with_dims(&back, dims)?, first.element_type())])
}

/// Known arrays along an axis.
fn joined(context: &mut Context, arrays: &[&Array], dims: Vec<usize>, axis: usize) -> Outcome<Array> {
    context.spend(dims.iter().product::<usize>() as u64)?;
    let block = |array: &Array| array.dims[axis..].iter().product::<usize>();
    let outer: usize = dims[..axis].iter().product();
    let ints: Option<Vec<&[i64]>> = arrays.iter().map(|array| array.as_ints()).collect();
    let runs = (0..outer)
        .flat_map(|o| arrays.iter().enumerate().map(move |(n, array)| (n, o * block(array)..(o + 1) * block(array))));
    Ok(match ints {
        Some(ints) => {
            let values = runs.flat_map(|(n, range)| ints[n][range].iter().copied()).collect();
            Array::ints(dims, values, arrays[0].element_type)
        }
        None => {
            let floats: Vec<_> = arrays.iter().map(|array| array.to_f32()).collect();
            let values = runs.flat_map(|(n, range)| floats[n][range].iter().copied()).collect();
            Array::floats(dims, values)
        }
    })
}

/// Repeats a value along axes: where `counts` is more than 1, as often as that.
fn repeated(context: &mut Context, name: &str, value: &Value, counts: &[usize]) -> Outcome<Value> {
    let dims: Vec<usize> = value.dims().iter().zip(counts).map(|(&d, &n)| d.saturating_mul(n)).collect();
    let strides = StridedView::reshape(value.dims()).strides;
    let pairs = || value.dims().iter().zip(counts).zip(&strides);
    let shape: Vec<usize> = pairs().flat_map(|((&d, &n), _)| [n, d]).collect();
    let strides: Vec<isize> = pairs().flat_map(|(_, &stride)| [0, stride]).collect();
    if counts.iter().all(|&n| n == 1) {
        return Ok(value.clone());
    }
    let layer = StridedView { source: value.elements(), shape: Shape::from(shape), offset: 0, strides };
    view(context, name, layer, value, &dims)
}

pub(super) fn expand(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, shape) = (call.input(0)?, call.known_ints(1)?);
    let hidden = context.hidden(&value);
    let rank = context.rank(&value).max(shape.len());
    if hidden == 1 && rank > context.rank(&value) {
        return Err(Refusal::mixes());
    }
    let mut wanted = vec![1; rank - shape.len()];
    wanted.extend(shape);
    if hidden == 1 && !matches!(wanted.remove(0), 1 | ANY_BATCH) {
        return Err(Refusal::mixes());
    }
    let (wanted, _) = if wanted.contains(&ANY_BATCH) { return Err(Refusal::mixes()) } else { extents(&wanted)? };
    let mut own = vec![1; wanted.len() - value.dims().len()];
    own.extend_from_slice(value.dims());
    let fits = |(&d, &w): (&usize, &usize)| match (d, w) {
        (d, w) if d == w || w == 1 => Some(1),
        (1, w) => Some(w),
        _ => None,
    };
    let counts: Option<Vec<usize>> = own.iter().zip(&wanted).map(fits).collect();
    let value = with_dims(&value, own)?;
    Ok(vec![repeated(context, &call.name, &value, &counts.ok_or("expands to extents that do not fit")?)?])
}

pub(super) fn tile(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, counts) = (call.input(0)?, call.known_ints(1)?);
    if counts.len() != context.rank(&value) {
        return Err("repeats another number of axes than there are".into());
    }
    let (counts, _) = extents(&counts)?;
    let hidden = context.hidden(&value);
    match hidden == 1 && counts[0] != 1 {
        true => Err(Refusal::mixes()),
        false => Ok(vec![repeated(context, &call.name, &value, &counts[hidden..])?]),
    }
}
