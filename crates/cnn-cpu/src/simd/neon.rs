//! Advanced SIMD of 64-bit Arm.

use std::arch::aarch64::*;

use super::{Portable, Simd, Task};

/// Proof that the processor has Advanced SIMD.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

// SAFETY of every intrinsic below: a value of `Neon` exists only where `detect` found the instructions.
impl Simd for Neon {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 12;
    type Vector = float32x4_t;

    fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) {
        #[target_feature(enable = "neon")]
        unsafe fn inside<S: Simd, T: Task<S>>(s: S, task: T) {
            task.run(s);
        }
        // SAFETY: as above.
        unsafe { inside(self, task) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> float32x4_t {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32, vector: float32x4_t) {
        // SAFETY: as above; the caller vouches for the memory.
        unsafe { vst1q_f32(to, vector) }
    }

    #[inline(always)]
    unsafe fn load_half_from(self, from: *const u16) -> float32x4_t {
        // The intrinsics for half floats are not stable; the compiler makes vectors of the portable loop.
        // SAFETY: the caller vouches for the memory; an array of four floats can be read as a vector.
        unsafe { vld1q_f32(Portable.load_half_from(from).as_ptr()) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn relu(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmaxq_f32(a, vdupq_n_f32(0.0)) }
    }

    #[inline(always)]
    fn max_of_pairs(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vpmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn where_less(self, a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcltq_f32(a, b), yes, no) }
    }

    #[inline(always)]
    fn sum_of_lanes(self, a: float32x4_t) -> f32 {
        // SAFETY: as above.
        unsafe { vaddvq_f32(a) }
    }

    #[inline(always)]
    fn store_some(self, to: &mut [f32], vector: float32x4_t) {
        let mut lanes = [0.0; 4];
        // SAFETY: as above; there is room for a vector.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), vector) };
        to.copy_from_slice(&lanes[..to.len()]);
    }
}
