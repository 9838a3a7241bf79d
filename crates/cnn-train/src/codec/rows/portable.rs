//! Codes by a table that is looked up by a number's exponent and the first seven bits of its mantissa, and one comparison:
//! no such bucket has more than one threshold in it, as magnitudes lie at least 1/128 apart.

use super::super::code_table::SIGN;
use super::super::{CodeTable, Onto};

/// Bits of a float that do not tell its bucket.
const BELOW: u32 = 16;

/// The buckets of one type.
#[derive(Debug, Clone)]
pub(in super::super) struct Portable {
    /// The number of the first bucket that has a threshold.
    first: u32,
    /// The threshold of each bucket from there to the last that has one; the end of the bucket where it has none.
    thresholds: Vec<f32>,
    /// The codes up to it and above it.
    codes: Vec<[u8; 2]>,
}

impl Portable {
    pub(super) fn new(table: &CodeTable) -> Self {
        let bucket = |threshold: f32| threshold.to_bits() >> BELOW;
        let mut buckets = Portable { first: 0, thresholds: Vec::new(), codes: Vec::new() };
        for (&threshold, pair) in table.thresholds().iter().zip(table.codes().windows(2)) {
            if buckets.codes.is_empty() {
                buckets.first = bucket(threshold);
            }
            // Those since the last threshold have none.
            for number in buckets.first + buckets.codes.len() as u32..bucket(threshold) {
                buckets.thresholds.push(f32::from_bits((number << BELOW) | 0xffff));
                buckets.codes.push([pair[0]; 2]);
            }
            buckets.thresholds.push(threshold);
            buckets.codes.push([pair[0], pair[1]]);
        }
        buckets
    }

    /// The code of a number that is divided by its scale and no NaN.
    fn code(&self, value: f32) -> u8 {
        let magnitude = value.abs();
        let last = self.codes.len() - 1;
        let bucket = ((magnitude.to_bits() >> BELOW).saturating_sub(self.first) as usize).min(last);
        let above = usize::from(magnitude > self.thresholds[bucket]);
        self.codes[bucket][above] | (value.to_bits() >> 24) as u8 & SIGN
    }

    pub(super) fn encode(&self, values: &[f32], reciprocal: f32, codes: &mut [u8]) {
        for (&value, code) in values.iter().zip(codes) {
            *code = self.code(value * reciprocal);
        }
    }
}

/// The bits of the largest magnitude.
pub(super) fn largest_magnitude(values: &[f32]) -> u32 {
    values.iter().fold(0, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff))
}

/// What codes stand for, by the table that is already multiplied by the scale.
pub(super) fn decode(scaled: &[f32; 256], codes: &[u8], values: &mut [f32], onto: Onto) {
    let pairs = values.iter_mut().zip(codes);
    match onto {
        Onto::Replace => pairs.for_each(|(value, &code)| *value = scaled[usize::from(code)]),
        Onto::Add => pairs.for_each(|(value, &code)| *value += scaled[usize::from(code)]),
        Onto::Subtract => pairs.for_each(|(value, &code)| *value -= scaled[usize::from(code)]),
    }
}
