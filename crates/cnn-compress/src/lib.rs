//! Smaller networks from trained ones: a network and its weights in, a network and its weights out, for any backend.
//!
//! | method | what becomes of a layer |
//! |---|---|
//! | [`flatten()`] | a convolution becomes a sum of products of one-dimensional ones |
//!
//! What was done stands in the names and shapes of the weights, so that [`rebuild`] finds the smaller network again from the
//! model's own network and a file of weights.
//!
//! ```
//! use cnn_compress::{FlattenOptions, flatten, rebuild};
//!
//! let model = cnn_models::find("lenet5")?;
//! let (network, weights) = (model.network()?, model.shipped_weights().ok_or("LeNet-5 has some")??);
//! let flat = flatten(&network, &weights, &FlattenOptions::default())?;
//! assert!(flat.network.flops() < network.flops());
//! assert_eq!(rebuild(&network, &flat.weights)?.parameter_count(), flat.network.parameter_count());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod decompose;
mod error;
mod flatten;

pub use error::{Error, Result};
pub use flatten::{Cost, FlattenOptions, Flattened, LayerReport, Outcome, Terms, flatten, flatten_with, rebuild};
