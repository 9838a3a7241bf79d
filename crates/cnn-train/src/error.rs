//! The one error type of the crate.

use std::path::PathBuf;

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a data set and trained weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it claims to be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A directory does not hold a data set.
    #[error("{}: no {missing}", path.display())]
    NoDataset {
        /// The directory.
        path: PathBuf,
        /// What was looked for.
        missing: String,
    },
    /// The data do not fit the network.
    #[error("data: {0}")]
    Data(String),
    /// A setting out of range.
    #[error("{0}")]
    Setting(String),
    /// Encoded numbers, or room for them, of the wrong length.
    #[error("{codec}: {count} numbers take {expected} bytes, not {bytes}")]
    Encoded {
        /// The codec.
        codec: String,
        /// The numbers.
        count: usize,
        /// Bytes that they take.
        expected: usize,
        /// Bytes that there were.
        bytes: usize,
    },
    /// Another worker of a parallel training has ended, or sent what it should not have.
    #[error("worker {worker}: {reason}")]
    Worker {
        /// Its rank.
        worker: usize,
        /// What is wrong.
        reason: String,
    },
    /// From the network, its weights or its backend.
    #[error(transparent)]
    Core(#[from] cnn_core::Error),
    /// From a model's files or preprocessing.
    #[error(transparent)]
    Models(#[from] cnn_models::Error),
}
