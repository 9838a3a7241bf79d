//! What operators with windows have in common: images of one or two axes, and kernels, strides, pads and dilations.

use cnn_core::Shape;
use cnn_core::window::{Padding, Window};

use super::Call;
use crate::onnx::context::{Context, Outcome, Value};

/// A value as an image.
pub(super) struct Image {
    /// `[C, H, W]`; a line is an image of one row.
    pub(super) shape: Shape,
    /// 1 for a line, 2 for an image.
    pub(super) axes: usize,
    /// Extents before the channels: those of one sample, where the batch is not hidden.
    lead: Vec<usize>,
}

impl Image {
    pub(super) fn of(context: &Context, value: &Value) -> Outcome<Self> {
        let visible = 1 - context.hidden(value);
        let dims = value.dims();
        if visible == 1 && dims.first().is_some_and(|&samples| samples != 1) {
            return Err("has several samples that are no batch".into());
        }
        let (lead, sample) = dims.split_at(visible.min(dims.len()));
        let shape = match sample {
            [c, l] => Shape::from([*c, 1, *l]),
            [c, h, w] => Shape::from([*c, *h, *w]),
            _ => return Err(format!("works on {} axes beside samples and channels", sample.len().max(1) - 1).into()),
        };
        Ok(Image { shape, axes: sample.len() - 1, lead: lead.to_vec() })
    }

    pub(super) fn extents(&self) -> [usize; 2] {
        [self.shape[1], self.shape[2]]
    }

    /// The extents in the graph of an image like this.
    pub(super) fn dims(&self, [c, h, w]: [usize; 3]) -> Vec<usize> {
        let mut dims = self.lead.clone();
        dims.extend(if self.axes == 1 { vec![c, w] } else { vec![c, h, w] });
        dims
    }
}

/// One number an axis, of an image's one or two; a line's rows get `missing`.
pub(super) fn two(values: &[i64], axes: usize, missing: usize) -> Outcome<[usize; 2]> {
    let number = |value: i64| {
        usize::try_from(value).ok().filter(|&v| v <= Window::MAX).ok_or_else(|| format!("has the extent {value}"))
    };
    match (values, axes) {
        ([one], 1) => Ok([missing, number(*one)?]),
        ([rows, columns], 2) => Ok([number(*rows)?, number(*columns)?]),
        _ => Err(format!("has {} numbers for {axes} axes", values.len()).into()),
    }
}

/// The window of an operator with a kernel of these extents on an image.
pub(super) fn window(call: &Call<'_>, image: &Image, kernel: [usize; 2]) -> Outcome<Window> {
    let of = |name: &str| call.ints(name)?.map_or(Ok([1, 1]), |values| two(&values, image.axes, 1));
    let mut window = Window { kernel, stride: of("strides")?, padding: Padding::default(), dilation: of("dilations")? };
    if window.stride.contains(&0) {
        return Err("has steps of 0".into());
    }
    let pads = call.ints("pads")?.unwrap_or_else(|| vec![0; 2 * image.axes]);
    let mode = call.text("auto_pad", "NOTSET")?;
    match &mode[..] {
        "NOTSET" | "" => {
            let (before, after) = pads.split_at(pads.len() / 2);
            let ([top, left], [bottom, right]) = (two(before, image.axes, 0)?, two(after, image.axes, 0)?);
            window.padding = Padding::from([top, left, bottom, right]);
        }
        "VALID" => {}
        "SAME_UPPER" | "SAME_LOWER" => {
            let [rows, columns] = [0, 1].map(|axis| same(&window, axis, image.extents()[axis], mode == "SAME_LOWER"));
            window.padding = Padding::from([rows[0], columns[0], rows[1], columns[1]]);
        }
        other => return Err(format!("pads by `{other}`").into()),
    }
    Ok(window)
}

/// Padding before and after that makes `extent / stride` windows, rounded up.
fn same(window: &Window, axis: usize, extent: usize, more_before: bool) -> [usize; 2] {
    let windows = extent.div_ceil(window.stride[axis]);
    let span = window.dilation[axis] * window.kernel[axis].saturating_sub(1) + 1;
    let total =
        (windows.saturating_sub(1).saturating_mul(window.stride[axis]).saturating_add(span)).saturating_sub(extent);
    let (less, more) = (total / 2, total - total / 2);
    if more_before { [more, less] } else { [less, more] }
}

/// The kernel that an operator without weights tells.
pub(super) fn kernel(call: &Call<'_>, image: &Image) -> Outcome<[usize; 2]> {
    two(&call.ints("kernel_shape")?.ok_or("lacks its kernel_shape")?, image.axes, 1)
}
