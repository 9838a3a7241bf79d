//! Eight-bit codecs on OpenCL devices.

use std::sync::Arc;

use cnn_ocl::{Ocl, codec as kernels};
use cnn_train::codec::{self, BLOCK, Codec, EightBit, Onto, Scaling};
use cnn_train::{Error, Result};
use rayon::ThreadPool;

/// An eight-bit codec whose numbers are encoded and decoded by an OpenCL device: the same bytes as on the processor, and the same
/// numbers, but for subnormal ones where the device has none. Numbers and codes are copied to the device and back.
#[derive(Debug)]
pub struct OclCodec {
    /// For what does not depend on where codes are found.
    layout: EightBit,
    kernels: kernels::EightBit,
}

const _: () = assert!(BLOCK == kernels::BLOCK);

impl OclCodec {
    /// The type of this name, such as `dynamic-tree`. Errors where there is none, an offset is out of range, or the device fails.
    pub fn find(ocl: &Ocl, name: &str, scaling: Scaling) -> Result<Arc<dyn Codec>> {
        let Some(table) = codec::table(name) else {
            return Err(Error::Setting(format!(
                "{name:?} is none of the eight-bit types, which OpenCL devices encode"
            )));
        };
        let (values, codes, thresholds) = (table.values(), table.codes(), table.thresholds());
        let kernels = kernels::EightBit::new(ocl, &kernels::Table { values, codes, thresholds })?;
        Ok(Arc::new(OclCodec { layout: EightBit::new(table, scaling)?, kernels }))
    }

    /// Bytes of the scales, before the codes of so many numbers.
    fn scale_bytes(&self, count: usize) -> usize {
        self.layout.encoded_bytes(count) - count
    }
}

impl Codec for OclCodec {
    fn name(&self) -> &str {
        self.layout.name()
    }

    fn encoded_bytes(&self, count: usize) -> usize {
        self.layout.encoded_bytes(count)
    }

    fn encode_into(&self, _pool: &ThreadPool, values: &[f32], bytes: &mut [u8]) -> Result<()> {
        self.layout.check(values.len(), bytes.len())?;
        let loaded = self.kernels.load(values)?;
        let mut largest = loaded.largest_magnitudes()?;
        if self.layout.scaling() != Scaling::Block {
            largest = largest.into_iter().reduce(u32::max).into_iter().collect();
        }
        let scales: Vec<f32> = largest.into_iter().map(|largest| self.layout.scaling().scale(largest)).collect();
        let (heads, codes) = bytes.split_at_mut(self.scale_bytes(values.len()));
        for (head, scale) in heads.chunks_mut(size_of::<f32>()).zip(&scales) {
            head.copy_from_slice(&scale.to_le_bytes());
        }
        let reciprocals: Vec<f32> = scales.into_iter().map(Scaling::reciprocal).collect();
        Ok(loaded.encode(&reciprocals, codes)?)
    }

    fn decode_onto(&self, _pool: &ThreadPool, bytes: &[u8], values: &mut [f32], onto: Onto) -> Result<()> {
        self.layout.check(values.len(), bytes.len())?;
        let (heads, codes) = bytes.split_at(self.scale_bytes(values.len()));
        let heads = heads.chunks_exact(size_of::<f32>());
        let scales: Vec<f32> = heads.map(|head| f32::from_le_bytes([head[0], head[1], head[2], head[3]])).collect();
        if onto == Onto::Replace {
            return Ok(self.kernels.decode(codes, &scales, values)?);
        }
        let mut decoded = vec![0.0; values.len()];
        self.kernels.decode(codes, &scales, &mut decoded)?;
        values.iter_mut().zip(decoded).for_each(|(to, value)| onto.put(to, value));
        Ok(())
    }
}
