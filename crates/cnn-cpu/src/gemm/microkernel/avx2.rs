//! 6 x 16 for AVX2 with FMA: twelve sums in registers, two vectors of B and one broadcast of A a step.

use std::arch::x86_64::{_mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps};

use super::Microkernel;

const ROWS: usize = 6;
const COLUMNS: usize = 16;

pub(super) static F32_6X16_AVX2: Microkernel = Microkernel {
    name: "f32_6x16_avx2",
    rows: ROWS,
    columns: COLUMNS,
    supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    run,
};

/// # Safety
/// As for every micro-kernel; needs AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn run(depth: usize, a: *const f32, b: *const f32, tile: *mut f32) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    for k in 0..depth {
        // SAFETY: k < depth, and the caller vouches for `depth * COLUMNS` floats at `b`.
        let (b0, b1) = unsafe { (_mm256_loadu_ps(b.add(k * COLUMNS)), _mm256_loadu_ps(b.add(k * COLUMNS + 8))) };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < ROWS, and the caller vouches for `depth * ROWS` floats at `a`.
            let a = unsafe { _mm256_broadcast_ss(&*a.add(k * ROWS + r)) };
            sums[0] = _mm256_fmadd_ps(a, b0, sums[0]);
            sums[1] = _mm256_fmadd_ps(a, b1, sums[1]);
        }
    }
    for (r, [left, right]) in sums.into_iter().enumerate() {
        // SAFETY: the caller vouches for `ROWS * COLUMNS` floats at `tile`.
        unsafe {
            _mm256_storeu_ps(tile.add(r * COLUMNS), left);
            _mm256_storeu_ps(tile.add(r * COLUMNS + 8), right);
        }
    }
}
