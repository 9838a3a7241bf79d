//! Convolutions.

use cnn_core::layers::{Conv2d, Operation, Resample};
use cnn_core::window::{Padding, Window};

use super::Call;
use super::window::{Image, two, window};
use crate::onnx::array::Array;
use crate::onnx::context::{Context, Outcome, Value};

pub(super) fn conv(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, weight) = (call.input(0)?, call.known(1)?);
    let bias = call.optional(2).map(|_| call.known(2)).transpose()?;
    Ok(vec![convolve(context, call, &value, weight, bias)?])
}

/// A convolution with the attributes of the node, with known weights.
pub(super) fn convolve(
    context: &mut Context,
    call: &Call<'_>,
    value: &Value,
    weight: Array,
    bias: Option<Array>,
) -> Outcome<Value> {
    let image = Image::of(context, value)?;
    let [out, in_group, kernel @ ..] = &weight.dims[..] else { return Err("has weights of too few axes".into()) };
    let taps: Vec<i64> = kernel.iter().map(|&k| k as i64).collect();
    if call.ints("kernel_shape")?.is_some_and(|told| told != taps) {
        return Err("has a kernel_shape that is not its weights'".into());
    }
    let window = window(call, &image, two(&taps, image.axes, 1)?)?;
    let groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    if in_group.checked_mul(groups) != Some(image.shape[0]) {
        return Err(
            format!("has weights for {in_group} channels in {groups} groups on {} channels", image.shape[0]).into()
        );
    }
    let conv = Conv2d { out_channels: *out, window, groups, bias: bias.is_some() };
    let parameters: Vec<Array> = std::iter::once(weight).chain(bias).collect();
    run(context, &call.name, conv, value, &image, &parameters)
}

fn run(
    context: &mut Context,
    name: &str,
    conv: Conv2d,
    value: &Value,
    image: &Image,
    parameters: &[Array],
) -> Outcome<Value> {
    let made = conv.output_shape(&[&image.shape]).map_err(|misfit| misfit.0)?;
    let dims = image.dims([made[0], made[1], made[2]]);
    context.apply(name, conv, &[(value, image.shape.clone())], parameters, &dims)
}

/// A transposed convolution is a convolution of the input with `stride - 1` zeros between its places and a border, by the kernel
/// turned around (Dumoulin and Visin 2016, section 4).
pub(super) fn transpose(context: &mut Context, call: &mut Call<'_>) -> Outcome<Vec<Value>> {
    let (value, weight) = (call.input(0)?, call.known(1)?);
    let bias = call.optional(2).map(|_| call.known(2)).transpose()?;
    let image = Image::of(context, &value)?;
    let [channels, out_group, kernel @ ..] = &weight.dims[..] else { return Err("has weights of too few axes".into()) };
    let groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    if groups == 0 || *channels != image.shape[0] || channels % groups != 0 {
        return Err("has weights for other channels than there are".into());
    }
    let taps: Vec<i64> = kernel.iter().map(|&k| k as i64).collect();
    let kernel = two(&taps, image.axes, 1)?;
    let borders = borders(call, &image, kernel)?;
    let mut spread = value.clone();
    let mut dims = image.dims([image.shape[0], image.shape[1], image.shape[2]]);
    let last = dims.len();
    for axis in 0..image.axes {
        let border = &borders[2 - image.axes + axis];
        let taps = border.taps()?;
        context.spend(4 * taps.len() as u64)?;
        let place = last - image.axes + axis;
        let shape = dims.clone();
        dims[place] = taps.len();
        let layer = Resample::new(place, taps);
        spread = context.apply(&format!("{}.spread", call.name), layer, &[(&spread, shape[..].into())], &[], &dims)?;
    }
    let dilation = borders.each_ref().map(|border| border.dilation);
    let window = Window { kernel, stride: [1, 1], padding: Padding::default(), dilation };
    let conv = Conv2d { out_channels: out_group * groups, window, groups, bias: bias.is_some() };
    let turned = turned(&weight, groups, kernel);
    let parameters: Vec<Array> = std::iter::once(turned).chain(bias).collect();
    let image = Image::of(context, &spread)?;
    Ok(vec![run(context, &call.name, conv, &spread, &image, &parameters)?])
}

/// One axis of the input of a transposed convolution.
struct Border {
    extent: usize,
    stride: usize,
    dilation: usize,
    before: i64,
    after: i64,
}

impl Border {
    /// Where each place of the spread axis comes from; a border below 0 cuts.
    fn taps(&self) -> Outcome<Vec<Vec<(usize, f32)>>> {
        let spread = (self.extent as i64 - 1).checked_mul(self.stride as i64).ok_or("is too large")? + 1;
        let tap = |at: i64| match (0..spread).contains(&at) && at % self.stride as i64 == 0 {
            true => vec![((at / self.stride as i64) as usize, 1.0)],
            false => vec![],
        };
        match spread.saturating_add(self.before).saturating_add(self.after) {
            length if length <= 0 || length > 1 << 20 => Err("makes no image, or too large a one".into()),
            _ => Ok((-self.before..spread + self.after).map(tap).collect()),
        }
    }
}

fn borders(call: &Call<'_>, image: &Image, kernel: [usize; 2]) -> Outcome<[Border; 2]> {
    let of = |name: &str, missing: usize| {
        call.ints(name)?.map_or(Ok([missing; 2]), |values| two(&values, image.axes, missing))
    };
    let (stride, dilation, extra) = (of("strides", 1)?, of("dilations", 1)?, of("output_padding", 0)?);
    if stride.contains(&0) || kernel.contains(&0) {
        return Err("has steps or a kernel of 0".into());
    }
    let mode = call.text("auto_pad", "NOTSET")?;
    let pads = call.ints("pads")?.unwrap_or_else(|| vec![0; 2 * image.axes]);
    let (begin, end) = pads.split_at(pads.len() / 2);
    let told = [two(begin, image.axes, 0)?, two(end, image.axes, 0)?];
    let shape = match call.ints("output_shape")? {
        Some(shape) => Some(two(&shape[shape.len().saturating_sub(image.axes)..], image.axes, 1)?),
        None => None,
    };
    let border = |axis: usize| {
        let reach = (dilation[axis] * (kernel[axis] - 1)) as i64;
        let extent = image.extents()[axis];
        let full =
            (extent as i64 - 1).saturating_mul(stride[axis] as i64).saturating_add(reach + 1 + extra[axis] as i64);
        let wanted = match (&shape, mode.starts_with("SAME")) {
            (Some(shape), _) => Some(shape[axis] as i64),
            (None, true) => Some(extent as i64 * stride[axis] as i64),
            (None, false) => None,
        };
        let [first, last] = match wanted {
            None if mode == "VALID" => [0, 0],
            None => [told[0][axis] as i64, told[1][axis] as i64],
            Some(wanted) => {
                let total = full.saturating_sub(wanted);
                let half = total.div_euclid(2);
                // SAME_UPPER has more after, everything else more before.
                if mode == "SAME_UPPER" { [half, total - half] } else { [total - half, half] }
            }
        };
        let after = reach - last + extra[axis] as i64;
        Border { extent, stride: stride[axis], dilation: dilation[axis], before: reach - first, after }
    };
    Ok([border(0), border(1)])
}

/// Weights `[C, O / groups, ..]` as those of a convolution, `[O, C / groups, ..]`, turned around.
fn turned(weight: &Array, groups: usize, kernel: [usize; 2]) -> Array {
    let (channels, out_group) = (weight.dims[0], weight.dims[1]);
    let (in_group, taps) = (channels / groups, kernel[0] * kernel[1]);
    let from = move |i: usize| {
        let (o, c, tap) = (i / (in_group * taps), i / taps % in_group, i % taps);
        let (group, o) = (o / out_group, o % out_group);
        ((group * in_group + c) * out_group + o) * taps + (taps - 1 - tap)
    };
    let dims = vec![out_group * groups, in_group, kernel[0], kernel[1]];
    let elements = weight.elements();
    weight.picked(dims, (0..elements).map(from))
}
