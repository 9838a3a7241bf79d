//! A band of input rows: what one piece of work reads, with its padding written out so that windows need no conditions.

use std::ops::Range;

use cnn_core::window::Axis;

/// How the rows of all channels lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    /// Channels, or blocks of them.
    pub(super) planes: usize,
    /// Floats of a pixel: 1, or the lanes of a block.
    pub(super) width: usize,
    /// Pixels from row to row.
    pub(super) row: usize,
    /// Floats from plane to plane.
    pub(super) plane: usize,
}

/// Input rows under a band of output rows.
pub(super) fn input_rows(rows: &Axis, outputs: usize) -> usize {
    (outputs - 1) * rows.stride + (rows.kernel - 1) * rows.dilation + 1
}

impl Band {
    /// Floats of a band.
    pub(super) fn length(&self) -> usize {
        self.planes * self.plane
    }

    /// The offset of every tap from a window's first: blocks of channels, then taps.
    pub(super) fn taps(&self, channels: usize, (rows, columns): (&Axis, &Axis)) -> Vec<u32> {
        let mut offsets = Vec::with_capacity(channels.div_ceil(self.width) * rows.kernel * columns.kernel);
        for plane in 0..channels.div_ceil(self.width) {
            for ky in 0..rows.kernel {
                for kx in 0..columns.kernel {
                    let pixel = ky * rows.dilation * self.row + kx * columns.dilation;
                    offsets.push((plane * self.plane + pixel * self.width) as u32);
                }
            }
        }
        offsets
    }

    /// Copies the input rows under a band of output rows, with zeros where they lie in the padding or beyond.
    pub(super) fn copy(&self, input: &[f32], (rows, columns): (&Axis, &Axis), outputs: Range<usize>, band: &mut [f32]) {
        let Band { planes, width, row, plane } = *self;
        let input_plane = rows.input * columns.input * width;
        let needed = input_rows(rows, outputs.len());
        for (band, input) in band.chunks_mut(plane).zip(input.chunks(input_plane)).take(planes) {
            for (i, line) in band.chunks_mut(row * width).take(needed).enumerate() {
                let at = outputs.start * rows.stride + i;
                let (left, inner) = line.split_at_mut(columns.before * width);
                let (inner, right) = inner.split_at_mut(columns.input * width);
                match at.checked_sub(rows.before).filter(|&y| y < rows.input) {
                    Some(y) => {
                        left.fill(0.0);
                        inner.copy_from_slice(&input[y * columns.input * width..][..columns.input * width]);
                        right.fill(0.0);
                    }
                    None => line.fill(0.0),
                }
            }
        }
    }
}
