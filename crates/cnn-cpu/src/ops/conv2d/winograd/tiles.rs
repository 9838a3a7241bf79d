//! The transforms of many tiles of one block of channels: in, and back with bias, residual, ReLU and 2 x 2 maximum.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use cnn_core::layers::Activation;

use super::WinogradKernel;
use super::transform::Pixels;
use crate::simd::grid::Grid;
use crate::simd::{Simd, Task};
use crate::threads::Block;

/// Tiles of one image: `rows` x `columns` of them.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Tiles {
    pub(super) fn count(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// Transforms tiles of one block of channels.
pub(super) struct Forward<'a, 'b, const P: usize, const N: usize, const M: usize> {
    pub(super) kernel: &'a WinogradKernel<P, N, M>,
    /// One block of channels of one image.
    pub(super) plane: &'a [f32],
    pub(super) tiles: &'a Tiles,
    /// A plane for each frequency, and the column where the first tile goes.
    pub(super) out: (&'a mut Block<'b>, usize),
}

impl<S: Simd, const P: usize, const N: usize, const M: usize> Task<S> for Forward<'_, '_, P, N, M> {
    #[inline(always)]
    fn run(self, s: S) {
        let Forward { kernel: WinogradKernel { transform, rows, columns, .. }, plane, tiles, out: (out, first) } = self;
        let across = tiles.columns.len();
        for at in 0..tiles.count() {
            let (tile_y, tile_x) = (tiles.rows.start + at / across, tiles.columns.start + at % across);
            // Tiles that begin in the padding begin beyond the end.
            let (top, left) = ((tile_y * M).wrapping_sub(rows.before), (tile_x * M).wrapping_sub(columns.before));
            let inside = top.checked_add(N).is_some_and(|end| end <= rows.input)
                && left.checked_add(N).is_some_and(|end| end <= columns.input);
            let mut out = out.vectors(s, first + at * S::LANES);
            if inside {
                let pixels = &plane[(top * columns.input + left) * S::LANES..];
                let strides = [columns.input * S::LANES, S::LANES];
                transform.input(s, &Grid::<S, N, N>::new(s, pixels, strides), &mut out);
            } else {
                transform.input(s, &Edge { s, plane, extents: [rows.input, columns.input], top, left }, &mut out);
            }
        }
    }
}

/// A tile that reaches over the edge of the image, where zeros are.
struct Edge<'a, S> {
    s: S,
    plane: &'a [f32],
    /// Rows and columns of the image.
    extents: [usize; 2],
    top: usize,
    left: usize,
}

impl<S: Simd> Pixels<S> for Edge<'_, S> {
    #[inline(always)]
    fn pixel(&self, row: usize, column: usize) -> S::Vector {
        let (y, x) = (self.top.wrapping_add(row), self.left.wrapping_add(column));
        match y < self.extents[0] && x < self.extents[1] {
            true => self.s.load(&self.plane[(y * self.extents[1] + x) * S::LANES..]),
            false => self.s.splat(0.0),
        }
    }
}

/// Products of one block of channels: a frequency every `stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
}

/// Where a block of channels is written, and what is added to it.
pub(super) struct Target<'a, 'b, V> {
    pub(super) out: &'a mut Block<'b>,
    pub(super) plane: usize,
    pub(super) bias: V,
    /// That of all planes.
    pub(super) residual: Option<&'a [f32]>,
}

/// Transforms tiles of one block of channels back.
pub(super) struct Backward<'a, 'b, V, const P: usize, const N: usize, const M: usize> {
    pub(super) kernel: &'a WinogradKernel<P, N, M>,
    pub(super) m: Product<'a>,
    pub(super) tiles: &'a Tiles,
    pub(super) target: Target<'a, 'b, V>,
}

impl<S: Simd, const P: usize, const N: usize, const M: usize> Task<S> for Backward<'_, '_, S::Vector, P, N, M> {
    #[inline(always)]
    fn run(self, s: S) {
        let Backward { kernel, m, tiles, target: Target { out, plane, bias, residual } } = self;
        let relu = kernel.activation == Some(Activation::Relu);
        let step = kernel.step();
        let (height, width) = (out.rows().len(), out.columns().len());
        let across = tiles.columns.len();
        for at in 0..tiles.count() {
            let (tile_y, tile_x) = (at / across, at % across);
            let mut y = kernel.transform.output(s, Grid::new(s, &m.data[at * S::LANES..], [N * m.stride, m.stride]));
            let (row, column) = (tile_y * step, tile_x * step * S::LANES);
            let (rows, columns) = (step.min(height - row), step.min((width - column) / S::LANES));
            if let Some(residual) = residual {
                for (i, y) in y.iter_mut().enumerate().take(rows) {
                    let [line] = out.lines_of(residual, plane, row + i);
                    for (pixel, v) in line[column..].chunks_exact(S::LANES).zip(y).take(columns) {
                        *v = s.add(*v, s.load(pixel));
                    }
                }
            }
            for y in &mut y {
                for v in y {
                    *v = s.add(*v, bias);
                    if relu {
                        *v = s.relu(*v);
                    }
                }
            }
            if kernel.pooled {
                for i in 0..M / 2 {
                    for j in 0..M / 2 {
                        let top = s.max(y[2 * i][2 * j], y[2 * i][2 * j + 1]);
                        y[i][j] = s.max(top, s.max(y[2 * i + 1][2 * j], y[2 * i + 1][2 * j + 1]));
                    }
                }
            }
            for (i, y) in y.iter().enumerate().take(rows) {
                let line = &mut out.line(plane, row + i)[column..];
                for (pixel, &v) in line.chunks_exact_mut(S::LANES).zip(y).take(columns) {
                    s.store(pixel, v);
                }
            }
        }
    }
}
