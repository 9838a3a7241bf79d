//! Sixteen numbers at a time, as [`avx2`](super::avx2) does eight, with AVX-512.

// `build.rs` leaves this file out where the compiler is older than these intrinsics.
#![allow(clippy::incompatible_msrv)]

use std::arch::x86_64::*;

use super::super::CodeTable;
use super::arithmetic::{AHEAD, Arithmetic, DOUBT, LINE, OCTAVE, RUNS};
use super::avx2::stream;
use super::portable::{self, Portable};

/// Floats of a register.
const LANES: usize = 16;

/// Numbers that are worked on together: a register of codes.
const GROUP: usize = 64;

/// The row. A value exists only where the processor has AVX-512 F, BW and DQ.
#[derive(Debug, Clone)]
pub(in super::super) struct Avx512(Arithmetic);

impl Avx512 {
    /// `None` where the processor lacks the instructions.
    pub(super) fn detect(table: &CodeTable, portable: &Portable) -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        found.then(|| Avx512(Arithmetic::new(table, portable)))
    }

    pub(super) fn encode(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        match self.0.several {
            // SAFETY: a value of `Avx512` exists only where the processor has the instructions.
            true => unsafe { encode_groups::<true>(&self.0, values, reciprocal, codes) },
            // SAFETY: as above.
            false => unsafe { encode_groups::<false>(&self.0, values, reciprocal, codes) },
        }
    }

    pub(super) fn largest_magnitude(&self, values: &[f32]) -> u32 {
        #[target_feature(enable = "avx512f")]
        unsafe fn inside(values: &[f32]) -> u32 {
            portable::largest_magnitude(values)
        }
        // SAFETY: as above.
        unsafe { inside(values) }
    }

    pub(super) fn decode_past_caches(&self, scaled: &[f32; 256], codes: &[u8], values: &mut [f32]) {
        // SAFETY: as above; every processor with AVX-512 has AVX2.
        unsafe { stream(scaled, codes, values) }
    }
}

/// # Safety
/// The processor must have AVX-512 F, BW and DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
unsafe fn encode_groups<const SEVERAL: bool>(with: &Arithmetic, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
    let mut codes = codes.chunks_exact_mut(GROUP);
    let mut values = values.chunks_exact(GROUP);
    // SAFETY: the caller vouches for the instructions; the pointers below stay inside `GROUP` numbers or codes, and inside arrays of
    // eight floats or sixteen bytes.
    unsafe {
        let reciprocals = _mm512_set1_ps(reciprocal);
        let bits = |number: f32| _mm512_castps_si512(_mm512_set1_ps(number));
        let lanes = Lanes {
            ends: _mm512_castps_si512(of_runs(&with.ends)),
            begins: _mm512_cvtepu8_epi32(_mm_loadu_si128(with.begins.as_ptr().cast())),
            zero: bits(with.zero),
            range: with.range.map(bits),
            scale: of_runs(&with.scale),
            offset: of_runs(&with.offset),
            last: of_runs(&with.last),
        };
        // Packing works in quarters of registers; this puts the pieces of four back in their order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        for (codes, values) in codes.by_ref().zip(values.by_ref()) {
            let from = values.as_ptr();
            for line in 0..GROUP / LINE {
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD + line * LINE).cast());
            }
            let code = |i: usize| {
                let values = _mm512_mul_ps(_mm512_loadu_ps(from.add(i * LANES)), reciprocals);
                lanes.codes::<SEVERAL>(_mm512_castps_si512(values))
            };
            let (first, doubt) = halves_and_parts(code(0), code(1));
            let (second, more_doubt) = halves_and_parts(code(2), code(3));
            // Halves of codes are rounded up.
            let magnitudes = _mm512_avg_epu8(_mm512_packus_epi16(first, second), _mm512_setzero_si512());
            let raw = |i: usize| _mm512_loadu_si512(from.add(i * LANES).cast());
            let signs = _mm512_packs_epi16(_mm512_packs_epi32(raw(0), raw(1)), _mm512_packs_epi32(raw(2), raw(3)));
            let packed = _mm512_or_si512(magnitudes, _mm512_and_si512(signs, _mm512_set1_epi8(-128)));
            _mm512_storeu_si512(codes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, packed));
            let nearest = _mm512_min_epu16(doubt, more_doubt);
            if _mm512_cmplt_epu16_mask(nearest, _mm512_set1_epi16(2 * DOUBT)) != 0 {
                with.portable.encode(values, reciprocal, codes);
            }
        }
    }
    with.portable.encode(values.remainder(), reciprocal, codes.into_remainder());
}

/// A constant of each run in a register, which has room for them twice.
///
/// # Safety
/// The processor must have AVX-512 F and DQ.
#[inline(always)]
unsafe fn of_runs(constants: &[f32; RUNS]) -> __m512 {
    // SAFETY: the caller vouches for the instructions; there are eight floats.
    unsafe { _mm512_broadcast_f32x8(_mm256_loadu_ps(constants.as_ptr())) }
}

/// Of twice sixteen codes with 16 bits behind the point: twice their whole parts, with the first bit behind the point, in the order of
/// packing; and what is behind the point, in any order, less than twice `DOUBT` where it is as near as that to a half.
///
/// # Safety
/// The processor must have AVX-512 F and BW.
#[inline(always)]
unsafe fn halves_and_parts(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let parts = _mm512_mask_blend_epi16(0xaaaa_aaaa, a, _mm512_slli_epi32::<16>(b));
        let halves = _mm512_packs_epi32(_mm512_srli_epi32::<15>(a), _mm512_srli_epi32::<15>(b));
        (halves, _mm512_add_epi16(parts, _mm512_set1_epi16(i16::MIN + DOUBT)))
    }
}

/// The constants in registers.
struct Lanes {
    ends: __m512i,
    begins: __m512i,
    zero: __m512i,
    range: [__m512i; 2],
    scale: __m512,
    offset: __m512,
    last: __m512,
}

impl Lanes {
    /// The codes of sixteen floats with 16 bits behind the point, not yet rounded, without signs.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, BW and DQ.
    #[inline(always)]
    unsafe fn codes<const SEVERAL: bool>(&self, values: __m512i) -> __m512i {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let magnitudes = _mm512_and_si512(values, _mm512_set1_epi32(i32::MAX));
            let some = _mm512_cmpgt_epi32_mask(magnitudes, self.zero);
            let magnitudes = _mm512_min_epi32(_mm512_max_epi32(magnitudes, self.range[0]), self.range[1]);
            let numbers = _mm512_castsi512_ps(magnitudes);
            let code = match SEVERAL {
                false => _mm512_fmadd_ps(numbers, self.scale, self.offset),
                true => {
                    // A permutation looks at the last four bits of its indices.
                    let begin = _mm512_permutexvar_epi32(_mm512_srli_epi32::<OCTAVE>(magnitudes), self.begins);
                    let above = _mm512_cmpgt_epi32_mask(magnitudes, _mm512_permutexvar_epi32(begin, self.ends));
                    let run = _mm512_mask_add_epi32(begin, above, begin, _mm512_set1_epi32(1));
                    let scale = _mm512_permutexvar_ps(run, self.scale);
                    let offset = _mm512_permutexvar_ps(run, self.offset);
                    let last = _mm512_permutexvar_ps(run, self.last);
                    _mm512_min_ps(_mm512_fmadd_ps(numbers, scale, offset), last)
                }
            };
            _mm512_maskz_cvtps_epi32(some, code)
        }
    }
}
