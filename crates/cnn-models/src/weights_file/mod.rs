//! Weights in safetensors files: f32, f16 and bf16, read into memory or mapped.

mod header;
pub(crate) mod mapping;
mod write;

use std::path::Path;
use std::sync::Arc;

use cnn_core::Weights;

use crate::{Error, Result};

pub use write::write;

/// Prefix of tensors that belong to a training, not to the network. Readers of weights leave them out.
pub const TRAINING_STATE: &str = "optimizer/";

/// Reads a file into memory. Errors name the file.
pub fn read(path: &Path) -> Result<Weights> {
    Ok(without_training_state(read_with_training_state(path)?))
}

/// Reads a file into memory, tensors of [`TRAINING_STATE`] included.
pub fn read_with_training_state(path: &Path) -> Result<Weights> {
    let bytes = std::fs::read(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
    header::parse(Arc::new(bytes)).map_err(|error| error.in_file(path))
}

/// Maps a file into memory: tensors are read from it as they are needed, and stay shared with other processes that map
/// it. The file must not be changed while weights of it are in use; to replace it, as [`write()`] does, is no change. On
/// a network mount [`read`] is faster.
pub fn map(path: &Path) -> Result<Weights> {
    let bytes = mapping::map(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
    header::parse(Arc::new(bytes)).map(without_training_state).map_err(|error| error.in_file(path))
}

/// Takes up the bytes of a file.
pub fn from_bytes(bytes: Vec<u8>) -> Result<Weights> {
    header::parse(Arc::new(bytes)).map(without_training_state)
}

/// Takes up the bytes of a file that is part of the program.
pub fn from_static(bytes: &'static [u8]) -> Result<Weights> {
    header::parse(Arc::new(bytes)).map(without_training_state)
}

fn without_training_state(mut weights: Weights) -> Weights {
    let state = |name: &&str| name.starts_with(TRAINING_STATE);
    let names: Vec<String> = weights.iter().map(|(name, _)| name).filter(state).map(str::to_string).collect();
    names.iter().for_each(|name| {
        weights.remove(name);
    });
    weights
}

#[cfg(test)]
mod tests {
    use cnn_core::{DType, Tensor};

    use super::*;

    fn some_weights() -> Weights {
        let mut weights = Weights::new();
        weights.insert("a.weight", Tensor::new([2, 2], vec![1.0, -0.5, 0.333, 60000.0]).unwrap());
        weights.insert("b", Tensor::new([1], vec![3.0]).unwrap());
        weights.metadata_mut().insert("made".to_string(), "by hand".to_string());
        weights
    }

    #[test]
    fn what_is_written_is_read_in_every_type() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.safetensors");
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            write(&path, &some_weights(), dtype).unwrap();
            for weights in [read(&path).unwrap(), map(&path).unwrap()] {
                let expected = Tensor::new([2, 2], vec![1.0, -0.5, 0.333, 60000.0]).unwrap().cast(dtype);
                let got = weights.get("a.weight").unwrap();
                assert_eq!((got.dtype, got.shape, got.to_f32()), (dtype, expected.shape(), expected.to_f32()));
                assert_eq!((weights.len(), weights.metadata()["made"].as_str()), (2, "by hand"));
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "temporary files are left");
    }

    #[test]
    fn what_left_memory_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.safetensors");
        write(&path, &some_weights(), DType::F32).unwrap();
        let weights = map(&path).unwrap();
        let before = weights.get("a.weight").unwrap().to_f32().into_owned();
        for elements in [0..4, 1..3, 0..100, 7..9] {
            weights.release("a.weight", elements);
        }
        weights.release("no such tensor", 0..1);
        assert_eq!(weights.get("a.weight").unwrap().to_f32(), before);
    }

    #[test]
    fn training_state_is_left_out_unless_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.safetensors");
        let mut weights = some_weights();
        weights.insert("optimizer/velocity.b", Tensor::zeros([1]).unwrap());
        write(&path, &weights, DType::F32).unwrap();
        assert_eq!((read(&path).unwrap().len(), map(&path).unwrap().len()), (2, 2));
        assert_eq!(read_with_training_state(&path).unwrap().len(), 3);
    }

    #[test]
    fn errors_name_the_file() {
        let missing = Path::new("no/such/file.safetensors");
        for error in [read(missing).unwrap_err(), map(missing).unwrap_err()] {
            assert!(error.to_string().starts_with("no/such/file.safetensors: "), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(map(directory.path()).is_err() && read(directory.path()).is_err());
        let empty = directory.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        for error in [read(&empty).unwrap_err(), map(&empty).unwrap_err()] {
            assert!(error.to_string().ends_with("it has 0 bytes, fewer than the shortest header"), "{error}");
        }
    }

    #[test]
    fn a_mapped_file_may_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.safetensors");
        write(&path, &some_weights(), DType::F32).unwrap();
        let mapped = map(&path).unwrap();
        write(&path, &Weights::new(), DType::F32).unwrap();
        assert_eq!(mapped.get("b").unwrap().to_f32()[..], [3.0]);
        assert!(map(&path).unwrap().is_empty());
    }

    #[test]
    fn a_number_that_the_type_cannot_hold_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.safetensors");
        let mut weights = Weights::new();
        weights.insert("big", Tensor::new([2], vec![1.0, 1e6]).unwrap());
        let error = write(&path, &weights, DType::F16).unwrap_err().to_string();
        assert!(error.ends_with("`big` holds 1000000 at index 1, too large for f16"), "{error}");
        write(&path, &weights, DType::Bf16).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/w.safetensors");
        assert!(write(&path, &some_weights(), DType::F32).unwrap_err().to_string().contains("sub/w.safetensors"));
    }
}
