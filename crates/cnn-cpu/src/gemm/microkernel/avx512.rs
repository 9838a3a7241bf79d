//! 8 x 48 for AVX-512: 24 sums in registers, three vectors of B and one broadcast of A a step.
//!
//! Tiles of 8 x 32, 12 x 32 and 14 x 32 were slower: more of VGG-16's columns are left over with wide tiles, but the
//! heights that divide its channels weigh more.

// `build.rs` leaves this file out where the compiler is older than these intrinsics.
#![allow(clippy::incompatible_msrv)]

use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps};

use super::Microkernel;

const ROWS: usize = 8;
const LANES: usize = 16;
const VECTORS: usize = 3;

pub(super) static F32_8X48_AVX512: Microkernel = Microkernel {
    name: "f32_8x48_avx512",
    rows: ROWS,
    columns: VECTORS * LANES,
    supported: || is_x86_feature_detected!("avx512f"),
    run,
};

/// # Safety
/// As for every micro-kernel; needs AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn run(depth: usize, a: *const f32, b: *const f32, tile: *mut f32) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for k in 0..depth {
        let mut b_k = [_mm512_setzero_ps(); VECTORS];
        for (v, lanes) in b_k.iter_mut().enumerate() {
            // SAFETY: k < depth and v < VECTORS, and the caller vouches for `depth * VECTORS * LANES` floats at `b`.
            *lanes = unsafe { _mm512_loadu_ps(b.add((k * VECTORS + v) * LANES)) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < ROWS, and the caller vouches for `depth * ROWS` floats at `a`.
            let a = _mm512_set1_ps(unsafe { *a.add(k * ROWS + r) });
            for (sum, b) in sums.iter_mut().zip(b_k) {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
    }
    for (i, sum) in sums.into_iter().flatten().enumerate() {
        // SAFETY: i < ROWS * VECTORS, and the caller vouches for `ROWS * VECTORS * LANES` floats at `tile`.
        unsafe { _mm512_storeu_ps(tile.add(i * LANES), sum) };
    }
}
