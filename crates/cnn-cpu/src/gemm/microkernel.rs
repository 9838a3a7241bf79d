//! The shapes of the packed product's tile, one for each instruction set. The loop itself is
//! [`simd::tile`](crate::simd::tile).
//!
//! Names are `<type>_<rows>x<columns>_<instruction set>`.

use crate::simd::tile::{Start, Tile};
use crate::simd::walk::Panel;
use crate::simd::{Instructions, Simd, with_simd};

/// Most elements of a tile.
pub const MAX_TILE: usize = 8 * 48;

/// One tile of C, held in registers.
#[derive(Debug)]
pub struct Microkernel {
    /// `<type>_<rows>x<columns>_<instruction set>`.
    pub name: &'static str,
    /// Rows of the tile: the width of A's panels.
    pub rows: usize,
    /// Columns of the tile: the width of B's panels.
    pub columns: usize,
}

impl Instructions {
    /// The tile of the packed product.
    pub fn microkernel(&self) -> &'static Microkernel {
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Instructions::Avx512(_) => &Microkernel { name: "f32_8x48_avx512", rows: 8, columns: 48 },
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => &Microkernel { name: "f32_6x16_avx2", rows: 6, columns: 16 },
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(_) => &Microkernel { name: "f32_8x12_neon", rows: 8, columns: 12 },
            Instructions::Portable(_) => &Microkernel { name: "f32_4x8_portable", rows: 4, columns: 8 },
        }
    }

    /// Computes the first `rows` rows of a tile: `tile[r][c] = sum over k of a[k][r] * b[k][c]`, of packed panels.
    /// The tile lies vector by vector: `[columns / LANES][rows][LANES]`.
    pub(super) fn run_tile(&self, rows: usize, depth: usize, a: &[f32], b: &[f32], tile: &mut [f32; MAX_TILE]) {
        let a_rows = self.microkernel().rows;
        let walk = Panel { length: depth, width: a_rows };
        let product = Tile { x: a, walk, rows, w: b, start: Start::Zero, relu: false, next: b.as_ptr() };
        with_simd!(*self, s => run(s, product, self.microkernel().columns, tile));
    }
}

fn run<S: Simd>(s: S, product: Tile<'_, Panel>, columns: usize, tile: &mut [f32; MAX_TILE]) {
    let length = product.rows * S::LANES;
    let (first, rest) = tile.split_at_mut(length);
    let (second, rest) = rest.split_at_mut(length);
    match columns / S::LANES {
        2 => product.run(s, [first, second], S::LANES),
        _ => product.run(s, [first, second, &mut rest[..length]], S::LANES),
    }
}
