//! Eight numbers at a time, with AVX2 and FMA and without gathers: the constants of all runs are in registers, and permutations
//! bring those of each number's run to its place.

use std::arch::x86_64::*;

use super::super::{CodeTable, Onto};
use super::arithmetic::{AHEAD, Arithmetic, DOUBT, LINE, OCTAVE};
use super::portable::{self, Portable};

/// Floats of a register.
const LANES: usize = 8;

/// Numbers that are worked on together: a register of codes.
const GROUP: usize = 32;

/// The row. A value exists only where the processor has AVX2 and FMA.
#[derive(Debug, Clone)]
pub(in super::super) struct Avx2(Arithmetic);

impl Avx2 {
    /// `None` where the processor lacks the instructions.
    pub(super) fn detect(table: &CodeTable, portable: &Portable) -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then(|| Avx2(Arithmetic::new(table, portable)))
    }

    pub(super) fn encode(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        match self.0.several {
            // SAFETY: a value of `Avx2` exists only where the processor has the instructions.
            true => unsafe { encode_groups::<true>(&self.0, values, reciprocal, codes) },
            // SAFETY: as above.
            false => unsafe { encode_groups::<false>(&self.0, values, reciprocal, codes) },
        }
    }

    pub(super) fn largest_magnitude(&self, values: &[f32]) -> u32 {
        #[target_feature(enable = "avx2")]
        unsafe fn inside(values: &[f32]) -> u32 {
            portable::largest_magnitude(values)
        }
        // SAFETY: as above.
        unsafe { inside(values) }
    }

    pub(super) fn decode_past_caches(&self, scaled: &[f32; 256], codes: &[u8], values: &mut [f32]) {
        // SAFETY: as above.
        unsafe { stream(scaled, codes, values) }
    }
}

/// # Safety
/// The processor must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn encode_groups<const SEVERAL: bool>(with: &Arithmetic, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
    let mut codes = codes.chunks_exact_mut(GROUP);
    let mut values = values.chunks_exact(GROUP);
    // SAFETY: the caller vouches for the instructions; the pointers below stay inside `GROUP` numbers or codes, and inside arrays of
    // eight floats or sixteen bytes.
    unsafe {
        let reciprocals = _mm256_set1_ps(reciprocal);
        let lanes = Lanes {
            ends: _mm256_loadu_si256(with.ends.as_ptr().cast()),
            begins: _mm256_broadcastsi128_si256(_mm_loadu_si128(with.begins.as_ptr().cast())),
            zero: _mm256_castps_si256(_mm256_set1_ps(with.zero)),
            range: with.range.map(|magnitude| _mm256_castps_si256(_mm256_set1_ps(magnitude))),
            scale: _mm256_loadu_ps(with.scale.as_ptr()),
            offset: _mm256_loadu_ps(with.offset.as_ptr()),
            last: _mm256_loadu_ps(with.last.as_ptr()),
        };
        // Packing works in halves of registers; this puts the pieces of four back in their order.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (codes, values) in codes.by_ref().zip(values.by_ref()) {
            let from = values.as_ptr();
            for line in 0..GROUP / LINE {
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD + line * LINE).cast());
            }
            let code = |i: usize| {
                let values = _mm256_mul_ps(_mm256_loadu_ps(from.add(i * LANES)), reciprocals);
                lanes.codes::<SEVERAL>(_mm256_castps_si256(values))
            };
            let (first, doubt) = halves_and_parts(code(0), code(1));
            let (second, more_doubt) = halves_and_parts(code(2), code(3));
            // Halves of codes are rounded up.
            let magnitudes = _mm256_avg_epu8(_mm256_packus_epi16(first, second), _mm256_setzero_si256());
            // The signs are those before the multiplication, which need not wait in registers.
            let raw = |i: usize| _mm256_loadu_si256(from.add(i * LANES).cast());
            let signs = _mm256_packs_epi16(_mm256_packs_epi32(raw(0), raw(1)), _mm256_packs_epi32(raw(2), raw(3)));
            let signs = _mm256_and_si256(signs, _mm256_set1_epi8(-128));
            let packed = _mm256_permutevar8x32_epi32(_mm256_or_si256(magnitudes, signs), order);
            _mm256_storeu_si256(codes.as_mut_ptr().cast(), packed);
            // Only now, as nothing has to wait in registers for what is rare.
            let nearest = _mm256_min_epu16(doubt, more_doubt);
            let sure = _mm256_max_epu16(nearest, _mm256_set1_epi16(2 * DOUBT));
            if _mm256_movemask_epi8(_mm256_cmpeq_epi16(sure, nearest)) != -1 {
                with.portable.encode(values, reciprocal, codes);
            }
        }
    }
    with.portable.encode(values.remainder(), reciprocal, codes.into_remainder());
}

/// Of twice eight codes with 16 bits behind the point: twice their whole parts, with the first bit behind the point, in the order of
/// packing; and what is behind the point, in any order, less than twice `DOUBT` where it is as near as that to a half.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn halves_and_parts(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let parts = _mm256_blend_epi16::<0b1010_1010>(a, _mm256_slli_epi32::<16>(b));
        let halves = _mm256_packs_epi32(_mm256_srli_epi32::<15>(a), _mm256_srli_epi32::<15>(b));
        (halves, _mm256_add_epi16(parts, _mm256_set1_epi16(i16::MIN + DOUBT)))
    }
}

/// The constants in registers. Bits of positive floats are compared as whole numbers, for which processors have more units.
struct Lanes {
    ends: __m256i,
    begins: __m256i,
    zero: __m256i,
    range: [__m256i; 2],
    scale: __m256,
    offset: __m256,
    last: __m256,
}

impl Lanes {
    /// The codes of eight floats with 16 bits behind the point, not yet rounded, without signs.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[inline(always)]
    unsafe fn codes<const SEVERAL: bool>(&self, values: __m256i) -> __m256i {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let magnitudes = _mm256_and_si256(values, _mm256_set1_epi32(i32::MAX));
            let some = _mm256_cmpgt_epi32(magnitudes, self.zero);
            let magnitudes = _mm256_min_epi32(_mm256_max_epi32(magnitudes, self.range[0]), self.range[1]);
            let numbers = _mm256_castsi256_ps(magnitudes);
            let code = match SEVERAL {
                false => _mm256_fmadd_ps(numbers, self.scale, self.offset),
                true => {
                    // The higher bytes find something too, and permutations do not look at it.
                    let octave = _mm256_srli_epi32::<{ OCTAVE as i32 }>(magnitudes);
                    let begin = _mm256_shuffle_epi8(self.begins, octave);
                    let end = _mm256_permutevar8x32_epi32(self.ends, begin);
                    // True is -1.
                    let run = _mm256_sub_epi32(begin, _mm256_cmpgt_epi32(magnitudes, end));
                    let scale = _mm256_permutevar8x32_ps(self.scale, run);
                    let offset = _mm256_permutevar8x32_ps(self.offset, run);
                    let last = _mm256_permutevar8x32_ps(self.last, run);
                    _mm256_min_ps(_mm256_fmadd_ps(numbers, scale, offset), last)
                }
            };
            _mm256_and_si256(_mm256_cvtps_epi32(code), some)
        }
    }
}

/// Decodes with stores that go past the caches.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn stream(scaled: &[f32; 256], codes: &[u8], values: &mut [f32]) {
    let unaligned = values.as_ptr().align_offset(size_of::<__m256>()).min(values.len()).min(codes.len());
    let (first_values, values) = values.split_at_mut(unaligned);
    let (first_codes, codes) = codes.split_at(unaligned);
    portable::decode(scaled, first_codes, first_values, Onto::Replace);
    let (mut values, mut codes) = (values.chunks_exact_mut(LANES), codes.chunks_exact(LANES));
    // SAFETY: the caller vouches for the instructions; each of `values` is eight floats, and starts where a register may.
    unsafe {
        for (values, codes) in values.by_ref().zip(codes.by_ref()) {
            let value = |i: usize| scaled[usize::from(codes[i])];
            let eight = _mm256_setr_ps(value(0), value(1), value(2), value(3), value(4), value(5), value(6), value(7));
            _mm256_stream_ps(values.as_mut_ptr(), eight);
        }
        // Such stores are not ordered with what other threads do, until here.
        _mm_sfence();
    }
    portable::decode(scaled, codes.remainder(), values.into_remainder(), Onto::Replace);
}
