//! Mantissa: a sign, three bits of decimal exponent and four of mantissa. The plainest of the eight-bit types, with the largest error.
//!
//! # Bits
//!
//! ```text
//! 7     6 5 4  3 .. 0
//! sign  E      m
//! ```
//!
//! The magnitude is m x 10^(E - 7), with m from 0 to 15. Numbers have no leading digit that is implied, so several codes can have the same magnitude:
//! 10 x 10^(E - 7) = 1 x 10^(E - 6), and 0 has eight codes. Numbers get the smallest of such codes; decoders take all. That leaves 114 magnitudes.
//!
//! # Code table
//!
//! | E | magnitudes that numbers get | from | to | step |
//! |---|---|---|---|---|
//! | 0 | m = 0 .. 15 | 0 | 1.5e-6 | 1e-7 |
//! | 1 | m = 2 .. 15 | 2e-6 | 1.5e-5 | 1e-6 |
//! | E | m = 2 .. 15 | 2 x 10^(E - 7) | 15 x 10^(E - 7) | 10^(E - 7) |
//! | 7 | m = 2 .. 15 | 2 | 15 | 1 |
//!
//! # Worked values
//!
//! - 0.2345678: 2 x 10^-1: E = 6, m = 2, `0 110 0010` = 0x62, which is 0.2.
//! - -0.0000234: 2 x 10^-5: E = 2, m = 2, `1 010 0010` = 0xa2, which is -0.00002.
//! - 0.1: 10 x 10^-2 and not 1 x 10^-1: `0 101 1010` = 0x5a.
//!
//! # Reading of the paper
//!
//! Section 3.1 gives the width of the exponent and the range of the mantissa. That magnitudes are m x 10^-e
//! shows in its Table 1: with that, and with a search of the sorted table that leaves the last comparison out in every second interval, as the
//! author's published kernel does, the relative errors are 7.2, 6.9, 7.2 and 8.3 %, the paper's row. The nearest magnitude, which is what numbers
//! get here, gives 5.0, 5.0, 5.0 and 6.0 %.

use super::{CodeTable, Run};

/// The name of the type.
pub const NAME: &str = "mantissa";

/// What its codes stand for.
pub fn table() -> CodeTable {
    let runs = (0..8u8).map(|exponent| {
        let least = if exponent == 0 { 0 } else { 2 };
        let first = exponent << 4 | least;
        Run { first, count: 16 - least, start: magnitude(first), step: magnitude(exponent << 4 | 1) }
    });
    CodeTable::new(NAME, magnitude, runs.collect())
}

fn magnitude(code: u8) -> f64 {
    // Divided, not multiplied by a power that is rounded: equal numbers come out equal.
    f64::from(code & 15) / 10f64.powi(7 - i32::from(code >> 4))
}

#[cfg(test)]
mod tests {
    #[test]
    fn worked_values() {
        let table = super::table();
        for (value, code, decoded) in [
            (0.2345678, 0x62, 0.2),
            (-0.0000234, 0xa2, -0.00002),
            (0.1, 0x5a, 0.1),
            (4e-8, 0, 0.0),
            (6e-8, 1, 1e-7),
            (17.0, 0x7f, 15.0),
            (-1e9, 0xff, -15.0),
        ] {
            assert_eq!((table.encode(value), table.decode(code)), (code, decoded), "{value}");
        }
        assert_eq!(table.codes().len(), 114);
    }
}
