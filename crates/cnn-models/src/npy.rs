//! NumPy's array files, float32 in row-major order: inputs and outputs to compare with other programs. Format:
//! NumPy Enhancement Proposal 1, versions 1 to 3.

use std::path::Path;

use cnn_core::{Shape, Tensor};

use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes that the header of version 1 is padded to a multiple of.
const ALIGNMENT: usize = 64;

/// Reads a file. Errors name it.
pub fn read(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
    from_bytes(&bytes).map_err(|error| error.in_file(path))
}

/// Reads the bytes of a file.
pub fn from_bytes(bytes: &[u8]) -> Result<Tensor> {
    let (header, data) = split(bytes).ok_or_else(|| wrong("it is no .npy file, or cut off".to_string()))?;
    let text = std::str::from_utf8(header).map_err(|_| wrong("its header is no text".to_string()))?;
    let missing = |key: &str| wrong(format!("its header `{}` tells no {key}", text.trim()));
    let dtype = value(text, "descr").and_then(quoted).ok_or_else(|| missing("descr"))?;
    if dtype != "<f4" {
        return Err(wrong(format!("elements are of type {dtype}; float32 (<f4) is read")));
    }
    let order = value(text, "fortran_order").ok_or_else(|| missing("fortran_order"))?;
    if !order.starts_with("False") {
        return Err(wrong("columns lie together (fortran_order); save it with numpy.ascontiguousarray".to_string()));
    }
    let shape = value(text, "shape").and_then(tuple).ok_or_else(|| missing("shape"))?;
    if shape.elements().checked_mul(4) != Some(data.len()) {
        return Err(wrong(format!("shape {shape} does not fit its {} bytes of data", data.len())));
    }
    let values = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(Tensor::new(shape, values)?)
}

/// Writes an array of float32.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    std::fs::write(path, to_bytes(tensor)).map_err(|cause| Error::File { path: path.to_path_buf(), cause })
}

/// The bytes of a file, version 1.
pub fn to_bytes(tensor: &Tensor) -> Vec<u8> {
    let extents: Vec<String> = tensor.shape().iter().map(|extent| format!("{extent},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", extents.join(" "));
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(tensor.to_f32().iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn wrong(reason: String) -> Error {
    Error::Array(reason)
}

/// The header's text and the data; `None` where the bytes are too few or no such file.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = match *rest.first()? {
        1 => (usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?])), rest.get(4..)?),
        2 | 3 => (u32::from_le_bytes(*rest.get(2..)?.first_chunk()?) as usize, rest.get(6..)?),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// What follows `'key':` in the header.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let after = &header[header.find(key)? + key.len()..];
    let after = after.strip_prefix(['\'', '"'])?.trim_start();
    Some(after.strip_prefix(':')?.trim_start())
}

/// The text between quotes.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote).map(|(inside, _)| inside)
}

/// The numbers of `(1, 3, 224)`, `(3,)` or `()`.
fn tuple(text: &str) -> Option<Shape> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let numbers = inside.split(',').map(str::trim).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().ok()).collect::<Option<Vec<usize>>>().map(Shape::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        from_bytes(bytes).unwrap_err().to_string()
    }

    fn file(header: &str, data: usize) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![2, 3], vec![4], vec![], vec![0, 3], vec![1, 1, 1, 2]] {
            let shape = Shape::from(shape);
            let values = (0..shape.elements()).map(|i| i as f32 - 1.5).collect();
            let tensor = Tensor::new(shape, values).unwrap();
            let bytes = to_bytes(&tensor);
            assert_eq!(from_bytes(&bytes).unwrap(), tensor);
            assert_eq!((bytes.len() - 4 * tensor.to_f32().len()) % ALIGNMENT, 0);
        }
    }

    /// The header that `numpy.save` writes for `numpy.zeros((2, 1), numpy.float32)`, versions 1 and 2.
    #[test]
    fn numpys_own_headers_are_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }                                  \n";
        assert_eq!(from_bytes(&file(header, 8)).unwrap().shape()[..], [2, 1]);
        let second = [MAGIC, &[2, 0], &(header.len() as u32).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
        assert_eq!(from_bytes(&second).unwrap().shape()[..], [2, 1]);
    }

    #[test]
    fn what_is_no_such_array_is_told() {
        assert!(error(b"").contains("no .npy file"));
        assert!(error(b"\x93NUMPY\x01\x00\xff\xff{").contains("no .npy file, or cut off"));
        let header = |dtype: &str, order: &str, shape: &str| {
            format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        assert!(error(&file(&header("<f8", "False", "(1,)"), 8)).contains("type <f8; float32"));
        assert!(error(&file(&header("<f4", "True", "(1,)"), 4)).contains("fortran_order"));
        assert!(error(&file(&header("<f4", "False", "(2,)"), 4)).contains("shape [2] does not fit its 4 bytes"));
        assert!(error(&file(&header("<f4", "False", "(99999999999999999999,)"), 4)).contains("tells no shape"));
        assert!(error(&file(&header("<f4", "False", "(65536, 65536, 65536)"), 4)).contains("does not fit"));
        assert!(error(&file("{}", 0)).contains("tells no descr"));
        assert!(error(&file("\u{e9}'descr'", 0)).contains("tells no descr"));
    }
}
