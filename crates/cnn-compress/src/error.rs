//! The one error type of the crate.

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a trained network and a smaller one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option out of range.
    #[error("{0}")]
    Setting(String),
    /// A layer to be compressed that is no convolution of the network.
    #[error("`{network}` has no convolution `{layer}`; it has {known}")]
    UnknownLayer {
        /// The network's name.
        network: String,
        /// The name asked for.
        layer: String,
        /// Names that would have been right.
        known: String,
    },
    /// Numbers that no decomposition was found for.
    #[error("layer `{layer}`: {reason}")]
    Decomposition {
        /// The layer's name.
        layer: String,
        /// What went wrong.
        reason: String,
    },
    /// From the network or its weights.
    #[error(transparent)]
    Core(#[from] cnn_core::Error),
}
