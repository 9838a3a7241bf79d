//! Gradients and activations as fewer bytes, to be sent between workers.
//!
//! | name | bytes a number | what it is |
//! |---|---|---|
//! | `dynamic-tree` | 1 | [`dynamic_tree`]: exponent in unary, the rest of seven bits a bisection |
//! | `linear` | 1 | [`linear`]: equal steps |
//! | `mantissa` | 1 | [`mantissa`]: three bits of exponent, four of mantissa |
//! | `static-tree` | 1 | [`static_tree`]: three bits of exponent, four of bisection |
//! | `one-bit` | 1/8 | [`one_bit`]: signs, to be used with error feedback |
//! | `fp16` | 2 | [`half_precision`] |
//! | `none` | 4 | [`uncompressed`] |
//!
//! The first four are the types of Dettmers, "8-bit approximations for parallelism in deep learning" (2016), section 3.1,
//! with a [`Scaling`]. [`find`] has them all by name. Each module has its layout, its table of codes and worked values.
//!
//! What comes out depends on the numbers alone, never on the number of threads or on the processor.
//!
//! ```
//! use cnn_train::codec;
//!
//! let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
//! let codec = codec::find("dynamic-tree")?;
//! let gradients = [0.5, -0.0117, 0.0, 1e-5];
//! let mut message = Vec::new();
//! codec.encode(&pool, &gradients, &mut message)?;
//! assert_eq!(message.len(), codec.encoded_bytes(4));
//!
//! let mut sum = [1.0; 4];
//! codec.decode_add(&pool, &message, &mut sum)?;
//! assert!(sum.iter().zip(gradients).all(|(sum, gradient)| (sum - 1.0 - gradient).abs() < 0.005));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code_table;
pub mod dynamic_tree;
mod eight_bit;
pub mod half_precision;
mod layout;
pub mod linear;
pub mod mantissa;
pub mod one_bit;
mod rows;
mod scaling;
pub mod static_tree;
pub mod uncompressed;

use std::fmt::Debug;
use std::sync::Arc;

pub use code_table::{CodeTable, Run};
pub use eight_bit::EightBit;
use rayon::ThreadPool;
pub use scaling::{BLOCK, Scaling};

use crate::{Error, Result};

/// What is done with numbers that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// They replace what is there.
    Replace,
    /// They are added to what is there.
    Add,
    /// They are subtracted from what is there.
    Subtract,
}

impl Onto {
    /// Puts a number that was decoded.
    #[inline]
    pub fn put(self, to: &mut f32, value: f32) {
        match self {
            Onto::Replace => *to = value,
            Onto::Add => *to += value,
            Onto::Subtract => *to -= value,
        }
    }
}

/// A way of writing numbers as bytes. Work on more than some ten thousand numbers is shared among the threads of `pool`.
pub trait Codec: Debug + Send + Sync {
    /// The name, as in [`NAMES`].
    fn name(&self) -> &str;

    /// Bytes of `count` numbers, whatever they are; `usize::MAX` where those are more than memory can hold.
    fn encoded_bytes(&self, count: usize) -> usize;

    /// Encodes into [`encoded_bytes`](Self::encoded_bytes) bytes. Errors where `bytes` has another length.
    fn encode_into(&self, pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()>;

    /// Decodes `values.len()` numbers. Errors where `bytes` has not [`encoded_bytes`](Self::encoded_bytes) bytes, and then leaves
    /// `values` alone; any bytes of that length are numbers.
    fn decode_onto(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()>;

    /// Encodes into a buffer, which gets the right length and is to be used again.
    fn encode(&self, pool: &ThreadPool, values: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(self.encoded_bytes(values.len()), 0);
        self.encode_into(pool, values, bytes)
    }

    /// Decodes into `values`, as [`decode_onto`](Self::decode_onto).
    fn decode(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32]) -> Result<()> {
        self.decode_onto(pool, bytes, values, Onto::Replace)
    }

    /// Adds what is decoded to `values`, as [`decode_onto`](Self::decode_onto).
    fn decode_add(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32]) -> Result<()> {
        self.decode_onto(pool, bytes, values, Onto::Add)
    }

    /// Encodes `values` plus `residual`, what earlier calls lost, and leaves in `residual` what this one loses. Of a number
    /// that comes back as NaN or infinite nothing is kept, so one such step does not spoil all that follow. Errors where the
    /// lengths differ.
    fn encode_with_feedback(
        &self,
        pool: &ThreadPool,
        values: &[f32],
        residual: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        if values.len() != residual.len() {
            return Err(Error::Setting(format!("{} numbers and a residual of {}", values.len(), residual.len())));
        }
        layout::pairs(pool, residual, values, |residual, values| {
            residual.iter_mut().zip(values).for_each(|(residual, value)| *residual += value);
        });
        self.encode(pool, residual, bytes)?;
        self.decode_onto(pool, bytes, residual, Onto::Subtract)?;
        layout::pairs(pool, residual, values, |residual, _| {
            residual.iter_mut().filter(|residual| !residual.is_finite()).for_each(|residual| *residual = 0.0);
        });
        Ok(())
    }
}

/// The names that [`find`] knows.
pub const NAMES: [&str; 7] = [
    dynamic_tree::NAME,
    linear::NAME,
    mantissa::NAME,
    static_tree::NAME,
    one_bit::NAME,
    half_precision::NAME,
    uncompressed::NAME,
];

/// The codec of this name. The dynamic tree and linear quantisation divide by the largest magnitude of a tensor, the mantissa
/// has the exponent offset 0, the static tree 1: with these their largest magnitudes are 15 and 9.7. Errors where there is none of this name.
pub fn find(name: &str) -> Result<Arc<dyn Codec>> {
    Ok(match name {
        one_bit::NAME => Arc::new(one_bit::OneBit),
        half_precision::NAME => Arc::new(half_precision::HalfPrecision),
        uncompressed::NAME => Arc::new(uncompressed::Uncompressed),
        mantissa::NAME => return find_scaled(name, Scaling::Offset(0)),
        static_tree::NAME => return find_scaled(name, Scaling::Offset(1)),
        _ => return find_scaled(name, Scaling::Tensor),
    })
}

/// The eight-bit type of this name, with any scaling. Errors where there is none of this name, or an offset is out of range.
pub fn find_scaled(name: &str, scaling: Scaling) -> Result<Arc<dyn Codec>> {
    match table(name) {
        Some(table) => Ok(Arc::new(EightBit::new(table, scaling)?)),
        None if NAMES.contains(&name) => {
            Err(Error::Setting(format!("{name} has no scaling; the eight-bit types have")))
        }
        None => Err(Error::Setting(format!("there is no codec {name:?}; there are {}", NAMES.join(", ")))),
    }
}

/// What the codes of an eight-bit type stand for.
pub fn table(name: &str) -> Option<CodeTable> {
    match name {
        dynamic_tree::NAME => Some(dynamic_tree::table()),
        linear::NAME => Some(linear::table()),
        mantissa::NAME => Some(mantissa::table()),
        static_tree::NAME => Some(static_tree::table()),
        _ => None,
    }
}
