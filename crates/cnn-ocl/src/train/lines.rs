//! Windows along one axis as lines of taps, forward and backward: the gradient of a convolution's input is a convolution of its output's
//! gradient with the filter turned round; where the stride is larger than 1, one for each remainder of the input's places by it
//! (Dumoulin and Visin 2016, section 4, without their zeros in between).

use cnn_core::window::Axis;

/// Along one axis, which inputs each output sums, tap by tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) outputs: usize,
    /// The input of output 0 and tap 0.
    pub(super) first: isize,
    /// From output to output.
    pub(super) step: usize,
    pub(super) taps: usize,
    /// From tap to tap.
    pub(super) dilation: usize,
    /// Where output 0 goes, and how far on the next.
    pub(super) to: [usize; 2],
    /// The filter's element of tap 0, and how far on the next.
    pub(super) filter: [isize; 2],
}

impl Lines {
    /// One tap, for what does not slide.
    pub(super) const POINT: Lines =
        Lines { outputs: 1, first: 0, step: 1, taps: 1, dilation: 1, to: [0, 1], filter: [0, 1] };

    pub(super) fn forward(axis: &Axis) -> Self {
        Lines {
            outputs: axis.output,
            first: -(axis.before as isize),
            step: axis.stride,
            taps: axis.kernel,
            dilation: axis.dilation,
            to: [0, 1],
            filter: [0, 1],
        }
    }

    /// Those of the gradient of the input: one for each remainder of its places by the stride.
    pub(super) fn backward(axis: &Axis) -> Vec<Self> {
        (0..axis.stride.min(axis.input)).map(|remainder| Self::of_remainder(axis, remainder)).collect()
    }

    fn of_remainder(axis: &Axis, remainder: usize) -> Self {
        let stride = axis.stride as isize;
        // How far the window whose tap sees the place is from the beginning, in inputs.
        let start = |tap: usize| (remainder + axis.before) as isize - (tap * axis.dilation) as isize;
        let seeing: Vec<usize> = (0..axis.kernel).filter(|&tap| start(tap) % stride == 0).collect();
        let last = seeing.last().copied().unwrap_or(0);
        let between = if let [first, second, ..] = seeing[..] { second - first } else { 1 };
        Lines {
            outputs: (axis.input - remainder).div_ceil(axis.stride),
            first: start(last) / stride,
            step: 1,
            taps: seeing.len(),
            dilation: (between * axis.dilation / axis.stride).max(1),
            to: [remainder, axis.stride],
            filter: [last as isize, -(between as isize)],
        }
    }

    /// Inputs that are read before the first and after the last of so many.
    pub(super) fn margin(&self, length: usize) -> [usize; 2] {
        if self.taps == 0 {
            return [0, 0];
        }
        let last = self.first + ((self.outputs - 1) * self.step + (self.taps - 1) * self.dilation) as isize;
        [-self.first, last + 1 - length as isize].map(|beyond| usize::try_from(beyond).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use cnn_core::window::{Rounding, Window};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every tap of every window is found again from the side of the input, exactly once.
        #[test]
        fn backward_lines_turn_windows_round(
            input in 1usize..12, kernel in 1usize..6, stride in 1usize..5, dilation in 1usize..4, padding in 0usize..6,
        ) {
            let window = Window {
                stride: [stride; 2], padding: padding.into(), dilation: [dilation; 2], ..Window::new(kernel)
            };
            let Ok(plane) = window.resolve([input; 2], Rounding::Floor) else { return Ok(()) };
            let axis = plane.rows;
            let mut want = Vec::new();
            for output in 0..axis.output {
                want.extend(axis.taps(output).map(|tap| (axis.input_index(output, tap), output as isize, tap as isize)));
            }
            let mut got = Vec::new();
            for lines in Lines::backward(&axis) {
                let margin = lines.margin(axis.output);
                for (i, tap) in (0..lines.outputs).flat_map(|i| (0..lines.taps).map(move |tap| (i, tap))) {
                    let output = lines.first + (i * lines.step + tap * lines.dilation) as isize;
                    prop_assert!(output >= -(margin[0] as isize) && output < (axis.output + margin[1]) as isize);
                    if (0..axis.output as isize).contains(&output) {
                        let tap = lines.filter[0] + tap as isize * lines.filter[1];
                        got.push((lines.to[0] + i * lines.to[1], output, tap));
                    }
                }
            }
            got.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }
}
