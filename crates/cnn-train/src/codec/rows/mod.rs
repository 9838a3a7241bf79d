//! How eight-bit codes are found fast, and what they stand for. Every row gives the codes of [`CodeTable::encode`](super::CodeTable::encode).

#[cfg(target_arch = "x86_64")]
mod arithmetic;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
#[allow(unsafe_code)]
mod avx512;
mod portable;

use super::{CodeTable, Onto};
use portable::Portable;

/// A way of encoding, with the constants of one type.
#[derive(Debug, Clone)]
pub(super) enum Row {
    /// Sixteen numbers at a time, with AVX-512.
    #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
    Avx512(avx512::Avx512),
    /// Eight numbers at a time, with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// A table that is looked up by the first bits of a number.
    Portable(Portable),
}

impl Row {
    /// All that this processor has, the fastest first.
    pub(super) fn supported(table: &CodeTable) -> Vec<Row> {
        let portable = Portable::new(table);
        let mut rows = Vec::new();
        #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
        rows.extend(avx512::Avx512::detect(table, &portable).map(Row::Avx512));
        #[cfg(target_arch = "x86_64")]
        rows.extend(avx2::Avx2::detect(table, &portable).map(Row::Avx2));
        rows.push(Row::Portable(portable));
        rows
    }

    /// The fastest that this processor has.
    pub(super) fn of(table: &CodeTable) -> Row {
        Self::supported(table).swap_remove(0)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Row::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Row::Avx2(_) => "avx2",
            Row::Portable(_) => "portable",
        }
    }

    /// The bits of the largest magnitude; NaN counts as larger than infinity.
    pub(super) fn largest_magnitude(&self, values: &[f32]) -> u32 {
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Row::Avx512(row) => row.largest_magnitude(values),
            #[cfg(target_arch = "x86_64")]
            Row::Avx2(row) => row.largest_magnitude(values),
            Row::Portable(_) => portable::largest_magnitude(values),
        }
    }

    /// Writes the codes of `values` times `reciprocal`. Both have one length.
    pub(super) fn encode(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Row::Avx512(row) => row.encode(values, reciprocal, codes),
            #[cfg(target_arch = "x86_64")]
            Row::Avx2(row) => row.encode(values, reciprocal, codes),
            Row::Portable(row) => row.encode(values, reciprocal, codes),
        }
    }

    /// Puts what codes stand for, by a table that is multiplied by the scale, onto as many values. Where those go past the caches,
    /// they need not be fetched to be replaced.
    pub(super) fn decode(
        &self,
        scaled: &[f32; 256],
        codes: &[u8],
        (values, onto): (&mut [f32], Onto),
        past_caches: bool,
    ) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = past_caches;
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Row::Avx512(row) if past_caches && onto == Onto::Replace => row.decode_past_caches(scaled, codes, values),
            #[cfg(target_arch = "x86_64")]
            Row::Avx2(row) if past_caches && onto == Onto::Replace => row.decode_past_caches(scaled, codes, values),
            _ => portable::decode(scaled, codes, values, onto),
        }
    }
}
