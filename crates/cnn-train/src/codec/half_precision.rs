//! IEEE half precision: ten bits of mantissa, magnitudes from 6e-8 to 65504.
//!
//! # Bytes
//!
//! Two for each number, the lowest first.
//!
//! Numbers are rounded to the nearest, and to even where two are as near. From 65520 on they become infinite, up to 2^-25
//! 0, between that and 2^-14 subnormal. NaN, infinities and the sign of 0 stay.
//!
//! # Worked values
//!
//! 1 is 0x3c00, bytes 00 3c; 0.2345678 is 0x3382, which is 0.23461914; -0 is 0x8000.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::ThreadPool;

use super::layout::{self, Layout};
use super::{Codec, Onto};
use crate::Result;

/// The name of the codec.
pub const NAME: &str = "fp16";

/// Numbers that are converted at a time.
const BLOCK: usize = 256;

const LAYOUT: Layout = Layout { block: BLOCK, head: 0, bits: 16 };

/// Half precision.
#[derive(Debug, Clone, Copy)]
pub struct HalfPrecision;

impl Codec for HalfPrecision {
    fn name(&self) -> &str {
        NAME
    }

    fn encoded_bytes(&self, count: usize) -> usize {
        LAYOUT.bytes(count)
    }

    fn encode_into(&self, pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.encode(pool, values, bytes, |values, _, bytes| {
            let mut halves = [f16::ZERO; BLOCK];
            halves[..values.len()].convert_from_f32_slice(values);
            for (bytes, half) in bytes.chunks_exact_mut(2).zip(halves) {
                bytes.copy_from_slice(&half.to_le_bytes());
            }
        });
        Ok(())
    }

    fn decode_onto(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.decode(pool, bytes, values, |_, bytes, values| {
            let (mut halves, mut decoded) = ([f16::ZERO; BLOCK], [0.0; BLOCK]);
            for (half, bytes) in halves.iter_mut().zip(bytes.chunks_exact(2)) {
                *half = f16::from_le_bytes([bytes[0], bytes[1]]);
            }
            halves[..values.len()].convert_to_f32_slice(&mut decoded[..values.len()]);
            values.iter_mut().zip(decoded).for_each(|(value, decoded)| onto.put(value, decoded));
        });
        Ok(())
    }
}
