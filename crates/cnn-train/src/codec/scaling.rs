//! What numbers are divided by before they get an eight-bit code.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// Numbers of a block that has a scale of its own.
pub const BLOCK: usize = 2048;

/// What numbers are divided by before they get an eight-bit code, and are multiplied by afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// The largest magnitude of all of them.
    Tensor,
    /// The largest magnitude of every [`BLOCK`] numbers.
    Block,
    /// A power of ten, the exponent offset, from -30 to 30. What is larger than the type's largest magnitude times that, becomes that.
    Offset(i8),
}

/// The bits of infinity. Magnitudes with these or more are not finite.
const INFINITY: u32 = 0x7f80_0000;

impl Scaling {
    /// The scale of numbers by the bits of their largest magnitude: NaN where they are not all finite, 0 where they are to become 0.
    pub fn scale(self, largest: u32) -> f32 {
        match (self, f32::from_bits(largest)) {
            _ if largest >= INFINITY => f32::NAN,
            (Scaling::Offset(offset), _) => 10f64.powi(offset.into()) as f32,
            (_, magnitude) if magnitude < f32::MIN_POSITIVE => 0.0,
            (_, magnitude) => magnitude,
        }
    }

    /// What numbers are multiplied by; with a scale that is none, all become 0.
    pub fn reciprocal(scale: f32) -> f32 {
        if scale > 0.0 { 1.0 / scale } else { 0.0 }
    }

    /// An error where an offset is out of range.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Scaling::Offset(offset) if !(-30..=30).contains(&offset) => {
                Err(Error::Setting(format!("the exponent offset is {offset}, and has to be from -30 to 30")))
            }
            _ => Ok(()),
        }
    }
}

/// As it is written on a command line: `tensor`, `block`, or the offset, such as `1`.
impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scaling::Tensor => f.write_str("tensor"),
            Scaling::Block => f.write_str("block"),
            Scaling::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

impl FromStr for Scaling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let scaling = match text {
            "tensor" => Scaling::Tensor,
            "block" => Scaling::Block,
            _ => Scaling::Offset(text.parse().map_err(|_| {
                Error::Setting(format!("{text:?} is no scaling; there are tensor, block, and offsets such as 1"))
            })?),
        };
        scaling.check()?;
        Ok(scaling)
    }
}
