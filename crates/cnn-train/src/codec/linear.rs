//! Linear quantisation: a sign and seven bits in equal steps. The best of the four eight-bit types where large numbers matter
//! most; small ones become 0.
//!
//! # Bits
//!
//! ```text
//! 7     6 .. 0
//! sign  i
//! ```
//!
//! Code `i` has the magnitude i / 127, so 0 and the largest number are exact.
//!
//! # Code table
//!
//! | code | magnitude |
//! |---|---|
//! | 0 | 0 |
//! | 1 | 0.00787402 |
//! | 2 | 0.01574803 |
//! | 64 | 0.50393701 |
//! | 127 | 1 |
//!
//! # Worked values
//!
//! - 0.2345678 x 127 = 29.79: code 30 = 0x1e, which is 0.23622048.
//! - -0.0000234 x 127 = -0.003: code 0x80, which is -0.
//!
//! The paper calls its dynamic tree with all seven bits of path "equivalent to linear quantization" over (0, 1). That taken
//! literally, magnitudes would be the middles (i + 1/2) / 128 and none of them 0; a gradient has many numbers near 0, with which the relative
//! error would be 25 % on N(0, 1), not the 6.5 % of the paper's table. So the steps are those of Vanhoecke et al.
//! (2011), whom the paper quotes.

use super::{CodeTable, Run};

/// The name of the type.
pub const NAME: &str = "linear";

/// What its codes stand for.
pub fn table() -> CodeTable {
    let runs = vec![Run { first: 0, count: 128, start: 0.0, step: 1.0 / 127.0 }];
    CodeTable::new(NAME, |code| f64::from(code) / 127.0, runs)
}

#[cfg(test)]
mod tests {
    #[test]
    fn worked_values() {
        let table = super::table();
        for (value, code, decoded) in [
            (0.2345678, 0x1e, 30.0 / 127.0),
            (-0.0000234, 0x80, -0.0),
            (0.0039, 0, 0.0),
            (0.004, 1, 1.0 / 127.0),
            (1.0, 127, 1.0),
            (-2.0, 255, -1.0),
        ] {
            assert_eq!((table.encode(value), table.decode(code)), (code, decoded), "{value}");
        }
    }
}
