//! What the rows for x86-64 compute with: which run of evenly spaced magnitudes a number lies in, by its exponent and a comparison;
//! the code, by that run's scale and offset, with 16 bits behind the point.
//!
//! The products are rounded, so a number within [`DOUBT`] of half-way between two magnitudes could get the wrong one. Groups with such a
//! number go through the portable row: one group of 32 in 250 where numbers are spread evenly.

use super::super::{BLOCK, CodeTable};
use super::portable::Portable;

/// At most as many runs of a type, the floats of a register of AVX2.
pub(super) const RUNS: usize = 8;

/// Pairs of doublings that magnitudes are told apart by: more than those from the least to the largest of a type, each with at most
/// one end of a run.
pub(super) const OCTAVES: usize = 16;

/// Bits of a positive float behind those that tell its pair of doublings.
pub(super) const OCTAVE: u32 = 24;

/// A step between codes, which have 16 bits behind the point.
const ONE: f64 = 65536.0;

/// More than what rounding can shift a code by, in parts of [`ONE`]. A code is at most 128; scale, offset, their product and sum,
/// the magnitudes themselves, and the whole number that is made of them, are rounded by at most 2^-24 of that each, 3 altogether.
pub(super) const DOUBT: i16 = 4;

/// How far ahead of the encoder numbers are fetched: those of the next block, which a search for the largest magnitude reads first,
/// and would wait for.
pub(super) const AHEAD: usize = BLOCK;

/// Floats of a line of a cache.
pub(super) const LINE: usize = 16;

/// The constants of one type.
#[derive(Debug, Clone)]
pub(super) struct Arithmetic {
    /// For numbers that are in doubt.
    pub(super) portable: Portable,
    /// Whether there is more than one run.
    pub(super) several: bool,
    /// Numbers above the `i`th are in run `i + 1` or later.
    pub(super) ends: [f32; RUNS],
    /// The run that a pair of doublings begins in, by the last bits of its exponent.
    pub(super) begins: [u8; OCTAVES],
    /// What gets code 0 up to here.
    pub(super) zero: f32,
    /// The least magnitude but 0, and the largest.
    pub(super) range: [f32; 2],
    /// The code in parts of `ONE`: a number times `scale` plus `offset`, and at most `last`, that of the run's last magnitude.
    pub(super) scale: [f32; RUNS],
    pub(super) offset: [f32; RUNS],
    pub(super) last: [f32; RUNS],
}

impl Arithmetic {
    pub(super) fn new(table: &CodeTable, portable: &Portable) -> Self {
        let runs = table.runs();
        let threshold_before = |code: u8| {
            let rank = table.codes().iter().position(|&other| other == code).unwrap_or(0);
            table.thresholds()[rank.saturating_sub(1)]
        };
        let of = |i: usize| runs[i.min(runs.len() - 1)];
        let fixed = |code: f64| (ONE * code) as f32;
        let ends = std::array::from_fn(|i| runs.get(i + 1).map_or(f32::INFINITY, |run| threshold_before(run.first)));
        let range = [1, table.codes().len() - 1].map(|rank| table.decode(table.codes()[rank]));
        Arithmetic {
            portable: portable.clone(),
            several: runs.len() > 1,
            ends,
            begins: begins(&ends, range),
            zero: table.thresholds()[0],
            range,
            scale: std::array::from_fn(|i| fixed(1.0 / of(i).step)),
            offset: std::array::from_fn(|i| fixed(f64::from(of(i).first) - of(i).start / of(i).step)),
            last: std::array::from_fn(|i| fixed(f64::from(of(i).first) + f64::from(of(i).count) - 1.0)),
        }
    }
}

/// The run that each pair of doublings begins in.
fn begins(ends: &[f32; RUNS], [least, largest]: [f32; 2]) -> [u8; OCTAVES] {
    let mut begins = [0; OCTAVES];
    for octave in octave(least)..=octave(largest) {
        let begin = f32::from_bits(octave << OCTAVE);
        begins[octave as usize % OCTAVES] = ends.iter().filter(|&&end| end < begin).count() as u8;
    }
    begins
}

/// The pair of doublings that a positive number lies in.
fn octave(magnitude: f32) -> u32 {
    magnitude.to_bits() >> OCTAVE
}

#[cfg(test)]
mod tests {
    use super::super::super::{NAMES, table};
    use super::*;

    #[test]
    fn octaves_have_room_for_every_type() {
        for table in NAMES.iter().filter_map(|name| table(name)) {
            let arithmetic = Arithmetic::new(&table, &Portable::new(&table));
            let [least, largest] = arithmetic.range.map(octave);
            assert!(((largest - least) as usize) < OCTAVES, "{}", table.name());
            let ends: Vec<u32> = arithmetic.ends[..table.runs().len() - 1].iter().map(|&end| octave(end)).collect();
            assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{}: {ends:?}", table.name());
        }
    }
}
