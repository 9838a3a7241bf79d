//! Codes by arithmetic on eight numbers at a time, with AVX2 and FMA and without gathers: which run of evenly spaced
//! magnitudes a number lies in, by its logarithm and a comparison; that run's constants, by permutations of registers that
//! hold those of all eight; the code, by a multiplication and an addition.
//!
//! The products are rounded, so a number within [`DOUBT`] of a step of half-way between two magnitudes could get the wrong one. Groups with such a
//! number go through the portable row: one group in 250 where numbers are spread evenly.

use std::arch::x86_64::*;

use super::super::{CodeTable, Onto};
use super::portable::{self, Portable};

/// Floats of a register, and at most as many runs of a type.
const LANES: usize = 8;

/// Numbers that are worked on together: a register of codes.
const GROUP: usize = 32;

/// More than what rounding can shift a number by, in steps of its run. A code is at most 128; scale, offset, their product
/// and sum, and the magnitudes themselves are rounded by at most 2^-24 of that each, 4e-5 altogether.
const DOUBT: f32 = 1.0 / 16384.0;

/// The constants of one type. A value exists only where the processor has AVX2 and FMA.
#[derive(Debug, Clone)]
pub(in super::super) struct Avx2 {
    portable: Portable,
    /// Numbers above the `i`th are in run `i + 1` or later.
    ends: [f32; LANES],
    /// A number's bits times the first plus the second, rounded down, is its run or the one before.
    decades: [f32; 2],
    /// Whether there is more than one run.
    several: bool,
    /// What gets code 0 up to here.
    zero: f32,
    /// The code: a number times `scale` plus `offset`, rounded down.
    scale: [f32; LANES],
    offset: [f32; LANES],
    /// The code of the run's last magnitude, and a half.
    last: [f32; LANES],
}

impl Avx2 {
    /// `None` where the processor lacks the instructions.
    pub(super) fn detect(table: &CodeTable, portable: &Portable) -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then(|| Self::constants(table, portable.clone()))
    }

    fn constants(table: &CodeTable, portable: Portable) -> Self {
        let runs = table.runs();
        let threshold_before = |code: u8| {
            let rank = table.codes().iter().position(|&other| other == code).unwrap_or(0);
            table.thresholds()[rank.saturating_sub(1)]
        };
        let of = |i: usize| runs[i.min(runs.len() - 1)];
        let ends = std::array::from_fn(|i| runs.get(i + 1).map_or(f32::INFINITY, |run| threshold_before(run.first)));
        Avx2 {
            portable,
            ends,
            decades: decades(&ends[..runs.len() - 1]),
            several: runs.len() > 1,
            zero: table.thresholds()[0],
            scale: std::array::from_fn(|i| (1.0 / of(i).step) as f32),
            offset: std::array::from_fn(|i| (f64::from(of(i).first) + 0.5 - of(i).start / of(i).step) as f32),
            last: std::array::from_fn(|i| f32::from(of(i).first) + f32::from(of(i).count) - 0.5),
        }
    }

    pub(super) fn encode(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        match self.several {
            // SAFETY: a value of `Avx2` exists only where the processor has the instructions.
            true => unsafe { self.encode_groups::<true>(values, reciprocal, codes) },
            // SAFETY: as above.
            false => unsafe { self.encode_groups::<false>(values, reciprocal, codes) },
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

    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn encode_groups<const SEVERAL: bool>(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        let mut codes = codes.chunks_exact_mut(GROUP);
        let mut values = values.chunks_exact(GROUP);
        // SAFETY: the caller vouches for the instructions; the pointers below stay inside `GROUP` numbers or codes, and inside
        // arrays of eight.
        unsafe {
            let reciprocals = _mm256_set1_ps(reciprocal);
            let lanes = Lanes {
                ends: _mm256_loadu_ps(self.ends.as_ptr()),
                decades: self.decades.map(|constant| _mm256_set1_ps(constant)),
                zero: _mm256_set1_ps(self.zero),
                scale: _mm256_loadu_ps(self.scale.as_ptr()),
                offset: _mm256_loadu_ps(self.offset.as_ptr()),
                last: _mm256_loadu_ps(self.last.as_ptr()),
            };
            // Packing works in halves of registers; this puts the pieces of four back in their order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for (codes, values) in codes.by_ref().zip(values.by_ref()) {
                let from = values.as_ptr();
                let (first, first_signs, doubt) = lanes.sixteen::<SEVERAL>(from, reciprocals);
                let (second, second_signs, more_doubt) = lanes.sixteen::<SEVERAL>(from.add(2 * LANES), reciprocals);
                let signs = _mm256_and_si256(_mm256_packs_epi16(first_signs, second_signs), _mm256_set1_epi8(-128));
                let packed = _mm256_or_si256(_mm256_packus_epi16(first, second), signs);
                _mm256_storeu_si256(codes.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(packed, order));
                // Only now, as nothing has to wait in registers for what is rare.
                let doubt = _mm256_min_ps(doubt, more_doubt);
                if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(doubt, _mm256_set1_ps(DOUBT))) != 0 {
                    self.portable.encode(values, reciprocal, codes);
                }
            }
        }
        self.portable.encode(values.remainder(), reciprocal, codes.into_remainder());
    }
}

/// What makes of a number's bits the run that it is in, or the one before: the runs end about a power of ten after each other, and the
/// bits are the logarithm, linear between powers of two, where it is up to 0.09 too small.
fn decades(ends: &[f32]) -> [f32; 2] {
    const MARGIN: f64 = 0.01;
    let slope = std::f64::consts::LOG10_2 / f64::from(1 << 23);
    // As late as the latest of the ends, so that no run is passed too early.
    let latest = ends.iter().enumerate().map(|(i, &end)| f64::from(end).log10() - i as f64);
    let latest = latest.fold(f64::NEG_INFINITY, f64::max);
    // The exponent's bias is 127. A number at the latest end has 1.
    [slope as f32, (1.0 - latest - MARGIN - 127.0 * std::f64::consts::LOG10_2) as f32]
}

/// Decodes with stores that go past the caches.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn stream(scaled: &[f32; 256], codes: &[u8], values: &mut [f32]) {
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

/// The constants in registers.
struct Lanes {
    ends: __m256,
    decades: [__m256; 2],
    zero: __m256,
    scale: __m256,
    offset: __m256,
    last: __m256,
}

impl Lanes {
    /// Of sixteen numbers: codes without signs, and numbers that have their signs, both as 16 bits in the order of packing; and how
    /// far numbers are from half-way between two magnitudes, in steps.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA; sixteen floats at `from` must be readable.
    #[inline(always)]
    unsafe fn sixteen<const SEVERAL: bool>(&self, from: *const f32, reciprocals: __m256) -> (__m256i, __m256i, __m256) {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe {
            let a = _mm256_mul_ps(_mm256_loadu_ps(from), reciprocals);
            let b = _mm256_mul_ps(_mm256_loadu_ps(from.add(LANES)), reciprocals);
            let signs = _mm256_packs_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
            let ((a, doubt_a), (b, doubt_b)) = (self.codes::<SEVERAL>(a), self.codes::<SEVERAL>(b));
            (_mm256_packs_epi32(a, b), signs, _mm256_min_ps(doubt_a, doubt_b))
        }
    }

    /// The codes of eight numbers, without signs, and how far each is from half-way between two magnitudes, in steps.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[inline(always)]
    unsafe fn codes<const SEVERAL: bool>(&self, values: __m256) -> (__m256i, __m256) {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let magnitudes = _mm256_andnot_ps(_mm256_set1_ps(-0.0), values);
            let (mut scale, mut offset, mut last) = (self.scale, self.offset, self.last);
            if SEVERAL {
                let bits = _mm256_cvtepi32_ps(_mm256_castps_si256(magnitudes));
                let decade = _mm256_fmadd_ps(bits, self.decades[0], self.decades[1]);
                let decade = _mm256_max_ps(_mm256_min_ps(decade, _mm256_set1_ps(7.0)), _mm256_setzero_ps());
                let below = _mm256_cvttps_epi32(decade);
                let end = _mm256_permutevar8x32_ps(self.ends, below);
                // True is -1.
                let above = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(magnitudes, end));
                let run = _mm256_sub_epi32(below, above);
                scale = _mm256_permutevar8x32_ps(scale, run);
                offset = _mm256_permutevar8x32_ps(offset, run);
                last = _mm256_permutevar8x32_ps(last, run);
            }
            let exact = _mm256_min_ps(_mm256_fmadd_ps(magnitudes, scale, offset), last);
            // The code changes where this is a whole number.
            let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(exact);
            let doubt = _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(exact, whole));
            let code = _mm256_cvttps_epi32(exact);
            let some = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(magnitudes, self.zero));
            (_mm256_and_si256(_mm256_max_epi32(code, _mm256_set1_epi32(1)), some), doubt)
        }
    }
}
