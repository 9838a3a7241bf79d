//! What the eight-bit types have in common: 128 magnitudes, the reference encoder and decoder over their sorted table,
//! and the runs of evenly spaced magnitudes that the fast rows compute with.

/// Magnitudes of the codes with the sign bit clear.
pub(super) const MAGNITUDES: usize = 128;

/// The sign bit of a code.
pub(super) const SIGN: u8 = 0x80;

/// The codes `first..first + count`, whose magnitudes are `start`, `start + step`, `start + 2 step` ..
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The first code.
    pub first: u8,
    /// How many codes.
    pub count: u8,
    /// The first magnitude.
    pub start: f64,
    /// From each magnitude to the next.
    pub step: f64,
}

/// An eight-bit type: what each code stands for, and which code a number gets.
///
/// A code is a sign bit and seven bits of magnitude, so `-0` is a number of its own. The code of a number that is divided by
/// its scale is the one with the nearest magnitude; half-way between two, the smaller magnitude; among codes of one
/// magnitude, the smallest code.
#[derive(Debug, Clone)]
pub struct CodeTable {
    name: &'static str,
    values: [f32; 2 * MAGNITUDES],
    /// The code of each distinct magnitude, ascending.
    codes: Vec<u8>,
    /// Between each magnitude and the next: the largest number that still gets the lower one.
    thresholds: Vec<f32>,
    runs: Vec<Run>,
}

impl CodeTable {
    /// Of a type in which code `c` below 128 has the magnitude `magnitude(c)`. `runs` ascend and leave out no magnitude but 0.
    pub(super) fn new(name: &'static str, magnitude: impl Fn(u8) -> f64, runs: Vec<Run>) -> Self {
        let positive: [f32; MAGNITUDES] = std::array::from_fn(|code| magnitude(code as u8) as f32);
        let values = std::array::from_fn(|code| match code < MAGNITUDES {
            true => positive[code],
            false => -positive[code - MAGNITUDES],
        });
        let mut codes: Vec<u8> = (0..MAGNITUDES as u8).collect();
        // Stable, so that among equal magnitudes the smallest code stays first.
        codes.sort_by(|&a, &b| positive[usize::from(a)].total_cmp(&positive[usize::from(b)]));
        codes.dedup_by_key(|code| positive[usize::from(*code)].to_bits());
        let thresholds = codes.windows(2).map(|pair| {
            // Exact in f64: the sum of two f32 of neighbouring decades.
            let middle = (f64::from(positive[usize::from(pair[0])]) + f64::from(positive[usize::from(pair[1])])) / 2.0;
            largest_not_above(middle)
        });
        let thresholds = thresholds.collect();
        CodeTable { name, values, codes, thresholds, runs }
    }

    /// The type's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What each of the 256 codes stands for, before it is multiplied by the scale.
    pub fn values(&self) -> &[f32; 2 * MAGNITUDES] {
        &self.values
    }

    /// The codes below 128 that numbers can get, by ascending magnitude.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// Between each of [`codes`](Self::codes) and the next, the largest `f32` that still gets the lower one.
    pub fn thresholds(&self) -> &[f32] {
        &self.thresholds
    }

    /// Evenly spaced magnitudes, the smallest first: at most eight runs, which have all magnitudes that numbers can get, but for 0 where
    /// that has a code of its own.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The code of a number that is already divided by its scale, by binary search: the definition. NaN has none; it gets
    /// that of 0, and is kept out by [`EightBit`](super::EightBit).
    pub fn encode(&self, value: f32) -> u8 {
        let magnitude = value.abs();
        let rank = self.thresholds.partition_point(|&threshold| magnitude > threshold);
        self.codes[rank] | if value.is_sign_negative() { SIGN } else { 0 }
    }

    /// What a code stands for, before it is multiplied by the scale.
    pub fn decode(&self, code: u8) -> f32 {
        self.values[usize::from(code)]
    }
}

/// The largest `f32` at or below a positive number in the range of `f32`.
fn largest_not_above(value: f64) -> f32 {
    let near = value as f32;
    match f64::from(near) > value {
        true => f32::from_bits(near.to_bits() - 1),
        false => near,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{dynamic_tree, linear, mantissa, static_tree};
    use super::*;

    fn tables() -> [CodeTable; 4] {
        [dynamic_tree::table(), linear::table(), mantissa::table(), static_tree::table()]
    }

    #[test]
    fn the_reference_takes_the_nearest_magnitude() {
        for table in tables() {
            let positive = &table.values()[..MAGNITUDES];
            let mut probes = vec![0.0, f32::MIN_POSITIVE / 4.0, f32::MIN_POSITIVE, 1e-9, 3e-7, 0.3, 1.0, 1e3];
            probes.extend((1..4000).map(|i| i as f32 * 2.6e-4));
            for &threshold in table.thresholds() {
                probes.extend([-1i32, 0, 1].map(|by| f32::from_bits(threshold.to_bits().wrapping_add_signed(by))));
            }
            for probe in probes {
                let distance = |code: u8| (f64::from(positive[usize::from(code)]) - f64::from(probe)).abs();
                // Of equal distances the smaller magnitude, of equal magnitudes the smaller code.
                let best = (0..MAGNITUDES as u8).min_by(|&a, &b| {
                    let magnitudes = positive[usize::from(a)].total_cmp(&positive[usize::from(b)]);
                    distance(a).total_cmp(&distance(b)).then(magnitudes).then(a.cmp(&b))
                });
                assert_eq!(Some(table.encode(probe)), best, "{} {probe:e}", table.name());
                assert_eq!(Some(table.encode(-probe) ^ SIGN), best, "{} -{probe:e}", table.name());
            }
        }
    }

    #[test]
    fn every_magnitude_comes_back() {
        for table in tables() {
            for code in 0..=255u8 {
                let value = table.decode(code);
                assert_eq!(table.decode(table.encode(value)).to_bits(), value.to_bits(), "{} {code}", table.name());
            }
            assert!(table.thresholds().windows(2).all(|pair| pair[0] < pair[1]), "{}", table.name());
            assert_eq!(table.decode(0), 0.0, "{}", table.name());
        }
    }

    #[test]
    fn runs_are_what_the_codes_stand_for() {
        for table in tables() {
            let mut codes = Vec::new();
            for run in table.runs() {
                for i in 0..run.count {
                    let (code, value) = (run.first + i, run.start + f64::from(i) * run.step);
                    assert!((f64::from(table.decode(code)) - value).abs() <= 1e-7 * value, "{} {code}", table.name());
                    codes.push(code);
                }
            }
            let with_zero = [&[0][..], &codes].concat();
            assert!(table.codes() == codes || table.codes() == with_zero, "{}", table.name());
        }
    }
}
