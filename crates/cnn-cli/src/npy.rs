//! NumPy's array files, for `--input` and `--save-output`.

use std::path::Path;

use anyhow::Context;
use cnn::Tensor;
use ndarray::ArrayD;

/// Reads an array of `f32`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Tensor> {
    let array: ArrayD<f32> =
        ndarray_npy::read_npy(path).with_context(|| format!("{}: no .npy file of float32", path.display()))?;
    Ok(Tensor::from(array))
}

/// Writes an array of `f32`.
pub(crate) fn write(path: &Path, tensor: &Tensor) -> anyhow::Result<()> {
    ndarray_npy::write_npy(path, &tensor.view()?).with_context(|| format!("{}: cannot be written", path.display()))
}
