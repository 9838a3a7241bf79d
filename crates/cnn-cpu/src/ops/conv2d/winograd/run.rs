//! The two plans of the work: by blocks of tiles, and by frequency.

use cnn_core::layers::Activation;

use super::tiles::{Backward, Forward, Product, Target, Tiles};
use super::{WinogradKernel, even_rows, skewed};
use crate::ops::Io;
use crate::ops::elementwise::apply;
use crate::simd::Simd;
use crate::simd::tile::{Start, Tile};
use crate::simd::walk::BlockedPixels;
use crate::threads::{Block, Workers};

impl<const P: usize, const N: usize, const M: usize> WinogradKernel<P, N, M> {
    /// Each piece of work takes a block of tiles through all frequencies.
    pub(super) fn by_tiles<S: Simd>(&self, s: S, [down, across]: [usize; 2], io: Io<'_>, workers: Workers<'_>) {
        let [height, width] = self.output();
        let image = self.in_blocks * self.rows.input * self.columns.input * S::LANES;
        let extents = [io.batch * self.out_blocks, height, width * S::LANES];
        let steps = [self.out_blocks, down * self.step(), across * self.step() * S::LANES];
        let (input, residual) = (io.inputs[0], io.inputs.get(1).copied());
        workers.for_each_block_of(io.output, extents, (self.out_blocks, steps), |mut out| {
            let input = &input[out.planes().start / self.out_blocks * image..][..image];
            let tiles = self.tiles_under::<S>(&out);
            let line = tiles.count() * S::LANES;
            let (v_stride, m_stride) = (skewed(self.in_blocks * line), skewed(2 * line));
            workers.scratch(N * N * (v_stride + m_stride), |scratch| {
                let (v, m) = scratch.split_at_mut(N * N * v_stride);
                let mut frequencies = Block::whole(v, [N * N, 1, v_stride]);
                for block in 0..self.in_blocks {
                    let (plane, out) = (self.plane::<S>(input, block), (&mut frequencies, block * line));
                    s.vectorize(Forward { kernel: self, plane, tiles: &tiles, out });
                }
                for panel in (0..self.out_blocks).step_by(2) {
                    let blocks = (self.out_blocks - panel).min(2);
                    for (frequency, m) in m.chunks_mut(m_stride).enumerate() {
                        let v = &v[frequency * v_stride..][..self.in_blocks * line];
                        let after = if frequency + 1 < N * N { (frequency + 1, panel) } else { (frequency, panel) };
                        self.multiply(s, [(frequency, panel), after], v, &mut m[..blocks * line]);
                    }
                    for block in 0..blocks {
                        let m = Product { data: &m[block * line..], stride: m_stride };
                        let bias = self.bias(s, panel + block);
                        let target = Target { out: &mut out, plane: panel + block, bias, residual };
                        s.vectorize(Backward { kernel: self, m, tiles: &tiles, target });
                    }
                }
            });
            self.activate(s, &mut out);
        });
    }

    /// All tiles are transformed; each piece of work takes a panel of weights of one frequency; all are transformed back.
    pub(super) fn by_frequency<S: Simd>(&self, s: S, images: usize, io: Io<'_>, workers: Workers<'_>) {
        let [down, across] = self.tiles();
        let [height, width] = self.output();
        let image = self.in_blocks * self.rows.input * self.columns.input * S::LANES;
        let out_image = self.out_blocks * height * width * S::LANES;
        for (first, output) in io.output.chunks_mut(images * out_image).enumerate() {
            let batch = output.len() / out_image;
            let input = &io.inputs[0][first * images * image..][..batch * image];
            let residual = io.inputs.get(1).map(|residual| &residual[first * images * out_image..][..output.len()]);
            let row = across * S::LANES;
            let line = batch * down * row;
            let (v_stride, m_stride) = (skewed(self.in_blocks * line), skewed(self.out_blocks * line));
            let (v, rest) = io.workspace.split_at_mut(N * N * v_stride);
            let m = &mut rest[..N * N * m_stride];

            // A row of tiles of one block of channels a piece; what makes the distance odd is a piece without work.
            workers.for_each_block(v, [N * N, 1, v_stride], [N * N, 1, row], |mut frequencies| {
                let index = frequencies.columns().start / row;
                let (block, n, y) = (index / (batch * down), index / down % batch, index % down);
                if block < self.in_blocks {
                    let tiles = Tiles { rows: y..y + 1, columns: 0..across };
                    let plane = self.plane::<S>(&input[n * image..], block);
                    s.vectorize(Forward { kernel: self, plane, tiles: &tiles, out: (&mut frequencies, 0) });
                }
            });

            let v = &*v;
            workers.for_each_block(m, [N * N, 1, m_stride], [1, 1, 2 * line], |mut product| {
                let (frequency, panel) = (product.planes().start, product.columns().start / line);
                if panel < self.out_blocks {
                    let v = &v[frequency * v_stride..][..self.in_blocks * line];
                    let blocks = (self.out_blocks - panel).min(2);
                    let after = match panel + 2 < self.out_blocks {
                        true => (frequency, panel + 2),
                        false => ((frequency + 1).min(N * N - 1), 0),
                    };
                    let m = &mut product.line(0, 0)[..blocks * line];
                    self.multiply(s, [(frequency, panel), after], v, m);
                }
            });

            let m = &*m;
            // Several rows of tiles of one block of channels a piece.
            let steps = [1, down.div_ceil(4) * self.step(), width * S::LANES];
            workers.for_each_block(output, [batch * self.out_blocks, height, width * S::LANES], steps, |mut out| {
                let (n, block) = (out.planes().start / self.out_blocks, out.planes().start % self.out_blocks);
                let tiles = self.tiles_under::<S>(&out);
                let begin = block * line + (n * down + tiles.rows.start) * row;
                let m = Product { data: &m[begin..], stride: m_stride };
                let target = Target { out: &mut out, plane: 0, bias: self.bias(s, block), residual };
                s.vectorize(Backward { kernel: self, m, tiles: &tiles, target });
                self.activate(s, &mut out);
            });
        }
    }

    /// The tiles that make a block of the output.
    fn tiles_under<S: Simd>(&self, out: &Block<'_>) -> Tiles {
        let (rows, columns, step) = (out.rows(), out.columns(), self.step());
        let across = step * S::LANES;
        Tiles {
            rows: rows.start / step..rows.end.div_ceil(step),
            columns: columns.start / across..columns.end.div_ceil(across),
        }
    }

    fn plane<'a, S: Simd>(&self, image: &'a [f32], block: usize) -> &'a [f32] {
        let plane = self.rows.input * self.columns.input * S::LANES;
        &image[block * plane..][..plane]
    }

    fn bias<S: Simd>(&self, s: S, block: usize) -> S::Vector {
        s.load(&self.bias[block * S::LANES..])
    }

    /// The product of one frequency and one panel, and those that come after it: `v` is `[block of C][tile][lanes]`, `m` one or two blocks of
    /// `[tile][lanes]`.
    pub(super) fn multiply<S: Simd>(&self, s: S, [at, after]: [(usize, usize); 2], v: &[f32], m: &mut [f32]) {
        let line = v.len() / self.in_blocks;
        let w = self.weights.panel(N * N, at);
        let walk = BlockedPixels { blocks: self.in_blocks, plane: line };
        let (left, right) = m.split_at_mut(line);
        // What is multiplied next is fetched meanwhile, a part by each tile.
        let after = self.weights.panel(N * N, after);
        let mut fetched = 0;
        let (mut row, mut remaining) = (0, line / S::LANES);
        while remaining > 0 {
            let rows = even_rows(remaining, S::TILE_ROWS);
            let next = after.get(fetched..).unwrap_or(w).as_ptr();
            let tile = Tile { x: &v[row * S::LANES..], walk, rows, w, start: Start::Zero, relu: false, next };
            let lanes = row * S::LANES..(row + rows) * S::LANES;
            match right.is_empty() {
                true => tile.run(s, [&mut left[lanes]], S::LANES),
                false => tile.run(s, [&mut left[lanes.clone()], &mut right[lanes]], S::LANES),
            }
            fetched += self.in_blocks * S::LANES * 16;
            (row, remaining) = (row + rows, remaining - rows);
        }
    }

    /// Applies what is not a ReLU, which the transform applies.
    fn activate<S: Simd>(&self, s: S, out: &mut Block<'_>) {
        let Some(activation) = self.activation.filter(|a| *a != Activation::Relu) else { return };
        for plane in 0..out.planes().len() {
            for row in 0..out.rows().len() {
                apply(s, activation, out.line(plane, row));
            }
        }
    }
}
