//! One bit for each number: its sign, and for each block the mean of what was at least 0 and of what was less.
//!
//! It is of use only with [`Codec::encode_with_feedback`], which adds what was lost to what is sent next; without, training does not
//! converge.
//!
//! # Bytes
//!
//! For each block of 2,048 numbers (the last may be shorter) two `f32`, the lowest byte first: the mean of its numbers
//! that are not below 0, and of those below, each 0 where there is none. Then a bit for each number, 1 for those below 0, the first number in
//! the lowest bit of the first byte; bits of the last byte that belong to no number are 0, and not looked at.
//!
//! -0 is not below 0. A block with NaN or an infinity has NaN for both means, and NaN is what comes back.
//!
//! # Worked values
//!
//! 1, -2, 3 and 0.5 have the means 1.5 and -2, and the bits 0010: 0x02. They come back as 1.5, -2, 1.5 and 1.5, and leave
//! -0.5, 0, 1.5 and -1 to be sent next time.
//!
//! Seide, Fu, Droppo, Li, Yu, "1-bit stochastic gradient descent and its application to data-parallel distributed training of
//! speech DNNs" (2014), section 3, where the means are those of a matrix's columns; blocks do for any tensor.

use rayon::ThreadPool;

use super::layout::{self, Layout};
use super::{BLOCK, Codec, Onto};
use crate::Result;

/// The name of the codec.
pub const NAME: &str = "one-bit";

const LAYOUT: Layout = Layout { block: BLOCK, head: 2 * size_of::<f32>(), bits: 1 };

/// One bit for each number.
#[derive(Debug, Clone, Copy)]
pub struct OneBit;

impl Codec for OneBit {
    fn name(&self) -> &str {
        NAME
    }

    fn encoded_bytes(&self, count: usize) -> usize {
        LAYOUT.bytes(count)
    }

    fn encode_into(&self, pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.encode(pool, values, bytes, |values, head, bits| {
            let [up, down] = means(values);
            let (first, second) = head.split_at_mut(size_of::<f32>());
            first.copy_from_slice(&up.to_le_bytes());
            second.copy_from_slice(&down.to_le_bytes());
            for (eight, byte) in values.chunks(8).zip(bits) {
                *byte = eight.iter().enumerate().fold(0, |byte, (i, &value)| byte | u8::from(value < 0.0) << i);
            }
        });
        Ok(())
    }

    fn decode_onto(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()> {
        layout::check(NAME, values.len(), self.encoded_bytes(values.len()), bytes.len())?;
        LAYOUT.decode(pool, bytes, values, |head, bits, values| {
            let mean = |i: usize| f32::from_le_bytes(std::array::from_fn(|byte| head[4 * i + byte]));
            let means = [mean(0), mean(1)];
            for (eight, byte) in values.chunks_mut(8).zip(bits) {
                for (i, value) in eight.iter_mut().enumerate() {
                    onto.put(value, means[usize::from(byte >> i & 1)]);
                }
            }
        });
        Ok(())
    }
}

/// The means of what is at least 0, and of what is less. Sums in f64 do not overflow, and lanes make them quick; they depend on the block alone.
fn means(values: &[f32]) -> [f32; 2] {
    const LANES: usize = 8;
    let (mut sums, mut below, mut counts) = ([0.0f64; LANES], [0.0f64; LANES], [0u32; LANES]);
    for eight in values.chunks(LANES) {
        for (i, &value) in eight.iter().enumerate() {
            sums[i] += f64::from(value);
            below[i] += f64::from(value.min(0.0));
            counts[i] += u32::from(value < 0.0);
        }
    }
    let (sum, below): (f64, f64) = (sums.iter().sum(), below.iter().sum());
    let count = counts.iter().sum::<u32>() as usize;
    let mean = |sum: f64, count: usize| (sum / count.max(1) as f64) as f32;
    match sum.is_finite() && below.is_finite() {
        true => [mean(sum - below, values.len() - count), mean(below, count)],
        false => [f32::NAN; 2],
    }
}
