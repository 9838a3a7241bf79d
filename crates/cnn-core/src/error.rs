//! The one error type of the crate. Every message names the layer, tensor or weight it speaks of, and both shapes.

use std::fmt;

use crate::{DType, Layer, Shape};

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation does not fit its input, in one line without a full stop: `kernel 5x5 is larger than ..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit(pub String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Into<String>> From<S> for Misfit {
    fn from(reason: S) -> Self {
        Misfit(reason.into())
    }
}

/// What can go wrong between a network, its weights, a backend and an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot take the shapes that reach it.
    #[error("layer `{layer}` ({kind}) on input {inputs}: {reason}")]
    Layer {
        /// The layer's name in its network.
        layer: String,
        /// Its operation, such as `Conv2d`.
        kind: String,
        /// The shapes that reach it, without the batch.
        inputs: String,
        /// What does not fit.
        reason: Misfit,
    },
    /// The graph itself is wrong: a name twice, an unknown input, nothing in it.
    #[error("network `{network}`: {reason}")]
    Network {
        /// The network's name.
        network: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor of another shape than its reader needs.
    #[error("{what}: expected shape {expected}, got {got}")]
    Shape {
        /// The tensor, such as ``input of `lenet5` ``.
        what: String,
        /// The shape needed; `N` stands for any batch.
        expected: String,
        /// The shape found.
        got: Shape,
    },
    /// A buffer that does not fill its shape.
    #[error("a tensor of shape {shape} holds {} values, got {got}", shape.elements())]
    Length {
        /// The shape asked for.
        shape: Shape,
        /// Values given.
        got: usize,
    },
    /// A tensor of another element type than its reader needs.
    #[error("{what}: expected element type {expected}, got {got}")]
    ElementType {
        /// The tensor.
        what: String,
        /// The type needed.
        expected: DType,
        /// The type found.
        got: DType,
    },
    /// The network needs a tensor that the weights do not hold.
    #[error("weights for `{network}` lack `{name}` of shape {shape}")]
    MissingWeight {
        /// The network's name.
        network: String,
        /// The tensor's name.
        name: String,
        /// Its shape.
        shape: Shape,
    },
    /// The weights hold a tensor that the network has no place for.
    #[error("weights hold `{name}` of shape {shape}, which `{network}` does not have")]
    UnknownWeight {
        /// The network's name.
        network: String,
        /// The tensor's name.
        name: String,
        /// Its shape.
        shape: Shape,
    },
    /// A weight is NaN or infinite.
    #[error("weight `{name}` holds {value} at index {index}")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// The value.
        value: f32,
        /// Its place in the flat tensor.
        index: usize,
    },
    /// The loss, and so the training, has left the finite numbers.
    #[error(
        "the loss of `{network}` is {loss}, first not finite after layer `{layer}`; a lower learning rate may help"
    )]
    Diverged {
        /// The network's name.
        network: String,
        /// The loss.
        loss: f64,
        /// The first layer whose output is not finite.
        layer: String,
    },
    /// Labels that do not fit the batch or the network's classes.
    #[error("labels: {reason}")]
    Labels {
        /// What does not fit.
        reason: String,
    },
    /// No row of a backend's table has this name.
    #[error("unknown algorithm `{name}`; known are {known}")]
    UnknownAlgorithm {
        /// The name asked for.
        name: String,
        /// Names that would have been right.
        known: String,
    },
    /// No row of a backend's table takes this layer.
    #[error("layer `{layer}`: no algorithm accepts it ({refusals})")]
    NoAlgorithm {
        /// The layer's name.
        layer: String,
        /// Every row with its reason.
        refusals: String,
    },
    /// An allocation failed.
    #[error("not enough memory for {what}: {bytes} bytes")]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// Bytes asked for.
        bytes: usize,
    },
    /// A recipe that no training can follow.
    #[error("recipe: {reason}")]
    Recipe {
        /// What is wrong.
        reason: String,
    },
    /// The backend does not offer this.
    #[error("backend `{backend}`: {reason}")]
    Backend {
        /// The backend's name.
        backend: String,
        /// What it cannot do, and why.
        reason: String,
    },
    /// An error of a backend or layer written outside this library.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The layer `name` does not fit `inputs`.
    pub(crate) fn layer(name: &str, layer: &Layer, inputs: &[&Shape], reason: Misfit) -> Self {
        let (layer, kind) = (name.to_string(), layer.operation().kind().to_string());
        let inputs = inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        Error::Layer { layer, kind, inputs, reason }
    }

    /// A tensor named `what` has shape `got` where `expected` is needed.
    pub fn shape(what: impl Into<String>, expected: &Shape, got: &Shape) -> Self {
        Error::Shape { what: what.into(), expected: expected.to_string(), got: got.clone() }
    }
}

/// A zeroed buffer, or an error instead of an abort where the allocator refuses.
pub fn zeroed(what: &str, length: usize) -> Result<Vec<f32>> {
    let mut buffer = Vec::new();
    grow(what, &mut buffer, length)?;
    Ok(buffer)
}

/// Grows `buffer` with zeros to at least `length`, or an error instead of an abort where the allocator refuses.
pub fn grow(what: &str, buffer: &mut Vec<f32>, length: usize) -> Result<()> {
    if buffer.len() < length {
        let bytes = length.saturating_mul(size_of::<f32>());
        buffer
            .try_reserve_exact(length - buffer.len())
            .map_err(|_| Error::OutOfMemory { what: what.to_string(), bytes })?;
        buffer.resize(length, 0.0);
    }
    Ok(())
}
