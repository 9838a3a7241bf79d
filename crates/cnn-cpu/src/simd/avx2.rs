//! AVX2 with FMA and F16C.

use std::arch::x86_64::*;

use super::{Simd, Task};

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

// SAFETY of every intrinsic below: a value of `Avx2` exists only where `detect` found the instructions.
impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type Vector = __m256;

    fn detect() -> Option<Self> {
        let found =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        found.then_some(Avx2(()))
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn inside<S: Simd, T: Task<S>>(s: S, task: T) {
            task.run(s);
        }
        // SAFETY: as above.
        unsafe { inside(self, task) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> __m256 {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32, vector: __m256) {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn stream_to(self, to: *mut f32, vector: __m256) {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm256_stream_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn load_half_from(self, from: *const u16) -> __m256 {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // The instruction returns `b` where either is NaN; a NaN in `a` is put back.
        // SAFETY: as above.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)) }
    }

    #[inline(always)]
    fn relu(self, a: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }

    #[inline(always)]
    fn max_of_pairs(self, a: __m256, b: __m256) -> __m256 {
        // The shuffles work in halves of the vectors, so the pairs come out as a, b, a, b.
        // SAFETY: as above.
        let (even, odd) =
            unsafe { (_mm256_shuffle_ps::<0b10_00_10_00>(a, b), _mm256_shuffle_ps::<0b11_01_11_01>(a, b)) };
        let larger = self.max(even, odd);
        // SAFETY: as above.
        unsafe { _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(larger))) }
    }

    #[inline(always)]
    fn where_less(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn sum_of_lanes(self, a: __m256) -> f32 {
        // SAFETY: as above.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn store_some(self, to: &mut [f32], vector: __m256) {
        assert!(to.len() <= Self::LANES);
        // SAFETY: as above; the mask is set for each of the slice's floats.
        unsafe {
            let places = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(to.len() as i32), places);
            _mm256_maskstore_ps(to.as_mut_ptr(), mask, vector);
        }
    }
}
