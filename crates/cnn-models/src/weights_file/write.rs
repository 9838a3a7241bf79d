//! Writes a safetensors file, whole or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use cnn_core::{DType, Tensor, Weights};
use safetensors::tensor::{Dtype, View};

use crate::{Error, Result};

/// Writes weights with their metadata, each tensor rounded to `dtype`; a number too large for it is an error. The file appears under its name when it is
/// complete and on the disk; until then an older one stays as it is.
pub fn write(path: &Path, weights: &Weights, dtype: DType) -> Result<()> {
    let file_error = |cause| Error::File { path: path.to_path_buf(), cause };
    let mut tensors = Vec::with_capacity(weights.len());
    for (name, view) in weights.iter() {
        let tensor = Tensor::new(view.shape.clone(), view.to_f32().into_owned())?;
        tensors.push((name, Stored(rounded(name, tensor, dtype).map_err(|error| error.in_file(path))?)));
    }
    let metadata: HashMap<String, String> = weights.metadata().clone().into_iter().collect();
    let bytes = safetensors::serialize(tensors, (!metadata.is_empty()).then_some(metadata))
        .map_err(|e| Error::Format { path: path.to_path_buf(), reason: e.to_string() })?;

    // In the same directory, so that the rename cannot cross file systems.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = temporary_file(directory).map_err(file_error)?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(file_error)?;
    file.persist(path).map_err(|error| file_error(error.error))?;
    Ok(())
}

fn temporary_file(directory: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".weights-");
    // Temporary files are made for their owner alone; this one gets what the user's mask leaves to any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

/// The tensor in another type. Errors where that cannot hold a number.
fn rounded(name: &str, tensor: Tensor, dtype: DType) -> Result<Tensor> {
    if dtype == DType::F32 {
        return Ok(tensor);
    }
    let rounded = tensor.cast(dtype);
    let (before, after) = (tensor.to_f32(), rounded.to_f32());
    match before.iter().zip(after.iter()).position(|(b, a)| b.is_finite() && !a.is_finite()) {
        Some(index) => {
            let value = before[index];
            Err(Error::Weights(format!("`{name}` holds {value} at index {index}, too large for {dtype}")))
        }
        None => Ok(rounded),
    }
}

struct Stored(Tensor);

impl View for Stored {
    fn dtype(&self) -> Dtype {
        match self.0.dtype() {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::Bf16 => Dtype::BF16,
            DType::U8 => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0.as_ref())
    }

    fn data_len(&self) -> usize {
        self.0.as_ref().len()
    }
}
