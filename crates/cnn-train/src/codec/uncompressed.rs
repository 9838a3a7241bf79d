//! Numbers as they are: what the others are compared with.
//!
//! # Bytes
//!
//! Four for each number, an `f32` with the lowest byte first: 1 is 00 00 80 3f. Every bit stays, those of NaN too.

use rayon::ThreadPool;

use super::layout::{self, Layout};
use super::{BLOCK, Codec, Onto};
use crate::Result;

/// The name of the codec.
pub const NAME: &str = "none";

const LAYOUT: Layout = Layout { block: BLOCK, head: 0, bits: 32 };

/// Numbers as they are.
#[derive(Debug, Clone, Copy)]
pub struct Uncompressed;

impl Codec for Uncompressed {
    fn name(&self) -> &str {
        NAME
    }

    fn encoded_bytes(&self, count: usize) -> usize {
        LAYOUT.bytes(count)
    }

    fn encode_into(&self, pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.encode(pool, values, bytes, |values, _, bytes| {
            for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        });
        Ok(())
    }

    fn decode_onto(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.decode(pool, bytes, values, |_, bytes, values| {
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
                onto.put(value, f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            }
        });
        Ok(())
    }
}
