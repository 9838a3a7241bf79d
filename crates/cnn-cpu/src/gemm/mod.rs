//! The packed matrix product under `im2col` and under training: `C = A B`, with bias and activation as it is written.
//!
//! The loop nest is that of Goto and van de Geijn (2008). From the outside in: blocks of columns (one piece of work
//! each), blocks of depth (`blocking.depth`, so that a panel of B stays in the first cache), blocks of rows
//! (`blocking.rows`, so that a block of A stays in the second), panels of B, panels of A, and the micro-kernel, whose
//! tile of C stays in registers. A and B are packed into panels, so that the micro-kernel reads both in order.
//!
//! Each element of C is summed in an order that depends on the depth blocking alone.

mod blocking;
mod pack;

pub mod microkernel;

pub use blocking::Blocking;
pub use microkernel::Microkernel;
pub use pack::{Matrix, Panels, pack, packed_length};

use cnn_core::layers::Activation;

use crate::cache::Caches;
use crate::simd::Instructions;
use crate::threads::Block;

/// The product as this machine runs it.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// What the innermost loop is compiled for.
    pub instructions: Instructions,
    /// The shape of its tile.
    pub kernel: &'static Microkernel,
    /// Sizes of the blocks.
    pub blocking: Blocking,
}

/// What happens to an element of C once it is summed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to each row or column.
    pub bias: Bias<'a>,
    /// Applied last.
    pub activation: Option<Activation>,
}

/// What is added to C.
#[derive(Debug, Clone, Copy, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// A value a row: a convolution's channels.
    Rows(&'a [f32]),
    /// A value a column: a linear layer's features.
    Columns(&'a [f32]),
}

impl Gemm {
    /// The product with these instructions, blocked for these caches.
    pub fn new(instructions: Instructions, caches: Caches) -> Self {
        let kernel = instructions.microkernel();
        Gemm { instructions, kernel, blocking: Blocking::for_caches(caches, kernel) }
    }

    /// Floats of scratch for a block of `columns` of B, packed one block of depth at a time.
    pub fn block_length(&self, columns: usize) -> usize {
        columns.next_multiple_of(self.kernel.columns) * self.blocking.depth
    }

    /// Adds to (or, where it is the first, writes) one block of columns of C the product over one block of depth,
    /// and finishes the elements where it is the last. `a` and `b` hold that block of depth only; `b` holds the
    /// columns of `c` only.
    pub fn multiply_block(&self, a: Panels<'_>, b: Panels<'_>, c: &mut Block<'_>, pass: Pass<'_>) {
        let Microkernel { rows: mr, columns: nr, .. } = *self.kernel;
        let (rows, columns, depth, lanes) = (c.rows().len(), c.columns(), a.depth(), self.instructions.lanes());
        let mut tile = [0.0; microkernel::MAX_TILE];
        for row_block in (0..rows).step_by(self.blocking.rows) {
            let row_end = (row_block + self.blocking.rows).min(rows);
            for (panel, column) in (0..columns.len()).step_by(nr).enumerate() {
                let width = nr.min(columns.len() - column);
                for row in (row_block..row_end).step_by(mr) {
                    let height = mr.min(row_end - row);
                    let (a, b) = (a.panel(row / mr), b.panel(panel));
                    self.instructions.run_tile(height, depth, a, b, &mut tile);
                    for r in 0..height {
                        let out = &mut c.line(0, row + r)[column..column + width];
                        for (v, out) in out.chunks_mut(lanes).enumerate() {
                            let place = Place { row: row + r, column: columns.start + column + v * lanes };
                            pass.write(out, &tile[(v * height + r) * lanes..][..lanes], place);
                        }
                    }
                }
            }
        }
    }
}

impl Gemm {
    /// Floats of scratch that [`multiply`](Self::multiply) needs for `rows` of A and `columns` of B.
    pub fn multiply_length(&self, rows: usize, columns: usize) -> usize {
        packed_length(rows, self.blocking.depth, self.kernel.rows) + self.block_length(columns)
    }

    /// Writes, or adds where `add`, the columns of A B that `c` holds. Packs both as it goes.
    pub fn multiply(&self, a: Matrix<'_>, b: Matrix<'_>, c: &mut Block<'_>, add: bool, scratch: &mut [f32]) {
        let Microkernel { rows: mr, columns: nr, .. } = *self.kernel;
        let columns = c.columns();
        for start in (0..a.columns).step_by(self.blocking.depth) {
            let part = start..(start + self.blocking.depth).min(a.columns);
            let (packed_a, rest) = scratch.split_at_mut(packed_length(a.rows, part.len(), mr));
            let packed_b = &mut rest[..packed_length(columns.len(), part.len(), nr)];
            pack(a.columns(part.clone()), mr, packed_a);
            pack(b.rows(part.clone()).columns(columns.clone()).transposed(), nr, packed_b);
            let pass = Pass { first: start == 0 && !add, last: part.end == a.columns, epilogue: Epilogue::default() };
            self.multiply_block(Panels::new(packed_a, mr, part.len()), Panels::new(packed_b, nr, part.len()), c, pass);
        }
    }
}

/// Which of the passes over depth this is, and what the last one does.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Whether C is written, not added to.
    pub first: bool,
    /// Whether C is complete after it.
    pub last: bool,
    /// What the last pass does.
    pub epilogue: Epilogue<'a>,
}

/// Where a part of a row lies in C.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
}

impl Pass<'_> {
    fn write(&self, c: &mut [f32], sums: &[f32], at: Place) {
        match self.first {
            true => c.copy_from_slice(&sums[..c.len()]),
            false => c.iter_mut().zip(sums).for_each(|(c, sum)| *c += sum),
        }
        if !self.last {
            return;
        }
        match self.epilogue.bias {
            Bias::None => {}
            Bias::Rows(bias) => c.iter_mut().for_each(|c| *c += bias[at.row]),
            Bias::Columns(bias) => c.iter_mut().zip(&bias[at.column..]).for_each(|(c, b)| *c += b),
        }
        match self.epilogue.activation {
            None => {}
            Some(Activation::Relu) => c.iter_mut().for_each(|c| *c = Activation::Relu.apply(*c)),
            Some(activation) => c.iter_mut().for_each(|c| *c = activation.apply(*c)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_sizes_agree_with_sums_in_f64() {
        let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0;
        for instructions in Instructions::supported() {
            // Tiny caches, so that small matrices meet every block edge.
            let gemm = Gemm::new(instructions, Caches { l1: 1, l2: 1 });
            for (m, k, n) in [(1, 1, 1), (7, 130, 33), (13, 64, 16), (25, 65, 40), (6, 200, 17)] {
                let a: Vec<f32> = (0..m * k).map(value).collect();
                let b: Vec<f32> = (0..k * n).map(|i| value(i + 31)).collect();
                let mut c = vec![1.0; m * n];
                let mut scratch = vec![f32::NAN; gemm.multiply_length(m, n)];
                let mut block = Block::whole(&mut c, [1, m, n]);
                gemm.multiply(Matrix::new(&a, m, k), Matrix::new(&b, k, n), &mut block, true, &mut scratch);
                for (i, &got) in c.iter().enumerate() {
                    let product = |j: usize| f64::from(a[i / n * k + j]) * f64::from(b[j * n + i % n]);
                    let expected = 1.0 + (0..k).map(product).sum::<f64>();
                    assert!(
                        (f64::from(got) - expected).abs() < 1e-4,
                        "{} {m} {k} {n}: {got} {expected}",
                        gemm.kernel.name
                    );
                }
            }
        }
    }
}
