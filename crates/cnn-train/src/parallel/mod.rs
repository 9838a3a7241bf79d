//! Training spread over several workers, each with a backend of its own.
//!
//! Workers reach one another through a [`Transport`]: [`threads`] of one process, or processes.

mod thread;
mod transport;

pub use thread::{Thread, threads};
pub use transport::Transport;
