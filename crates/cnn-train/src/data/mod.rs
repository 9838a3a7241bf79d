//! Data sets in memory, and the batches that training takes from them.

mod batches;
mod beside;
mod dataset;
pub mod idx;

pub use batches::{Batches, Order};
pub use beside::{Batch, Beside, beside};
pub use dataset::{Dataset, Split};
