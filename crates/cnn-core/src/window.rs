//! Geometry of sliding windows: the one place where output sizes and valid ranges are computed.

use crate::Misfit;

/// Rows and columns of a kernel, stride, dilation: `3` is 3x3, `[1, 7]` is one row of seven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent(pub [usize; 2]);

impl From<usize> for Extent {
    fn from(both: usize) -> Self {
        Extent([both; 2])
    }
}

impl From<[usize; 2]> for Extent {
    fn from(rows_columns: [usize; 2]) -> Self {
        Extent(rows_columns)
    }
}

/// Zeros (or, for max pooling, nothing) around the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl From<usize> for Padding {
    fn from(all: usize) -> Self {
        Padding { top: all, left: all, bottom: all, right: all }
    }
}

impl From<[usize; 2]> for Padding {
    fn from([rows, columns]: [usize; 2]) -> Self {
        Padding { top: rows, left: columns, bottom: rows, right: columns }
    }
}

/// Top, left, bottom, right: the order of ONNX's `pads`.
impl From<[usize; 4]> for Padding {
    fn from([top, left, bottom, right]: [usize; 4]) -> Self {
        Padding { top, left, bottom, right }
    }
}

/// How the number of windows is rounded where they do not fill the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// Leave out what does not fill a window.
    #[default]
    Floor,
    /// Add a last window that hangs over the edge, provided that it starts inside the input or its leading padding.
    Ceil,
}

/// A window that slides over the rows and columns of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Border around the input.
    pub padding: Padding,
    /// Distance between the kernel's taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// Largest kernel, stride, padding or dilation; larger ones are errors.
    pub const MAX: usize = 1 << 16;

    /// A window of stride 1 without padding.
    pub fn new(kernel: impl Into<Extent>) -> Self {
        Window { kernel: kernel.into().0, stride: [1, 1], padding: Padding::default(), dilation: [1, 1] }
    }

    /// Resolves the window on an input of `[rows, columns]`. Errors when a size is 0 or absurd, or when the kernel
    /// is larger than the padded input.
    pub fn resolve(&self, input: [usize; 2], rounding: Rounding) -> Result<Plane, Misfit> {
        let Padding { top, left, bottom, right } = self.padding;
        let rows = self.axis(0, input[0], [top, bottom], rounding);
        let columns = self.axis(1, input[1], [left, right], rounding);
        match (rows, columns) {
            (Ok(rows), Ok(columns)) => Ok(Plane { rows, columns }),
            (Err(AxisError::Zero(what)), _) | (_, Err(AxisError::Zero(what))) => Err(Misfit(format!("{what} is 0"))),
            (Err(AxisError::TooLarge(what)), _) | (_, Err(AxisError::TooLarge(what))) => {
                Err(Misfit(format!("{what} is over {}", Self::MAX)))
            }
            _ => {
                let [kh, kw] =
                    [0, 1].map(|a| self.dilation[a].saturating_mul(self.kernel[a].saturating_sub(1)).saturating_add(1));
                let [h, w] = [input[0].saturating_add(top + bottom), input[1].saturating_add(left + right)];
                let dilated = if self.dilation == [1, 1] { "" } else { "dilated " };
                Err(Misfit(format!("{dilated}kernel {kh}x{kw} is larger than the padded input {h}x{w}")))
            }
        }
    }

    fn axis(&self, a: usize, input: usize, padding: [usize; 2], rounding: Rounding) -> Result<Axis, AxisError> {
        let (kernel, stride, dilation) = (self.kernel[a], self.stride[a], self.dilation[a]);
        for (what, value) in [("kernel", kernel), ("stride", stride), ("dilation", dilation), ("input", input)] {
            if value == 0 {
                return Err(AxisError::Zero(what));
            }
        }
        let [before, after] = padding;
        for (what, value) in
            [("kernel", kernel), ("stride", stride), ("dilation", dilation), ("padding", before.max(after))]
        {
            if value > Self::MAX {
                return Err(AxisError::TooLarge(what));
            }
        }
        if input > crate::Shape::MAX_ELEMENTS {
            return Err(AxisError::TooLarge("input"));
        }
        let span = dilation.saturating_mul(kernel - 1).saturating_add(1);
        let padded = input + before + after;
        let room = padded.checked_sub(span).ok_or(AxisError::DoesNotFit)?;
        let mut output = room / stride + 1;
        if rounding == Rounding::Ceil && room % stride != 0 && output * stride < input + before {
            output += 1;
        }
        Ok(Axis { input, output, kernel, stride, dilation, before, after })
    }
}

enum AxisError {
    Zero(&'static str),
    TooLarge(&'static str),
    DoesNotFit,
}

/// A [`Window`] resolved on an input, row and column axis apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// Along the rows.
    pub rows: Axis,
    /// Along the columns.
    pub columns: Axis,
}

impl Plane {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        [self.rows.output, self.columns.output]
    }

    /// Whether some window lies wholly in the padding and so sees no input at all.
    pub fn has_empty_window(&self) -> bool {
        self.rows.has_empty_window() || self.columns.has_empty_window()
    }

    /// Calls `visit` with the flat index of each output of so many planes one after the other, and with those of the inputs that its
    /// window sees, row by row: none where it lies wholly in the padding.
    pub fn for_each_window(&self, planes: usize, mut visit: impl FnMut(usize, &[usize])) {
        let (Plane { rows, columns }, mut seen) = (self, Vec::new());
        for plane in 0..planes {
            for y in 0..rows.output {
                for x in 0..columns.output {
                    seen.clear();
                    for ky in rows.taps(y) {
                        let row = plane * rows.input + rows.input_index(y, ky);
                        seen.extend(columns.taps(x).map(|kx| row * columns.input + columns.input_index(x, kx)));
                    }
                    visit((plane * rows.output + y) * columns.output + x, &seen);
                }
            }
        }
    }
}

/// One axis of a resolved window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the output: the number of windows.
    pub output: usize,
    /// Taps of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding after the last element.
    pub after: usize,
}

impl Axis {
    /// Place in the input of `tap` of window `output`, counted from the start of the padding.
    fn padded_index(&self, output: usize, tap: usize) -> usize {
        output * self.stride + tap * self.dilation
    }

    /// Place in the input of a tap that [`taps`](Self::taps) names.
    pub fn input_index(&self, output: usize, tap: usize) -> usize {
        self.padded_index(output, tap) - self.before
    }

    /// The taps of window `output` that lie inside the input.
    pub fn taps(&self, output: usize) -> std::ops::Range<usize> {
        let start = output * self.stride;
        let first = self.before.saturating_sub(start).div_ceil(self.dilation);
        let end = (self.before + self.input).saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        first.min(end)..end
    }

    /// The windows whose `tap` lies inside the input.
    pub fn outputs(&self, tap: usize) -> std::ops::Range<usize> {
        let shift = tap * self.dilation;
        let first = self.before.saturating_sub(shift).div_ceil(self.stride);
        let end = (self.before + self.input).saturating_sub(shift).div_ceil(self.stride).min(self.output);
        first.min(end)..end
    }

    /// How many taps of window `output` lie inside the input or its padding. Fewer than the kernel's only for a
    /// last window that [`Rounding::Ceil`] lets hang over.
    pub fn padded_taps(&self, output: usize) -> usize {
        let room = (self.before + self.input + self.after).saturating_sub(output * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }

    fn has_empty_window(&self) -> bool {
        // Windows that start inside the input see it with their first tap; only those that start earlier can miss.
        let early = self.before.div_ceil(self.stride).min(self.output);
        (0..early).any(|o| self.taps(o).is_empty()) || self.taps(self.output - 1).is_empty()
    }
}

/// Which of `extent` places belong to one of so many bins of about equal size (He et al. 2014, appendix A). Together they are all
/// places; neighbours share one where the bins do not divide the extent, more where there are more bins than places.
pub fn bin(extent: usize, bins: usize, bin: usize) -> std::ops::Range<usize> {
    let end = |bin: usize| bin as u64 * extent as u64;
    (end(bin) / bins as u64) as usize..end(bin + 1).div_ceil(bins as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
        input: usize,
        rounding: Rounding,
    ) -> usize {
        let window =
            Window { stride: [stride; 2], padding: padding.into(), dilation: [dilation; 2], ..Window::new(kernel) };
        window.resolve([input; 2], rounding).unwrap().rows.output
    }

    /// Values that `torch.nn.MaxPool2d` and `torch.nn.Conv2d` document for these settings.
    #[test]
    fn output_sizes() {
        assert_eq!(output(3, 1, 1, 1, 224, Rounding::Floor), 224);
        assert_eq!(output(7, 2, 3, 1, 224, Rounding::Floor), 112);
        assert_eq!(output(3, 2, 0, 1, 54, Rounding::Floor), 26);
        assert_eq!(output(3, 2, 0, 1, 54, Rounding::Ceil), 27);
        assert_eq!(output(3, 1, 0, 2, 7, Rounding::Floor), 3);
        // The window that would start in the trailing padding is dropped.
        assert_eq!(output(2, 2, 1, 1, 3, Rounding::Ceil), 2);
    }

    #[test]
    fn a_window_that_does_not_fit_says_both_sizes() {
        let misfit = Window::new(5).resolve([3, 4], Rounding::Floor).unwrap_err();
        assert_eq!(misfit.0, "kernel 5x5 is larger than the padded input 3x4");
        let window = Window { dilation: [4, 4], ..Window::new(3) };
        assert_eq!(
            window.resolve([5, 9], Rounding::Floor).unwrap_err().0,
            "dilated kernel 9x9 is larger than the padded input 5x9"
        );
        let window = Window { stride: [0, 1], ..Window::new(3) };
        assert_eq!(window.resolve([5, 9], Rounding::Floor).unwrap_err().0, "stride is 0");
        assert!(Window::new(usize::MAX).resolve([5, 9], Rounding::Floor).is_err());
        assert!(Window::new(3).resolve([usize::MAX, 9], Rounding::Floor).is_err());
    }

    /// `taps`, `outputs` and `padded_taps` against a walk over every tap of every window.
    #[test]
    fn ranges_agree_with_a_walk() {
        for input in 1..9 {
            for kernel in 1..5 {
                for stride in 1..4 {
                    for dilation in 1..4 {
                        for (before, after) in [(0, 0), (1, 0), (0, 2), (3, 1)] {
                            for rounding in [Rounding::Floor, Rounding::Ceil] {
                                let padding = [before, before, after, after].into();
                                let window = Window {
                                    kernel: [kernel; 2],
                                    stride: [stride; 2],
                                    padding,
                                    dilation: [dilation; 2],
                                };
                                if let Ok(plane) = window.resolve([input; 2], rounding) {
                                    walk(plane.rows);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn each_window_sees_its_inputs_row_by_row() {
        let plane = Window { stride: [2; 2], padding: 1.into(), ..Window::new(2) }.resolve([3; 2], Rounding::Floor);
        let mut seen = Vec::new();
        plane.unwrap().for_each_window(2, |o, inputs| seen.push((o, inputs.to_vec())));
        let want = [vec![0], vec![1, 2], vec![3, 6], vec![4, 5, 7, 8]];
        let second = want.iter().map(|inputs| inputs.iter().map(|i| i + 9).collect());
        assert_eq!(seen, want.iter().cloned().chain(second).enumerate().collect::<Vec<_>>());
    }

    /// The sizes and strides of the paper's three-level pyramid on 13x13, and what holds of all.
    #[test]
    fn bins_cover_every_place() {
        assert_eq!([0, 1, 2].map(|i| bin(13, 3, i)), [0..5, 4..9, 8..13]);
        assert_eq!([0, 1].map(|i| bin(13, 2, i)), [0..7, 6..13]);
        assert_eq!([0, 1, 2].map(|i| bin(2, 3, i)), [0..1, 0..2, 1..2]);
        for (extent, bins) in (1..9).flat_map(|extent| (1..12).map(move |bins| (extent, bins))) {
            let mut reached = 0;
            for range in (0..bins).map(|i| bin(extent, bins, i)) {
                assert!(range.start <= reached && !range.is_empty(), "{extent} places, {bins} bins: {range:?}");
                reached = range.end;
            }
            assert_eq!(reached, extent);
        }
        assert_eq!(bin(crate::Shape::MAX_ELEMENTS, Window::MAX, Window::MAX - 1).end, crate::Shape::MAX_ELEMENTS);
    }

    fn walk(axis: Axis) {
        let mut some_empty = false;
        let inside = |o: usize, t: usize| {
            (axis.before..axis.before + axis.input).contains(&(o * axis.stride + t * axis.dilation))
        };
        for o in 0..axis.output {
            let valid: Vec<usize> = (0..axis.kernel).filter(|&t| inside(o, t)).collect();
            assert_eq!(axis.taps(o).collect::<Vec<_>>(), valid, "{axis:?} output {o}");
            some_empty |= valid.is_empty();
            let end = axis.before + axis.input + axis.after;
            let padded = (0..axis.kernel).filter(|&t| o * axis.stride + t * axis.dilation < end).count();
            assert_eq!(axis.padded_taps(o), padded, "{axis:?} output {o}");
        }
        for t in 0..axis.kernel {
            let valid: Vec<usize> = (0..axis.output).filter(|&o| inside(o, t)).collect();
            assert_eq!(axis.outputs(t).collect::<Vec<_>>(), valid, "{axis:?} tap {t}");
        }
        assert_eq!(axis.has_empty_window(), some_empty, "{axis:?}");
    }
}
