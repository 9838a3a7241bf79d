//! NumPy's array files, for `--input` and `--save-output`. Errors of the reader repeat their causes, so they are
//! taken as text.

use std::path::Path;

use anyhow::anyhow;
use cnn::Tensor;
use ndarray::ArrayD;

/// Reads an array of `f32`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Tensor> {
    let array: ArrayD<f32> =
        ndarray_npy::read_npy(path).map_err(|error| anyhow!("{}: no .npy file of float32: {error}", path.display()))?;
    Ok(Tensor::from(array))
}

/// Writes an array of `f32`.
pub(crate) fn write(path: &Path, tensor: &Tensor) -> anyhow::Result<()> {
    ndarray_npy::write_npy(path, &tensor.view()?)
        .map_err(|error| anyhow!("{}: cannot be written: {error}", path.display()))
}
