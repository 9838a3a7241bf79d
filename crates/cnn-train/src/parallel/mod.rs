//! Training spread over several workers, each with a backend of its own.
//!
//! Workers reach one another through a [`Transport`]: [`threads`] of one process, or processes. A [`Link`] makes messages of it that are
//! whole and in order or an error, an [`Exchange`] sums over all workers what a [`codec`](crate::codec) writes.

mod exchange;
mod message;
mod thread;
mod transport;

pub use exchange::Exchange;
pub use message::{Kind, Link};
pub use thread::{Thread, threads};
pub use transport::Transport;
