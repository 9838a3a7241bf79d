//! Numbers as eight-bit codes and the scales that they were divided by.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use rayon::ThreadPool;

use super::layout::{self, Layout, PIECE};
use super::rows::Row;
use super::{BLOCK, CodeTable, Codec, Onto, Scaling};
use crate::Result;

/// So many numbers are out of every cache before somebody reads them.
const PAST_CACHES: usize = 1 << 22;

/// Bytes of a scale.
const SCALE: usize = size_of::<f32>();

/// An eight-bit type with a scaling.
///
/// # Bytes
///
/// A scale for each block, `f32`, the lowest byte first; then a code for each number. With [`Scaling::Tensor`] and [`Scaling::Offset`]
/// all numbers are one block. No numbers have no bytes.
///
/// # What becomes of a number
///
/// It is multiplied by the reciprocal of the scale, both rounded to `f32`, and gets the code of the nearest magnitude
/// ([`CodeTable::encode`]). It comes back as the code's magnitude times the scale.
///
/// - NaN and infinities: the scale of their block is NaN, all its codes are those of 0, and NaN is all that comes back. A gradient
///   that went wrong is seen to be wrong, whatever type it is sent in.
/// - 0, and what is nearer to 0 than to the smallest magnitude: 0. The sign stays.
/// - Where the largest magnitude of a block is subnormal, all of it becomes 0; with that the reciprocal is always finite.
/// - With an offset, numbers beyond the largest magnitude: the largest magnitude.
#[derive(Debug, Clone)]
pub struct EightBit {
    table: CodeTable,
    scaling: Scaling,
    row: Row,
}

impl EightBit {
    /// On the fastest row that this processor has. Errors where an offset is out of range.
    pub fn new(table: CodeTable, scaling: Scaling) -> Result<Self> {
        let row = Row::of(&table);
        Self::with_row(table, scaling, row)
    }

    /// On each row that this processor has, with its name: `avx512`, `avx2`, `portable`.
    pub fn rows(table: &CodeTable, scaling: Scaling) -> Result<Vec<(&'static str, Self)>> {
        let rows = Row::supported(table);
        rows.into_iter().map(|row| Ok((row.name(), Self::with_row(table.clone(), scaling, row)?))).collect()
    }

    fn with_row(table: CodeTable, scaling: Scaling, row: Row) -> Result<Self> {
        scaling.check()?;
        Ok(EightBit { table, scaling, row })
    }

    /// What the codes stand for.
    pub fn table(&self) -> &CodeTable {
        &self.table
    }

    /// What numbers are divided by.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// The row that encodes: `avx512`, `avx2` or `portable`.
    pub fn row(&self) -> &'static str {
        self.row.name()
    }

    /// An error unless so many numbers take so many bytes.
    pub fn check(&self, count: usize, bytes: usize) -> Result<()> {
        layout::check(self.name(), count, self.encoded_bytes(count), bytes)
    }

    /// How codes lie, after the one scale where there is one for all.
    fn layout(&self) -> Layout {
        match self.scaling {
            Scaling::Block => Layout { block: BLOCK, head: SCALE, bits: 8 },
            _ => Layout { block: PIECE, head: 0, bits: 8 },
        }
    }

    /// Bytes before those of the layout.
    fn front(&self, count: usize) -> usize {
        if self.scaling == Scaling::Block || count == 0 { 0 } else { SCALE }
    }
}

fn read_scale(bytes: &[u8]) -> f32 {
    let mut scale = [0; SCALE];
    scale.copy_from_slice(bytes);
    f32::from_le_bytes(scale)
}

impl Codec for EightBit {
    fn name(&self) -> &str {
        self.table.name()
    }

    fn encoded_bytes(&self, count: usize) -> usize {
        self.layout().bytes(count).saturating_add(self.front(count))
    }

    fn encode_into(&self, pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()> {
        self.check(values.len(), bytes.len())?;
        let (front, bytes) = bytes.split_at_mut(self.front(values.len()));
        if front.is_empty() {
            self.layout().encode(pool, values, bytes, |values, head, codes| {
                let scale = self.scaling.scale(self.row.largest_magnitude(values));
                head.copy_from_slice(&scale.to_le_bytes());
                self.encode_scaled(values, scale, codes);
            });
            return Ok(());
        }
        self.encode_tensor(pool, values, front, bytes);
        Ok(())
    }

    fn decode_onto(&self, pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()> {
        self.check(values.len(), bytes.len())?;
        let past_caches = values.len() >= PAST_CACHES;
        let (front, bytes) = bytes.split_at(self.front(values.len()));
        if front.is_empty() {
            self.layout().decode(pool, bytes, values, |head, codes, values| {
                self.row.decode(&self.scaled(read_scale(head)), codes, (values, onto), past_caches);
            });
            return Ok(());
        }
        let scaled = self.scaled(read_scale(front));
        self.layout().decode(pool, bytes, values, |_, codes, values| {
            self.row.decode(&scaled, codes, (values, onto), past_caches);
        });
        Ok(())
    }
}

impl EightBit {
    /// All numbers with one scale.
    fn encode_tensor(&self, pool: &ThreadPool, values: &[f32], front: &mut [u8], codes: &mut [u8]) {
        let largest = match self.scaling {
            // This scale does not wait for the numbers; that they are finite is seen while they are encoded.
            Scaling::Offset(_) => {
                let largest = AtomicU32::new(0);
                let scale = self.scaling.scale(0);
                self.layout().encode(pool, values, codes, |values, _, codes| {
                    let blocks = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
                    let most = blocks.map(|(values, codes)| {
                        self.encode_scaled(values, scale, codes);
                        self.row.largest_magnitude(values)
                    });
                    largest.fetch_max(most.max().unwrap_or(0), Relaxed);
                });
                largest.into_inner()
            }
            _ => layout::largest(pool, values, |piece| self.row.largest_magnitude(piece)),
        };
        let scale = self.scaling.scale(largest);
        front.copy_from_slice(&scale.to_le_bytes());
        if !matches!(self.scaling, Scaling::Offset(_)) || scale.is_nan() {
            self.layout().encode(pool, values, codes, |values, _, codes| self.encode_scaled(values, scale, codes));
        }
    }

    /// The codes of numbers that are divided by `scale`. Where that is 0 or NaN they get those of 0.
    fn encode_scaled(&self, values: &[f32], scale: f32, codes: &mut [u8]) {
        let reciprocal = Scaling::reciprocal(scale);
        if reciprocal > 0.0 {
            return self.row.encode(values, reciprocal, codes);
        }
        let [zero, minus_zero] = [0.0, -0.0].map(|zero| self.table.encode(zero));
        for (code, value) in codes.iter_mut().zip(values) {
            *code = if value.is_sign_negative() { minus_zero } else { zero };
        }
    }

    fn scaled(&self, scale: f32) -> [f32; 256] {
        self.table.values().map(|value| value * scale)
    }
}
