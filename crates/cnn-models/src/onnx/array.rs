//! Arrays that are known at import: initializers, constants, and what is computed from them.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use cnn_core::{DType, Shape, SharedBytes};

use super::external::Folder;
use super::proto::Tensor;

/// Element types of ONNX that are read. In a network all values are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ElementType {
    Float,
    Double,
    Half,
    Bfloat,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    Bool,
}

impl ElementType {
    /// The type of that number in `onnx.proto`, or its name where it is not read.
    pub(super) fn of_number(number: i64) -> Result<Self, String> {
        use ElementType::*;
        Ok(match number {
            1 => Float,
            2 => U8,
            3 => I8,
            4 => U16,
            5 => I16,
            6 => I32,
            7 => I64,
            9 => Bool,
            10 => Half,
            11 => Double,
            12 => U32,
            13 => U64,
            16 => Bfloat,
            8 => return Err("element type string".to_string()),
            14 | 15 => return Err("a complex element type".to_string()),
            17..=20 | 23 | 24 => return Err("an element type of 4 or 8 bit floats".to_string()),
            21 | 22 => return Err("an element type of 4 bit integers".to_string()),
            other => return Err(format!("element type {other}")),
        })
    }

    /// Whether it is a type of fractions.
    pub fn is_float(self) -> bool {
        use ElementType::*;
        matches!(self, Float | Double | Half | Bfloat)
    }

    fn size(self) -> usize {
        use ElementType::*;
        match self {
            U8 | I8 | Bool => 1,
            Half | Bfloat | U16 | I16 => 2,
            Float | U32 | I32 => 4,
            Double | U64 | I64 => 8,
        }
    }

    /// Least and largest whole numbers of it.
    pub(super) fn limits(self) -> [i64; 2] {
        use ElementType::*;
        match self {
            U8 => [0, 255],
            I8 => [-128, 127],
            U16 => [0, 65535],
            I16 => [-32768, 32767],
            U32 => [0, u32::MAX.into()],
            I32 => [i32::MIN.into(), i32::MAX.into()],
            U64 => [0, i64::MAX],
            Bool => [0, 1],
            _ => [i64::MIN, i64::MAX],
        }
    }
}

/// Stands in integer arrays for the extent of a batch that may be of any size. No arithmetic takes it.
pub(super) const ANY_BATCH: i64 = i64::MIN;

/// Axes of an array at most.
pub(super) const MOST_AXES: usize = 32;

/// An array that is known at import. Cloning shares the elements.
#[derive(Clone)]
pub struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) element_type: ElementType,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Floats(Rc<Vec<f32>>),
    Ints(Rc<Vec<i64>>),
    /// Where they lie in a file.
    Stored {
        bytes: SharedBytes,
        range: Range<usize>,
        dtype: DType,
    },
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.element_type, self.dims)
    }
}

impl Array {
    /// An array of floats; their number must fill `dims`.
    pub(super) fn floats(dims: Vec<usize>, values: Vec<f32>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Array { dims, element_type: ElementType::Float, data: Data::Floats(Rc::new(values)) }
    }

    /// An array of whole numbers; their number must fill `dims`.
    pub(super) fn ints(dims: Vec<usize>, values: Vec<i64>, element_type: ElementType) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Array { dims, element_type, data: Data::Ints(Rc::new(values)) }
    }

    /// Reads a file that holds one tensor, as the official test cases have them. Errors tell what is wrong.
    pub fn from_tensor_file(bytes: Vec<u8>) -> crate::Result<Self> {
        let bytes: SharedBytes = std::sync::Arc::new(bytes);
        let tensor = Tensor::read_file((*bytes).as_ref()).map_err(|error| crate::Error::Onnx(error.to_string()))?;
        Array::of_tensor(&tensor, &bytes, &mut Folder::none()).map_err(crate::Error::Onnx)
    }

    /// Extents, outermost first; none of a single number.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Its element type.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// The elements as `f32`.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Data::Floats(values) => Cow::Borrowed(values),
            Data::Ints(values) => Cow::Owned(values.iter().map(|&v| v as f32).collect()),
            Data::Stored { bytes, range, dtype } => dtype.decode(&(**bytes).as_ref()[range.clone()]),
        }
    }

    /// The elements where they are whole numbers.
    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// Bytes in a file that hold the elements as they are, in a type that weights may have.
    pub(super) fn stored(&self) -> Option<(SharedBytes, Range<usize>, DType)> {
        match &self.data {
            Data::Stored { bytes, range, dtype } => Some((bytes.clone(), range.clone(), *dtype)),
            _ => None,
        }
    }

    /// The same elements under other extents, of which there must be as many.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), self.elements());
        Array { dims, ..self.clone() }
    }

    /// The same numbers said to be of another type.
    pub(super) fn typed(mut self, element_type: ElementType) -> Self {
        self.element_type = element_type;
        self
    }

    /// Elements of this array in an order of the caller's.
    pub(super) fn picked(&self, dims: Vec<usize>, from: impl Iterator<Item = usize>) -> Self {
        let data = match &self.data {
            Data::Ints(values) => Data::Ints(Rc::new(from.map(|i| values[i]).collect())),
            _ => {
                let values = self.to_f32();
                Data::Floats(Rc::new(from.map(|i| values[i]).collect()))
            }
        };
        Array { dims, element_type: self.element_type, data }
    }

    /// A tensor of a file, whose raw bytes stay there. Errors say what is wrong with it.
    pub(super) fn of_tensor(tensor: &Tensor, file: &SharedBytes, folder: &mut Folder) -> Result<Self, String> {
        let element_type = ElementType::of_number(tensor.element_type)?;
        if tensor.is_text || tensor.is_segment {
            return Err("holds text or is a segment, which is not read".to_string());
        }
        let (dims, elements) = extents(&tensor.dims)?;
        let bytes = elements.checked_mul(element_type.size()).ok_or("claims more bytes than there can be")?;
        let claims = |got: usize, what: &str| format!("of shape {dims:?} needs {bytes} bytes, but has {got} {what}");
        let (storage, range) = match (&tensor.raw, tensor.is_external) {
            (_, true) => folder.data(&tensor.external, bytes)?,
            (Some(range), false) => (file.clone(), range.clone()),
            (None, false) => {
                let got = tensor.floats.len() + tensor.ints.len() + tensor.doubles.len();
                let data = typed_data(tensor, element_type).filter(|_| got == elements);
                let data = data.ok_or_else(|| claims(got, "numbers"))?;
                return Ok(Array { dims, element_type, data });
            }
        };
        if range.len() != bytes {
            return Err(claims(range.len(), "bytes"));
        }
        Ok(Array { dims, element_type, data: raw_data((storage, range), element_type)? })
    }
}

/// Extents as they may be: not negative, few, and with a product that can be counted; and that.
pub(super) fn extents(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let wrong = || format!("has the shape {:?}", &dims[..dims.len().min(MOST_AXES)]);
    if dims.len() > MOST_AXES {
        return Err(format!("has {} axes", dims.len()));
    }
    let dims: Vec<usize> = dims.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| wrong())?;
    match Shape::from(&dims[..]).elements() {
        elements if elements <= Shape::MAX_ELEMENTS => Ok((dims, elements)),
        _ => Err(format!("has the shape {dims:?}, more than {} values", Shape::MAX_ELEMENTS)),
    }
}

/// The numbers of the fields that hold this type.
fn typed_data(tensor: &Tensor, element_type: ElementType) -> Option<Data> {
    let Tensor { floats, ints, doubles, .. } = tensor;
    let [low, high] = element_type.limits();
    Some(match element_type {
        ElementType::Float if ints.is_empty() && doubles.is_empty() => Data::Floats(Rc::new(floats.clone())),
        ElementType::Double if ints.is_empty() && floats.is_empty() => {
            Data::Floats(Rc::new(doubles.iter().map(|&v| v as f32).collect()))
        }
        ElementType::Float | ElementType::Double => return None,
        _ if !floats.is_empty() || !doubles.is_empty() => return None,
        ElementType::Half | ElementType::Bfloat => {
            let dtype = if element_type == ElementType::Half { DType::F16 } else { DType::Bf16 };
            let bits: Option<Vec<[u8; 2]>> =
                ints.iter().map(|&v| u16::try_from(v).ok().map(u16::to_le_bytes)).collect();
            Data::Floats(Rc::new(dtype.decode(bits?.as_flattened()).into_owned()))
        }
        _ if ints.iter().any(|&v| v < low || v > high) => return None,
        _ => Data::Ints(Rc::new(ints.clone())),
    })
}

/// Little-endian bytes, left where they are if a network's weights can be of their type.
fn raw_data((bytes, range): (SharedBytes, Range<usize>), element_type: ElementType) -> Result<Data, String> {
    let stored = |dtype| Data::Stored { bytes: bytes.clone(), range: range.clone(), dtype };
    let raw = &(*bytes).as_ref()[range.clone()];
    macro_rules! numbers {
        ($kind:ty) => {
            raw.chunks_exact(size_of::<$kind>()).map(|b| <$kind>::from_le_bytes(b.try_into().unwrap_or_default()))
        };
    }
    macro_rules! ints {
        ($kind:ty) => {
            Data::Ints(Rc::new(numbers!($kind).map(i64::from).collect()))
        };
    }
    Ok(match element_type {
        ElementType::Float => stored(DType::F32),
        ElementType::Half => stored(DType::F16),
        ElementType::Bfloat => stored(DType::Bf16),
        ElementType::Double => Data::Floats(Rc::new(numbers!(f64).map(|v| v as f32).collect())),
        ElementType::U8 => ints!(u8),
        ElementType::I8 => ints!(i8),
        ElementType::U16 => ints!(u16),
        ElementType::I16 => ints!(i16),
        ElementType::U32 => ints!(u32),
        ElementType::I32 => ints!(i32),
        ElementType::I64 => ints!(i64),
        ElementType::Bool => Data::Ints(Rc::new(raw.iter().map(|&b| i64::from(b != 0)).collect())),
        ElementType::U64 => {
            let ints: Result<Vec<i64>, _> = numbers!(u64).map(i64::try_from).collect();
            Data::Ints(Rc::new(ints.map_err(|_| "holds numbers of 64 bits without a sign")?))
        }
    })
}
