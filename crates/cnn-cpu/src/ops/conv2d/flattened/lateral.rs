//! The lateral filters of a chain: a matrix product of pixels and channels.

use std::ops::Range;

use cnn_core::layers::Activation;

use super::rows::{Source, Target};
use crate::ops::conv2d::panels::{Panel, Panels};
use crate::ops::conv2d::{Parameters, Problem, even_rows};
use crate::ops::elementwise::apply;
use crate::simd::Simd;
use crate::simd::tile::{LONGEST_SUM, Start, Tile};
use crate::simd::walk::{BlockedWindows, Offsets, Walk};

pub(super) struct Lateral {
    weights: Panels,
    /// Where the blocks of a pixel lie.
    blocks: Offsets,
    /// Channels of a block that are used: fewer than it has where one block holds all.
    channels: usize,
    activation: Option<Activation>,
}

impl Lateral {
    /// Over an input of blocks at a distance of `in_plane`.
    pub(super) fn new(problem: &Problem, parameters: Parameters<'_>, in_plane: usize) -> Self {
        let lanes = problem.machine.instructions().lanes();
        let blocks = (0..problem.in_channels.div_ceil(lanes)).map(|block| (block * in_plane) as u32);
        Lateral {
            weights: Panels::pack(problem, problem.machine.blocked(), parameters),
            blocks: Offsets::new(blocks.collect()),
            channels: lanes.min(problem.in_channels),
            activation: parameters.activation,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    pub(super) fn run<S: Simd>(&self, s: S, source: Source<'_>, rows: Range<usize>, target: &mut Target<'_, '_>) {
        let blocks = self.weights.blocks();
        for block in (0..blocks).step_by(2) {
            let panel = self.weights.panel(block);
            let mut left = rows.clone();
            while !left.is_empty() {
                let (row, together) = (left.start, source.together(&left).min(target.together(&left)));
                let x = source.from(0, row);
                match blocks - block {
                    1 => self.pixels::<S, 1>(s, x, panel, target.lines(block, (row, together))),
                    _ => self.pixels::<S, 2>(s, x, panel, target.lines(block, (row, together))),
                }
                let last = (block + 1).min(blocks - 1);
                let [line] = target.lines(last, (row, together));
                self.weights.clear_idle_lanes(s, last, line);
                left.start += together;
            }
        }
        if let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) {
            for block in 0..blocks {
                rows.clone().for_each(|row| apply(s, activation, target.row(block, row)));
            }
        }
    }

    /// Pixels side by side, in parts of the depth.
    fn pixels<S: Simd, const V: usize>(&self, s: S, x: &[f32], panel: Panel<'_>, mut lines: [&mut [f32]; V]) {
        let (runs, step) = (self.blocks.runs(), (LONGEST_SUM / self.channels).max(1));
        for first in (0..runs).step_by(step) {
            let part = first..(first + step).min(runs);
            let run = self.channels * V * S::LANES;
            let weights = &panel.weights[part.start * run..part.end * run];
            let start = if part.start == 0 { Start::Bias(panel.bias) } else { Start::Sum };
            let relu = part.end == runs && self.activation == Some(Activation::Relu);
            let (taps, channels) = (self.blocks.part(part), self.channels);
            let lines = lines.each_mut().map(|line| &mut line[..]);
            match channels == S::LANES {
                true => tiles(s, (x, weights), BlockedWindows::<1> { taps, stride: 1, channels }, (start, relu), lines),
                false => {
                    tiles(s, (x, weights), BlockedWindows::<0> { taps, stride: 1, channels }, (start, relu), lines)
                }
            }
        }
    }
}

/// Tiles of nearly the same height.
fn tiles<S: Simd, D: Walk, const V: usize>(
    s: S,
    (x, w): (&[f32], &[f32]),
    walk: D,
    (start, relu): (Start<'_>, bool),
    mut lines: [&mut [f32]; V],
) {
    let (mut at, mut left) = (0, lines[0].len() / S::LANES);
    while left > 0 {
        let rows = even_rows(left, S::TILE_ROWS);
        let tile = Tile { x: &x[at * walk.row_stride::<S>()..], walk, rows, w, start, relu, next: w.as_ptr() };
        tile.run(s, lines.each_mut().map(|line| &mut line[at * S::LANES..(at + rows) * S::LANES]), S::LANES);
        (at, left) = (at + rows, left - rows);
    }
}
