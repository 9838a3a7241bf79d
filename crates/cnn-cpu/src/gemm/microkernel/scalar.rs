//! Portable micro-kernel; the compiler uses what vectors the target always has.

use super::Microkernel;

const ROWS: usize = 4;
const COLUMNS: usize = 8;

pub(super) static F32_4X8_SCALAR: Microkernel =
    Microkernel { name: "f32_4x8_scalar", rows: ROWS, columns: COLUMNS, supported: || true, run };

/// # Safety
/// As for every micro-kernel; any processor will do.
unsafe fn run(depth: usize, a: *const f32, b: *const f32, tile: *mut f32) {
    // SAFETY: the caller vouches for these lengths.
    let (a, b, tile) = unsafe {
        let a = std::slice::from_raw_parts(a, depth * ROWS);
        let b = std::slice::from_raw_parts(b, depth * COLUMNS);
        (a, b, std::slice::from_raw_parts_mut(tile, ROWS * COLUMNS))
    };
    let mut sums = [[0f32; COLUMNS]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    tile.copy_from_slice(sums.as_flattened());
}
