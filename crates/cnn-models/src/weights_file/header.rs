//! The head of a safetensors file: eight bytes with the length of the header, then the header as JSON. The data
//! follow up to the end of the file.
//!
//! The crate's own `read_metadata` adds the lengths that a header claims without a check, so the sum is taken here.

use std::collections::BTreeMap;

use cnn_core::{DType, Shape, SharedBytes, Weights};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::{Error, Result};

/// Bytes that hold the length of the header.
const PREFIX: usize = 8;

/// Most bytes of a header; as many as other readers of the format take.
const MOST_BYTES: u64 = 100_000_000;

/// Reads the header of a whole file; its tensors stay in `bytes`.
pub(super) fn parse(bytes: SharedBytes) -> Result<Weights> {
    let file = (*bytes).as_ref();
    let length = header_length(file)?;
    let metadata: Metadata =
        serde_json::from_slice(&file[PREFIX..PREFIX + length]).map_err(|e| wrong(format!("its header: {e}")))?;
    let start = PREFIX + length;
    let described = metadata.data_len().checked_add(start);
    if described != Some(file.len()) {
        let described = described.map_or("more than any file".to_string(), |bytes| format!("{bytes} bytes"));
        return Err(wrong(format!(
            "it has {} bytes but its header describes {described}; it may be cut off",
            file.len()
        )));
    }
    let mut weights = Weights::new();
    if let Some(texts) = metadata.metadata() {
        weights.metadata_mut().extend(texts.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    // In the order of their names, so that of several errors it is always the same.
    for (name, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
        if is_batch_counter(&name, info) {
            continue;
        }
        let Some(dtype) = element_type(info.dtype) else {
            let found = info.dtype;
            let reason = format!("tensor `{name}` is of type {found}; convert it to F32, F16, BF16 or U8");
            return Err(Error::Weights(reason));
        };
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        weights.insert_bytes(name, Shape::from(info.shape.clone()), dtype, bytes.clone(), range)?;
    }
    Ok(weights)
}

fn wrong(reason: String) -> Error {
    Error::Weights(format!("no safetensors file: {reason}"))
}

/// The length of the header, which the file is long enough for.
fn header_length(file: &[u8]) -> Result<usize> {
    let Some(prefix) = file.first_chunk::<PREFIX>() else {
        return Err(wrong(format!("it has {} bytes, fewer than the shortest header", file.len())));
    };
    let claimed = u64::from_le_bytes(*prefix);
    if claimed > MOST_BYTES {
        return Err(wrong(format!("it claims a header of {claimed} bytes, more than {MOST_BYTES}")));
    }
    match file.len() - PREFIX {
        room if claimed as usize <= room => Ok(claimed as usize),
        _ => Err(wrong(format!("it has {} bytes but claims a header of {claimed}; it may be cut off", file.len()))),
    }
}

fn element_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        Dtype::U8 => Some(DType::U8),
        _ => None,
    }
}

/// Whether this is the number of batches that a batch normalisation of PyTorch has seen, which nothing here needs.
fn is_batch_counter(name: &str, info: &TensorInfo) -> bool {
    let integer = matches!(
        info.dtype,
        Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64
    );
    integer && name.ends_with("num_batches_tracked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights_file::from_bytes;

    fn file(json: &str, data: usize) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &vec![0; data]].concat()
    }

    fn tensor(dtype: &str, shape: &str, end: u64) -> String {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    }

    fn error(bytes: Vec<u8>) -> String {
        let error = from_bytes(bytes).unwrap_err().to_string();
        assert!(error.starts_with("weights: ") && !error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn a_file_of_every_readable_type_is_read() {
        for (dtype, expected, size) in
            [("F32", DType::F32, 4), ("F16", DType::F16, 2), ("BF16", DType::Bf16, 2), ("U8", DType::U8, 1)]
        {
            let weights = from_bytes(file(&tensor(dtype, "[2,3]", 6 * size), 6 * size as usize)).unwrap();
            let view = weights.get("t").unwrap();
            assert_eq!((view.dtype, &view.shape[..]), (expected, &[2, 3][..]));
        }
        assert!(from_bytes(file("{}", 0)).unwrap().is_empty());
    }

    #[test]
    fn a_type_that_is_not_read_is_named() {
        let expected = "tensor `t` is of type F64; convert it to F32, F16, BF16 or U8";
        assert!(error(file(&tensor("F64", "[2]", 16), 16)).ends_with(expected));
        assert!(error(file(&tensor("F7_E1M5", "[2]", 16), 16)).contains("F7_E1M5"));
    }

    #[test]
    fn counters_of_batches_are_left_out_and_other_integers_are_not() {
        let named = |name: &str, dtype: &str| file(&tensor(dtype, "[]", 8).replace("\"t\"", &format!("\"{name}\"")), 8);
        assert!(from_bytes(named("bn1.num_batches_tracked", "I64")).unwrap().is_empty());
        assert!(error(named("bn1.weight", "I64")).contains("`bn1.weight` is of type I64"));
        assert!(error(named("bn1.num_batches_tracked", "F64")).contains("is of type F64"));
    }

    #[test]
    fn lengths_that_lie_are_told() {
        assert!(error(vec![]).ends_with("it has 0 bytes, fewer than the shortest header"));
        assert!(error(vec![1, 0]).ends_with("it has 2 bytes, fewer than the shortest header"));
        for claim in [1u64 << 60, u64::MAX, MOST_BYTES + 1] {
            let bytes = [&claim.to_le_bytes()[..], b"{}"].concat();
            assert!(error(bytes).contains(&format!("claims a header of {claim} bytes, more than 100000000")));
        }
        assert!(error([&50u64.to_le_bytes()[..], b"{}"].concat()).contains("10 bytes but claims a header of 50"));
        let whole = file(&tensor("F32", "[2]", 8), 8).len();
        for data in [7, 9] {
            let error = error(file(&tensor("F32", "[2]", 8), data));
            let expected = format!("it has {} bytes but its header describes {whole} bytes", whole - 8 + data);
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn shapes_and_offsets_that_overflow_or_disagree_are_errors() {
        let huge = 1u64 << 62;
        for (shape, end) in [
            (format!("[{huge},{huge}]"), 8),
            (format!("[{huge}]"), 8),
            (format!("[{huge},{huge},0]"), 0),
            ("[18446744073709551616]".to_string(), 8),
            ("[-1]".to_string(), 8),
            ("[3]".to_string(), 8),
        ] {
            assert!(error(file(&tensor("F32", &shape, end), end as usize)).contains("its header: "), "{shape}");
        }
        assert!(error(file(&tensor("F32", "[2]", 8).replace("[0,8]", "[8,0]"), 8)).contains("offset"));
        // Eight tensors that fill the address space to its last bytes: with the header, more than a `u64` counts.
        let size = (1u64 << 61) - 1;
        let entry = |i: u64| {
            let (start, end) = (i * size, (i + 1) * size);
            format!(r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
        };
        let json = format!("{{{}}}", (0..8).map(entry).collect::<Vec<_>>().join(","));
        let error = error(file(&json, 8));
        assert!(usize::BITS < 64 || error.contains("describes more than any file"), "{error}");
    }

    #[test]
    fn broken_json_is_an_error() {
        for json in ["", "{", "[]", "null", "{\"t\":{}}", "{\"t\":3}", "{\"__metadata__\":{\"a\":1}}", "\u{0}"] {
            assert!(error(file(json, 0)).contains("its header: "), "{json}");
        }
        let mut bytes = file("{\"a\":1}", 0);
        bytes[10] = 0xff;
        error(bytes);
        error(file(&"[".repeat(100_000), 0));
    }
}
