//! Test cases, and what is done with them: the gradient check, and the conformance suite that any backend runs.
//!
//! A [`Case`] is a layer on shapes with a seed. The same list feeds the agreement of every backend with the reference,
//! the finite differences behind every backward pass, and the benches. A backend's conformance test is
//!
//! ```no_run
//! cnn_testkit::conformance::check(&cnn_core::Reference::new());
//! ```

#![forbid(unsafe_code)]

mod cases;
mod compare;
mod convolutions;
mod pools;
mod random;
mod rare_cases;
mod shapes;

pub mod conformance;
pub mod gradient_check;
mod shared_batches;

pub use cases::{Case, cases, whole_networks};
pub use compare::{Difference, assert_close, difference};
pub use convolutions::{random_convolution, random_three_by_three};
pub use random::{spread, uniform};
pub use shapes::{LayerShape, layer_shapes, sampled_error};
