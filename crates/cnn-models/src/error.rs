//! The one error type of the crate. Every message names the file it speaks of, and what is wrong with it.

use std::path::{Path, PathBuf};

use cnn_core::Shape;

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a model, its files or its pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model has this name.
    #[error("unknown model `{name}`; known are {known}")]
    UnknownModel {
        /// The name.
        name: String,
        /// Names that would have been right.
        known: String,
    },
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Bytes are not the weights that they should be.
    #[error("weights: {0}")]
    Weights(String),
    /// An ONNX file that cannot be imported.
    #[error("ONNX: {0}")]
    Onnx(String),
    /// Bytes are not the array that they should be.
    #[error("array: {0}")]
    Array(String),
    /// A picture that the model cannot take.
    #[error("picture: {0}")]
    Picture(String),
    /// A network that takes pictures of one size was asked for with another.
    #[error("`{model}` takes pictures of {takes} only, not of {} x {} pixels", size[0], size[1])]
    PictureSize {
        /// The model.
        model: &'static str,
        /// Shape of its input.
        takes: Shape,
        /// Rows and columns.
        size: [usize; 2],
    },
    /// Probabilities that do not fit the labels.
    #[error("probabilities of shape {got} for {classes} labels; expected shape [N, {classes}]")]
    Classes {
        /// Labels.
        classes: usize,
        /// Shape of the probabilities.
        got: Shape,
    },
    /// From the network or its tensors.
    #[error(transparent)]
    Core(#[from] cnn_core::Error),
}

impl Error {
    /// Puts the name of the file in front of what is wrong with its bytes.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        let path = path.to_path_buf();
        match self {
            Error::Weights(reason) | Error::Array(reason) | Error::Picture(reason) | Error::Onnx(reason) => {
                Error::Format { path, reason }
            }
            Error::Core(error) => Error::Format { path, reason: error.to_string() },
            other => other,
        }
    }
}
