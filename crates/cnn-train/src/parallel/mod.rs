//! Training spread over several workers, each with a backend of its own.
//!
//! A [`Worker`] does its part of a [`Fit`](crate::Fit) with [data parallelism](Worker): a share of every batch. [`ModelParallel`] workers
//! have a share of every large fully connected layer, [`Hybrid`] ones of batches before those layers and of the layers behind.
//!
//! Workers reach one another through a [`Transport`]: [`threads`] of one process, or processes. A [`Link`] makes messages of it that are
//! whole and in order or an error, an [`Exchange`] sums over all workers what a [`codec`](crate::codec) writes.

mod communicator;
mod data;
mod exchange;
mod handshake;
mod hybrid;
mod joint;
mod message;
mod model;
#[cfg(feature = "mpi")]
mod mpi;
mod norm;
mod pieces;
mod report;
mod rounds;
mod shards;
mod sink;
mod step_time;
mod thread;
mod together;
mod transport;
mod wire;

pub use data::{Compression, Worker};
pub use exchange::Exchange;
pub use hybrid::Hybrid;
pub use message::{Kind, Link};
pub use model::ModelParallel;
#[cfg(feature = "mpi")]
pub use mpi::{Mpi, Processes};
pub use shards::{Side, Splitting};
pub use step_time::{ExchangeTime, StepTime};
pub use thread::{Thread, on_threads, threads};
pub use transport::Transport;
pub use wire::ValueCodecs;
