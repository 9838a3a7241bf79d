//! Convolution of 1x1 with a sample in each lane: products of the weights with a few pixels at a time, which are copied side by
//! side. Where they lie, the channels of a pixel are a whole plane apart, and share few places of a cache.

use cnn_core::layers::Conv2d;

use super::correlation::sum_channels;
use super::kernels::{Block, LaneKernel, Slopes};
use crate::simd::tile::{FREE_STRIDE_ROWS, LONGEST_SUM, Start, Tile};
use crate::simd::walk::{Panel, RowMajor, Walk};
use crate::simd::{Instructions, Simd, Task, with_simd};

/// Pixels of which the weights' gradients are summed at a time, as far as one sum goes.
const PIXELS: usize = 16;

/// Vectors of a tile.
const VECTORS: usize = 2;

/// Panels of so many pixels that are copied at a time, from neighbouring cache lines.
const PANELS: usize = 4;

pub(super) struct Pointwise {
    instructions: Instructions,
    inputs: usize,
    outputs: usize,
    /// Pixels of a plane.
    pixels: usize,
}

impl Pointwise {
    pub(super) fn new(instructions: Instructions, conv: &Conv2d, inputs: usize, pixels: usize) -> Self {
        Pointwise { instructions, inputs, outputs: conv.out_channels, pixels }
    }

    /// Floats of the panels, of a tile and of a copy of the output's gradients.
    fn lengths(&self) -> [usize; 3] {
        let width = VECTORS * self.instructions.lanes();
        let depth = PIXELS.min(self.pixels) * self.instructions.lanes();
        let deepest = (PANELS * self.inputs.max(self.outputs)).max(depth);
        [deepest * width, self.instructions.tile_rows() * width, self.outputs * depth]
    }
}

impl LaneKernel for Pointwise {
    fn forward(&self, block: &Block<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let bias = block.parameters.get(1).copied();
        let (input, weights) = (block.inputs[0], block.parameters[0]);
        with_simd!(self.instructions, s => s.vectorize(Forward { all: self, input, weights, bias, output, scratch }));
    }

    fn backward(&self, block: &Block<'_>, (_, dy): (&[f32], &[f32]), slopes: &mut Slopes<'_, '_>, scratch: &mut [f32]) {
        let fresh = slopes.fresh;
        if slopes.is_due {
            let (input, weights) = (block.inputs[0], &mut slopes.parameters[0][..]);
            if fresh {
                weights.fill(0.0);
            }
            with_simd!(self.instructions, s => s.vectorize(ToWeights { all: self, input, dy, weights, scratch }));
        }
        if let Some(bias) = slopes.parameters.get_mut(1).filter(|_| slopes.is_due) {
            sum_channels(self.instructions, dy, bias, fresh);
        }
        if let Some((dx, fresh)) = &mut slopes.inputs[0] {
            let weights = block.parameters[0];
            let to_input = ToInput { all: self, dy, weights, dx, fresh: *fresh, scratch };
            with_simd!(self.instructions, s => s.vectorize(to_input));
        }
    }

    fn scratch_length(&self) -> usize {
        self.lengths().iter().sum()
    }
}

struct Forward<'a> {
    all: &'a Pointwise,
    input: &'a [f32],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    output: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Task<S> for Forward<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let Forward { all: &Pointwise { inputs, outputs, pixels, .. }, input, weights, bias, output, scratch } = self;
        let (panel, tile) = scratch.split_at_mut(self.all.lengths()[0]);
        let plane = pixels * S::LANES;
        for place in (0..plane).step_by(PANELS * VECTORS * S::LANES) {
            for (place, panel, width) in panels::<S>(input, (place, plane), inputs, panel) {
                let walk = |first: usize, length: usize| (first, RowMajor { length, stride: inputs });
                product::<S, _>(
                    s,
                    (weights, inputs, walk),
                    (panel, inputs, width),
                    outputs,
                    tile,
                    |o, column, sums| {
                        let output = &mut output[o * plane + place + column..];
                        let bias = bias.map_or(0.0, |bias| bias[o]);
                        output.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum + bias);
                    },
                );
            }
        }
    }
}

struct ToInput<'a, 'b> {
    all: &'a Pointwise,
    dy: &'a [f32],
    weights: &'a [f32],
    dx: &'a mut &'b mut [f32],
    fresh: bool,
    scratch: &'a mut [f32],
}

impl<S: Simd> Task<S> for ToInput<'_, '_> {
    #[inline(always)]
    fn run(self, s: S) {
        let ToInput { all: &Pointwise { inputs, outputs, pixels, .. }, dy, weights, dx, fresh, scratch } = self;
        let (panel, tile) = scratch.split_at_mut(self.all.lengths()[0]);
        let plane = pixels * S::LANES;
        for place in (0..plane).step_by(PANELS * VECTORS * S::LANES) {
            for (place, panel, width) in panels::<S>(dy, (place, plane), outputs, panel) {
                // The weights as they lie, read down their columns.
                let walk = |first: usize, length: usize| (first * inputs, Panel { length, width: inputs });
                product::<S, _>(s, (weights, 1, walk), (panel, outputs, width), inputs, tile, |c, column, sums| {
                    let dx = &mut dx[c * plane + place + column..][..S::LANES];
                    match fresh {
                        true => dx.copy_from_slice(sums),
                        false => dx.iter_mut().zip(sums).for_each(|(dx, sum)| *dx += sum),
                    }
                });
            }
        }
    }
}

struct ToWeights<'a> {
    all: &'a Pointwise,
    input: &'a [f32],
    dy: &'a [f32],
    weights: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Task<S> for ToWeights<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        let ToWeights { all: &Pointwise { inputs, outputs, pixels, .. }, input, dy, weights, scratch } = self;
        let [panel, tile, _] = self.all.lengths();
        let (panel, scratch) = scratch.split_at_mut(panel);
        let (tile, copy) = scratch.split_at_mut(tile);
        let plane = pixels * S::LANES;
        for pixel in (0..pixels).step_by(PIXELS) {
            let depth = PIXELS.min(pixels - pixel) * S::LANES;
            // Every panel of channels reads them.
            let dy = gather(dy, (pixel * S::LANES, plane), (outputs, depth), copy);
            for channel in (0..inputs).step_by(VECTORS * S::LANES) {
                let channels = (VECTORS * S::LANES).min(inputs - channel);
                let width = channels.next_multiple_of(S::LANES);
                let place = (channel * plane + pixel * S::LANES, plane);
                let panel = turn(input, place, (channels, width), &mut panel[..depth * width]);
                let walk = |first: usize, length: usize| (first, RowMajor { length, stride: depth });
                product::<S, _>(s, (dy, depth, walk), (panel, depth, width), outputs, tile, |o, column, sums| {
                    let weights = &mut weights[o * inputs + channel + column..o * inputs + channel + channels];
                    weights.iter_mut().zip(sums).for_each(|(weight, sum)| *weight += sum);
                });
            }
        }
    }
}

/// Copies the pixels from a place on of each of some planes into panels: where each begins in a plane, itself, and its width.
#[inline(always)]
fn panels<'a, S: Simd>(
    from: &[f32],
    (start, plane): (usize, usize),
    count: usize,
    panels: &'a mut [f32],
) -> impl Iterator<Item = (usize, &'a [f32], usize)> {
    let widest = VECTORS * S::LANES;
    let length = (PANELS * widest).min(plane - start);
    for channel in 0..count {
        let pieces = from[channel * plane + start..][..length].chunks(widest);
        for (panel, piece) in panels.chunks_exact_mut(count * widest).zip(pieces) {
            panel[channel * piece.len()..][..piece.len()].copy_from_slice(piece);
        }
    }
    let panels = panels.chunks_exact(count * widest);
    (0..length).step_by(widest).zip(panels).map(move |(place, panel)| {
        let width = widest.min(length - place);
        (start + place, &panel[..count * width], width)
    })
}

/// Copies `width` floats of each of some planes side by side.
#[inline(always)]
fn gather<'a>(
    from: &[f32],
    (start, plane): (usize, usize),
    (count, width): (usize, usize),
    panel: &'a mut [f32],
) -> &'a [f32] {
    let panel = &mut panel[..count * width];
    for (i, to) in panel.chunks_exact_mut(width).enumerate() {
        to.copy_from_slice(&from[start + i * plane..][..width]);
    }
    panel
}

/// Turns as many floats of some planes as the panel has rows over, with zeros in the columns that are left.
#[inline(always)]
fn turn<'a>(
    from: &[f32],
    (start, plane): (usize, usize),
    (count, width): (usize, usize),
    panel: &'a mut [f32],
) -> &'a [f32] {
    if count < width {
        panel.fill(0.0);
    }
    let depth = panel.len() / width;
    for i in 0..count {
        let from = &from[start + i * plane..][..depth];
        for (row, &value) in panel.chunks_exact_mut(width).zip(from) {
            row[i] = value;
        }
    }
    panel
}

/// `sums[row] = sum over k of x[row][k] * panel[k]`: `tell` is told of each row and each vector of it, which begins with some column.
/// `walk` is asked for the rows' elements from a step on: where the first of them lies, and how the rest do.
#[inline(always)]
fn product<S: Simd, D: Walk>(
    s: S,
    (x, row_stride, walk): (&[f32], usize, impl Fn(usize, usize) -> (usize, D)),
    (panel, depth, width): (&[f32], usize, usize),
    rows: usize,
    tile: &mut [f32],
    mut tell: impl FnMut(usize, usize, &[f32]),
) {
    let highest = if row_stride == 1 { S::TILE_ROWS } else { S::TILE_ROWS.min(FREE_STRIDE_ROWS) };
    let height = rows.div_ceil(rows.div_ceil(highest));
    for first in (0..rows).step_by(height) {
        let count = height.min(rows - first);
        let (left, right) = tile.split_at_mut(count * S::LANES);
        for step in (0..depth).step_by(LONGEST_SUM) {
            let length = LONGEST_SUM.min(depth - step);
            let (at, walk) = walk(step, length);
            let w = &panel[step * width..(step + length) * width];
            let start = if step == 0 { Start::Zero } else { Start::Sum };
            let sums =
                Tile { x: &x[first * row_stride + at..], walk, rows: count, w, start, relu: false, next: w.as_ptr() };
            match width == S::LANES {
                true => sums.run(s, [&mut *left], S::LANES),
                false => sums.run(s, [&mut *left, &mut *right], S::LANES),
            }
        }
        for (column, vectors) in [(0, &*left), (S::LANES, &*right)].into_iter().take(width / S::LANES) {
            for (row, sums) in vectors.chunks_exact(S::LANES).take(count).enumerate() {
                tell(first + row, column, sums);
            }
        }
    }
}
