//! Resizing: along each axis, weighted sums of a few places.

use cnn_core::layers::Resample;

use super::Call;
use crate::onnx::context::{Context, Outcome, Refusal, Value, natural};

/// How an axis is resized.
struct Rule {
    mode: String,
    nearest: String,
    coordinates: String,
    /// Of cubic interpolation.
    coefficient: f64,
    exclude_outside: bool,
    /// Whether filters widen where images shrink.
    antialias: bool,
    extrapolated: f32,
}

/// One axis with its extents, and the scale as it was told.
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
    region: [f64; 2],
}

pub(super) fn upsample(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let scales = match call.attribute("scales") {
        Some(crate::onnx::proto::Attribute::Floats(scales)) => scales.clone(),
        _ => call.known(1)?.to_f32().into_owned(),
    };
    let rule = Rule { coordinates: "asymmetric".to_string(), nearest: "floor".to_string(), ..rule(call)? };
    Ok(vec![scaled(context, call, &value, &rule, (&scales, &[]))?])
}

fn rule(call: &Call<'_>) -> Outcome<Rule> {
    Ok(Rule {
        mode: call.text("mode", "nearest")?,
        nearest: call.text("nearest_mode", "round_prefer_floor")?,
        coordinates: call.text("coordinate_transformation_mode", "half_pixel")?,
        coefficient: f64::from(call.float("cubic_coeff_a", -0.75)?),
        exclude_outside: call.flag("exclude_outside")?,
        antialias: call.flag("antialias")?,
        extrapolated: call.float("extrapolation_value", 0.0)?,
    })
}

pub(super) fn resize(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.input(0)?;
    let mut rule = rule(call)?;
    if call.opset < 11 {
        rule.coordinates = "asymmetric".to_string();
        rule.nearest = "floor".to_string();
        let scales = call.known(1)?.to_f32().into_owned();
        return Ok(vec![scaled(context, call, &value, &rule, (&scales, &[]))?]);
    }
    let floats = |place: usize| match call.optional(place) {
        None => Ok(vec![]),
        Some(_) => call.known(place).map(|array| array.to_f32().into_owned()),
    };
    let (region, scales) = (floats(1)?, floats(2)?);
    let region = if rule.coordinates == "tf_crop_and_resize" { region } else { vec![] };
    let sizes = call.optional_ints(3)?.unwrap_or_default();
    if !scales.is_empty() {
        return Ok(vec![scaled(context, call, &value, &rule, (&scales, &region))?]);
    }
    let axes = axes(context, call, &value, sizes.len())?;
    let kept = call.text("keep_aspect_ratio_policy", "stretch")?;
    let extent = |axis: i64| context.axis(&value, axis).map(|place| value.dims()[place] as f64);
    let mut ratios = Vec::new();
    for (&axis, &size) in axes.iter().zip(&sizes) {
        if let Ok(extent) = extent(axis) {
            ratios.push(size as f64 / extent);
        }
    }
    let common = match &kept[..] {
        "stretch" => None,
        "not_larger" => ratios.iter().copied().reduce(f64::min),
        "not_smaller" => ratios.iter().copied().reduce(f64::max),
        other => return Err(format!("keeps the aspect ratio by `{other}`").into()),
    };
    let mut result = value.clone();
    for (i, (&axis, &size)) in axes.iter().zip(&sizes).enumerate() {
        let place = match context.axis(&value, axis) {
            Err(Refusal { mixes: true, .. }) if Some(size) == context.batch.map(|b| b as i64) || size < 0 => continue,
            place => place?,
        };
        let input = value.dims()[place];
        let output = match common {
            Some(ratio) => (ratio * input as f64 + 0.5).floor() as usize,
            None => usize::try_from(size).map_err(|_| "has a size below 0")?,
        };
        let scale = common.unwrap_or(output as f64 / input as f64);
        let axis = Axis { input, output, scale, region: region_of(&region, i, axes.len()) };
        result = resized(context, &call.name, &result, place, &axis, &rule)?;
    }
    Ok(vec![super::typed(result, value.element_type())])
}

/// The axes that sizes or scales are told for.
fn axes(context: &Context, call: &Call<'_>, value: &Value, told: usize) -> Outcome<Vec<i64>> {
    let axes = call.ints("axes")?.unwrap_or_else(|| (0..context.rank(value) as i64).collect());
    if axes.len() != told {
        return Err(format!("has {told} sizes for {} axes", axes.len()).into());
    }
    Ok(axes)
}

fn region_of(region: &[f32], axis: usize, axes: usize) -> [f64; 2] {
    match (region.get(axis), region.get(axes + axis)) {
        (Some(&start), Some(&end)) => [start.into(), end.into()],
        _ => [0.0, 1.0],
    }
}

fn scaled(
    context: &mut Context,
    call: &Call<'_>,
    value: &Value,
    rule: &Rule,
    (scales, region): (&[f32], &[f32]),
) -> Outcome<Value> {
    let axes = axes(context, call, value, scales.len())?;
    let mut result = value.clone();
    for (i, (&axis, &scale)) in axes.iter().zip(scales).enumerate() {
        if scale == 1.0 && region.is_empty() {
            continue;
        }
        let place = context.axis(value, axis)?;
        let (input, scale, region) = (value.dims()[place], f64::from(scale), region_of(region, i, axes.len()));
        let output = (input as f64 * (region[1] - region[0]) * scale).floor();
        if !(1.0..1e9).contains(&output) {
            return Err(format!("scales {input} places by {scale}").into());
        }
        let axis = Axis { input, output: output as usize, scale, region };
        result = resized(context, &call.name, &result, place, &axis, rule)?;
    }
    Ok(super::typed(result, value.element_type()))
}

fn resized(context: &mut Context, name: &str, value: &Value, place: usize, axis: &Axis, rule: &Rule) -> Outcome<Value> {
    if axis.input == axis.output && axis.region == [0.0, 1.0] {
        return Ok(value.clone());
    }
    let each = if rule.antialias { (4.0 / axis.scale.min(1.0)).ceil() as u64 } else { 4 };
    context.spend((axis.output as u64).saturating_mul(each.saturating_mul(16)))?;
    let taps: Vec<Vec<(usize, f32)>> = (0..axis.output).map(|to| rule.taps(axis, to)).collect::<Outcome<_>>()?;
    let mut dims = value.dims().to_vec();
    dims[place] = axis.output;
    let layer = Resample { fill: rule.extrapolated, ..Resample::new(place, taps) };
    context.apply(name, layer, &[(value, natural(value.dims()))], &[], &dims)
}

impl Rule {
    /// The place of the input that a place of the output stands for.
    fn source(&self, axis: &Axis, to: usize) -> Outcome<f64> {
        let (to, input, output) = (to as f64, axis.input as f64, axis.output as f64);
        Ok(match &self.coordinates[..] {
            "half_pixel" => (to + 0.5) / axis.scale - 0.5,
            "half_pixel_symmetric" => {
                let offset = input / 2.0 * (1.0 - output / (input * axis.scale));
                offset + (to + 0.5) / axis.scale - 0.5
            }
            "pytorch_half_pixel" if axis.output == 1 => 0.0,
            "pytorch_half_pixel" => (to + 0.5) / axis.scale - 0.5,
            "asymmetric" => to / axis.scale,
            "align_corners" if axis.output == 1 => 0.0,
            // The length that the scale asks for, not rounded.
            "align_corners" => to * (input - 1.0) / (input * axis.scale - 1.0),
            "tf_crop_and_resize" => {
                let [start, end] = axis.region;
                match axis.output {
                    1 => 0.5 * (start + end) * (input - 1.0),
                    _ => start * (input - 1.0) + to * (end - start) * (input - 1.0) / (output - 1.0),
                }
            }
            other => return Err(format!("has the coordinates `{other}`").into()),
        })
    }

    /// The places of the input and their weights that make a place of the output.
    fn taps(&self, axis: &Axis, to: usize) -> Outcome<Vec<(usize, f32)>> {
        let at = self.source(axis, to)?;
        let last = axis.input as f64 - 1.0;
        if self.coordinates == "tf_crop_and_resize" && !(0.0..=last).contains(&at) {
            return Ok(vec![]);
        }
        if self.mode == "nearest" {
            let place = match &self.nearest[..] {
                "round_prefer_floor" => (at - 0.5).ceil(),
                "round_prefer_ceil" => (at + 0.5).floor(),
                "floor" => at.floor(),
                "ceil" => at.ceil(),
                other => return Err(format!("rounds by `{other}`").into()),
            };
            return Ok(vec![(place.clamp(0.0, last) as usize, 1.0)]);
        }
        let reach = match &self.mode[..] {
            "linear" | "bilinear" => 1.0,
            "cubic" => 2.0,
            other => return Err(format!("has the mode `{other}`").into()),
        };
        let shrink = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
        let reach = reach / shrink;
        let (first, end) = ((at - reach).floor() as i64 + 1, (at + reach).ceil() as i64);
        let mut sums = std::collections::BTreeMap::new();
        let mut total = 0.0;
        for place in first..end.max(first + 1) {
            let weight = self.weight((place as f64 - at) * shrink);
            let inside = (0..axis.input as i64).contains(&place);
            if weight != 0.0 && (inside || !self.exclude_outside) {
                *sums.entry(place.clamp(0, last as i64) as usize).or_insert(0.0) += weight;
                total += weight;
            }
        }
        Ok(sums.into_iter().map(|(place, weight): (usize, f64)| (place, (weight / total) as f32)).collect())
    }

    /// The weight of a place at this distance: a triangle, or two cubic pieces (Keys 1981).
    fn weight(&self, distance: f64) -> f64 {
        let (x, a) = (distance.abs(), self.coefficient);
        match &self.mode[..] {
            "cubic" if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            "cubic" if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            "cubic" => 0.0,
            _ => (1.0 - x).max(0.0),
        }
    }
}
