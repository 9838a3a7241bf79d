//! AVX-512F.

// `build.rs` leaves this file out where the compiler is older than these intrinsics.
#![allow(clippy::incompatible_msrv)]

use std::arch::x86_64::*;

use super::{Simd, Task};

/// Proof that the processor has AVX-512F.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

// SAFETY of every intrinsic below: a value of `Avx512` exists only where `detect` found the instructions.
impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;
    type Vector = __m512;

    fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Avx512(()))
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) {
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn inside<S: Simd, T: Task<S>>(s: S, task: T) {
            task.run(s);
        }
        // SAFETY: as above; every processor with AVX-512F has AVX2 and FMA.
        unsafe { inside(self, task) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> __m512 {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32, vector: __m512) {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn stream_to(self, to: *mut f32, vector: __m512) {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm512_stream_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn load_half_from(self, from: *const u16) -> __m512 {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // The instruction returns `b` where either is NaN; a NaN in `a` is put back.
        // SAFETY: as above.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a) }
    }

    #[inline(always)]
    fn relu(self, a: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }

    #[inline(always)]
    fn max_of_pairs(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        let (even, odd) = unsafe {
            let places = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
            let next = _mm512_add_epi32(places, _mm512_set1_epi32(1));
            (_mm512_permutex2var_ps(a, places, b), _mm512_permutex2var_ps(a, next, b))
        };
        self.max(even, odd)
    }

    #[inline(always)]
    fn where_less(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    fn sum_of_lanes(self, a: __m512) -> f32 {
        // SAFETY: as above.
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn store_some(self, to: &mut [f32], vector: __m512) {
        assert!(to.len() <= Self::LANES);
        // SAFETY: as above; the mask has a bit for each of the slice's floats.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), ((1u32 << to.len()) - 1) as __mmask16, vector) }
    }
}
