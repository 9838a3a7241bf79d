//! The static tree: a sign, three bits of decimal exponent, and four as a path through a bisection of (0.1, 1).
//!
//! # Bits
//!
//! ```text
//! 7     6 5 4  3 .. 0
//! sign  E      i
//! ```
//!
//! The path `i` halves (0.1, 1) four times, the larger half for a 1, and stands for the middle of what is left. The magnitude
//! is (0.1 + 0.9 (i + 1/2) / 16) x 10^(E - 7). Code 0 is 0 and not the smallest of these. Magnitudes ascend with their codes.
//!
//! # Code table
//!
//! | E | magnitudes | from | to | step |
//! |---|---|---|---|---|
//! | 0 | 0 and i = 1 .. 15 | 1.84375e-8 | 9.71875e-8 | 5.625e-9 |
//! | E | i = 0 .. 15 | 0.128125 x 10^(E - 7) | 0.971875 x 10^(E - 7) | 0.05625 x 10^(E - 7) |
//! | 7 | i = 0 .. 15 | 0.128125 | 0.971875 | 0.05625 |
//!
//! # Worked values
//!
//! - 0.2345678: of the 16 parts of (0.1, 1) number 2: E = 7, `0 111 0010` = 0x72, which is 0.240625.
//! - -0.0000234: 0.234 x 10^-4: E = 3, `1 011 0010` = 0xb2, which is -0.0000240625.
//!
//! # Reading of the paper
//!
//! Section 3.1 describes the tree with the exponent of the mantissa type. A tree over (0.1, 1) has no 0, which sums of gradients need: a weight that
//! gets no gradient must not move. The author's published kernels give 0 a code in every type, so the smallest magnitude makes room for it.
//! The paper's errors are 4.82, 6.3, 6.28 and 6.58 %; here they are 3.4, 5.0, 5.0 and 5.4 %. With the kernel's search (see
//! [`mantissa`](super::mantissa)) they would be 5.1, 7.0, 7.0 and 7.8 %, so the paper's own tree differs from its text in
//! some way that neither tells.

use super::{CodeTable, Run};

/// The name of the type.
pub const NAME: &str = "static-tree";

/// What its codes stand for.
pub fn table() -> CodeTable {
    let runs = (0..8u8).map(|exponent| {
        let least = if exponent == 0 { 1 } else { 0 };
        let first = exponent << 4 | least;
        Run {
            first,
            count: 16 - least,
            start: magnitude(first),
            step: 0.9 / 16.0 / 10f64.powi(7 - i32::from(exponent)),
        }
    });
    CodeTable::new(NAME, magnitude, runs.collect())
}

fn magnitude(code: u8) -> f64 {
    if code == 0 {
        return 0.0;
    }
    (0.1 + 0.9 * (f64::from(code & 15) + 0.5) / 16.0) / 10f64.powi(7 - i32::from(code >> 4))
}

#[cfg(test)]
mod tests {
    #[test]
    fn worked_values() {
        let table = super::table();
        for (value, code, decoded) in [
            (0.2345678, 0x72, 0.240625),
            (-0.0000234, 0xb2, -0.0000240625),
            (9e-9, 0, 0.0),
            (9.5e-9, 1, 1.84375e-8),
            (1.0, 0x7f, 0.971875),
            (-4.0, 0xff, -0.971875),
        ] {
            assert_eq!((table.encode(value), table.decode(code)), (code, decoded), "{value}");
        }
    }
}
