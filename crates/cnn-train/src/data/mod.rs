//! Data sets in memory, and the batches that training takes from them.

mod batches;
mod dataset;
pub mod idx;

pub use batches::{Batches, Order};
pub use dataset::{Dataset, Split};
