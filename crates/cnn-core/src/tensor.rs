//! Owned, contiguous host arrays with a runtime element type.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};

use crate::{Error, Result, Shape};

/// Element types that a [`Tensor`] can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Unsigned bytes.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }

    /// Reads little-endian `bytes` of this type as `f32`; borrows where they already are aligned `f32`.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, [f32]> {
        match self {
            DType::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(values) => Cow::Borrowed(values),
                Err(_) => Cow::Owned(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect()),
            },
            DType::F16 => Cow::Owned(pairs(bytes).map(|b| f16::from_le_bytes(b).to_f32()).collect()),
            DType::Bf16 => Cow::Owned(pairs(bytes).map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
            DType::U8 => Cow::Owned(bytes.iter().map(|&b| f32::from(b)).collect()),
        }
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]])
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::U8 => "u8",
        })
    }
}

#[derive(Clone, PartialEq)]
enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    U8(Vec<u8>),
}

/// An owned, contiguous host array, row-major, NCHW where it is a batch of images.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

impl Tensor {
    /// An `f32` tensor. Errors when `values` does not fill `shape`.
    pub fn new(shape: impl Into<Shape>, values: Vec<f32>) -> Result<Self> {
        Self::checked(shape.into(), values.len(), Data::F32(values))
    }

    /// A byte tensor. Errors when `values` does not fill `shape`.
    pub fn from_u8(shape: impl Into<Shape>, values: Vec<u8>) -> Result<Self> {
        Self::checked(shape.into(), values.len(), Data::U8(values))
    }

    fn checked(shape: Shape, got: usize, data: Data) -> Result<Self> {
        if shape.elements() != got {
            return Err(Error::Length { shape, got });
        }
        Ok(Self { shape, data })
    }

    /// An `f32` tensor of zeros. Errors when the memory is not to be had.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let values = crate::error::zeroed("a tensor", shape.elements())?;
        Ok(Self { shape, data: Data::F32(values) })
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::Bf16(_) => DType::Bf16,
            Data::U8(_) => DType::U8,
        }
    }

    /// The elements, where they are `f32`.
    pub fn as_f32(&self) -> Result<&[f32]> {
        match &self.data {
            Data::F32(values) => Ok(values),
            _ => Err(not_f32(&self.shape, self.dtype())),
        }
    }

    /// The elements to write to, where they are `f32`.
    pub fn as_f32_mut(&mut self) -> Result<&mut [f32]> {
        let dtype = self.dtype();
        match &mut self.data {
            Data::F32(values) => Ok(values),
            _ => Err(not_f32(&self.shape, dtype)),
        }
    }

    /// The elements as `f32`, converted where they are not.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Data::F32(values) => Cow::Borrowed(values),
            _ => self.dtype().decode(self.as_ref()),
        }
    }

    /// The same values in another element type, rounded to nearest; bytes saturate at 0 and 255.
    pub fn cast(&self, dtype: DType) -> Tensor {
        let values = self.to_f32();
        let data = match dtype {
            DType::F32 => Data::F32(values.into_owned()),
            DType::F16 => Data::F16(values.iter().map(|&v| f16::from_f32(v)).collect()),
            DType::Bf16 => Data::Bf16(values.iter().map(|&v| bf16::from_f32(v)).collect()),
            DType::U8 => Data::U8(values.iter().map(|&v| v.round() as u8).collect()),
        };
        Tensor { shape: self.shape.clone(), data }
    }

    /// The same elements under another shape of as many elements.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let got = self.shape.elements();
        Self::checked(shape.into(), got, self.data)
    }

    /// Samples in the tensor: its first extent, 0 for a scalar.
    pub fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Index of the largest element of each sample (the predicted class); the first of equals, NaN last.
    pub fn argmax(&self) -> Vec<usize> {
        let values = self.to_f32();
        let per_sample = values.len() / self.batch().max(1);
        values
            .chunks(per_sample.max(1))
            .map(|sample| {
                let mut best = 0;
                for (i, &v) in sample.iter().enumerate() {
                    if v > sample[best] || (sample[best].is_nan() && !v.is_nan()) {
                        best = i;
                    }
                }
                best
            })
            .collect()
    }
}

fn not_f32(shape: &Shape, got: DType) -> Error {
    Error::ElementType { what: format!("tensor of shape {shape}"), expected: DType::F32, got }
}

/// The elements as they lie in memory.
impl AsRef<[u8]> for Tensor {
    fn as_ref(&self) -> &[u8] {
        match &self.data {
            Data::F32(v) => bytemuck::cast_slice(v),
            Data::F16(v) => bytemuck::cast_slice(v),
            Data::Bf16(v) => bytemuck::cast_slice(v),
            Data::U8(v) => v,
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.to_f32();
        write!(f, "Tensor {} {} {:?}", self.dtype(), self.shape, &values[..values.len().min(8)])?;
        if values.len() > 8 { write!(f, " ..") } else { Ok(()) }
    }
}

#[cfg(feature = "ndarray")]
mod with_ndarray {
    use ndarray::{ArrayD, ArrayViewD, IxDyn};

    use super::{Data, Tensor};
    use crate::{Result, Shape};

    impl Tensor {
        /// Borrows an `f32` tensor as an `ndarray` view.
        pub fn view(&self) -> Result<ArrayViewD<'_, f32>> {
            let values = self.as_f32()?;
            ArrayViewD::from_shape(IxDyn(&self.shape), values).map_err(|e| crate::Error::Other(Box::new(e)))
        }
    }

    impl<D: ndarray::Dimension> From<ndarray::Array<f32, D>> for Tensor {
        /// Takes the array over; one that is not in row-major order is copied into it.
        fn from(array: ndarray::Array<f32, D>) -> Self {
            let shape = Shape::from(array.shape());
            let values = match array.is_standard_layout() {
                true => array.into_iter().collect(),
                false => array.as_standard_layout().iter().copied().collect(),
            };
            Tensor { shape, data: Data::F32(values) }
        }
    }

    impl TryFrom<Tensor> for ArrayD<f32> {
        type Error = crate::Error;
        fn try_from(tensor: Tensor) -> Result<Self> {
            let dtype = tensor.dtype();
            match tensor.data {
                Data::F32(values) => {
                    ArrayD::from_shape_vec(IxDyn(&tensor.shape), values).map_err(|e| crate::Error::Other(Box::new(e)))
                }
                _ => Err(super::not_f32(&tensor.shape, dtype)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_must_fill_its_shape() {
        let error = Tensor::new([2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a tensor of shape [2, 3] holds 6 values, got 5");
    }

    #[test]
    fn casts_round_and_saturate() {
        let t = Tensor::new([4], vec![-3.0, 0.4, 254.6, 1e9]).unwrap();
        assert_eq!(t.cast(DType::U8).to_f32().as_ref(), [0.0, 0.0, 255.0, 255.0]);
        assert_eq!(t.cast(DType::F16).to_f32()[3], f32::INFINITY);
        assert_eq!(t.cast(DType::Bf16).cast(DType::F32).to_f32()[0], -3.0);
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_puts_nan_last() {
        let t = Tensor::new([3, 2], vec![1.0, 1.0, 0.0, 2.0, f32::NAN, -1.0]).unwrap();
        assert_eq!(t.argmax(), [0, 1, 1]);
    }

    #[test]
    fn unaligned_bytes_decode_too() {
        let bytes: Vec<u8> = [0u8].into_iter().chain(1.5f32.to_le_bytes()).collect();
        assert_eq!(DType::F32.decode(&bytes[1..]).as_ref(), [1.5]);
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn ndarray_in_and_out_keeps_row_major_order() {
        let transposed = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).reversed_axes();
        let tensor = Tensor::from(transposed);
        assert_eq!(tensor.shape()[..], [2, 3]);
        assert_eq!(tensor.as_f32().unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert_eq!(tensor.view().unwrap()[[1, 2]], 6.0);
        assert_eq!(ndarray::ArrayD::try_from(tensor).unwrap()[[0, 1]], 3.0);
    }
}
