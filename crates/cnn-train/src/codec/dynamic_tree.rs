//! The dynamic tree: a sign, a decimal exponent in unary, and what is left of seven bits as a path through a bisection of
//! (0.1, 1). The best of the four eight-bit types for numbers whose size is not known beforehand.
//!
//! # Bits
//!
//! ```text
//! 7     6 ..
//! sign  n zeros, a one, 6 - n bits of path
//! ```
//!
//! The zeros are the exponent, 10^-n. The path `i` of `k = 6 - n` bits halves (0.1, 1) `k` times, the larger half for a
//! 1, and stands for the middle of what is left: 0.1 + 0.9 (i + 1/2) / 2^k. Seven zeros and no one are 0. Magnitudes
//! ascend with their codes.
//!
//! # Code table
//!
//! | codes | n | magnitudes | from | to | step |
//! |---|---|---|---|---|---|
//! | `0000000` | | 1 | 0 | 0 | |
//! | `0000001` | 6 | 1 | 5.5e-7 | 5.5e-7 | |
//! | `000001x` | 5 | 2 | 3.25e-6 | 7.75e-6 | 4.5e-6 |
//! | `00001xx` | 4 | 4 | 2.125e-5 | 8.875e-5 | 2.25e-5 |
//! | `0001xxx` | 3 | 8 | 1.5625e-4 | 9.4375e-4 | 1.125e-4 |
//! | `001xxxx` | 2 | 16 | 1.28125e-3 | 9.71875e-3 | 5.625e-4 |
//! | `01xxxxx` | 1 | 32 | 1.140625e-2 | 9.859375e-2 | 2.8125e-3 |
//! | `1xxxxxx` | 0 | 64 | 1.0703125e-1 | 9.9296875e-1 | 1.40625e-2 |
//!
//! # Worked values
//!
//! - 0.2345678: no zero, the one, and of the 64 parts of (0.1, 1) number 9, as (0.2345678 - 0.1) / 0.9 x 64 = 9.57:
//!   `0 1 001001` = 0x49 = 73, which is 0.1 + 0.9 x 9.5 / 64 = 0.23359375.
//! - -0.0000234: four zeros, the one, and of four parts number 0: `1 00001 00` = 0x84, which is
//!   -10^-4 x (0.1 + 0.9 x 0.5 / 4) = -0.00002125.
//!
//! The paper's own examples, 0.236719 and 0.000019 for these two, are middles of parts of (0.1, 0.8) and no magnitudes of the
//! tree over (0.1, 1) that it describes; the description is what is followed.
//!
//! Dettmers, "8-bit approximations for parallelism in deep learning" (2016), section 3.1.

use super::{CodeTable, Run};

/// The name of the type.
pub const NAME: &str = "dynamic-tree";

/// What its codes stand for.
pub fn table() -> CodeTable {
    let runs = (0..7).rev().map(|zeros| {
        let parts = 1 << (6 - zeros);
        Run { first: parts, count: parts, start: magnitude(parts), step: 0.9 / f64::from(parts) / 10f64.powi(zeros) }
    });
    CodeTable::new(NAME, magnitude, runs.collect())
}

fn magnitude(code: u8) -> f64 {
    if code == 0 {
        return 0.0;
    }
    let zeros = code.leading_zeros() - 1;
    let parts = 1 << (6 - zeros);
    let path = code - parts;
    (0.1 + 0.9 * (f64::from(path) + 0.5) / f64::from(parts)) / 10f64.powi(zeros as i32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn worked_values() {
        let table = super::table();
        for (value, code, decoded) in [
            (0.2345678, 0x49, 0.23359375),
            (-0.0000234, 0x84, -0.00002125),
            (0.0, 0, 0.0),
            (2.7e-7, 0, 0.0),
            (2.8e-7, 1, 5.5e-7),
            (1.0, 127, 0.99296875),
            (-7.0, 255, -0.99296875),
        ] {
            assert_eq!((table.encode(value), table.decode(code)), (code, decoded), "{value}");
        }
    }
}
