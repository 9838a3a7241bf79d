//! Training for the `cnn` library: data sets, the epoch loop, learning rates, checkpoints and metrics.
//!
//! What happens in one step is the backend's ([`cnn_core::Trainer`]); this crate feeds it batches ([`data`]), moves
//! the learning rate ([`Schedule`]), judges ([`metrics`]) and saves ([`Checkpoint`]). [`Fit`] puts these together.
//! [`parallel`] spreads it over workers; [`codec`] makes gradients small enough to be sent between them.

#![deny(unsafe_code)]

mod checkpoint;
mod company;
mod error;
mod fit;
mod schedule;

pub mod codec;
pub mod data;
pub mod metrics;
pub mod parallel;

pub use checkpoint::{Checkpoint, Record, TrainedOn};
pub use error::{Error, Result};
pub use fit::{EpochReport, Fit, Observer, Settings, Silent};
pub use schedule::{Course, Schedule};
