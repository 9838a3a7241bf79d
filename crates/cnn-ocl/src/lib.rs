//! The OpenCL backend: networks on every device that an OpenCL driver shows, from embedded GPUs to the processor itself.
//!
//! The library of the system is loaded when the first device is asked for: a program with this crate in it runs where there
//! is no OpenCL. [`Ocl`] is the backend, [`device`] finds what there is, `ops` holds the kernels beside their host code, `train`
//! those of training, [`tuning`] what is known of each device.

#![deny(unsafe_code)]

mod backend;
mod buffer;
mod ceilings;
pub mod codec;
pub mod device;
mod driver;
mod format;
#[cfg(feature = "clblast")]
mod gemm;
mod kernel;
mod launch;
pub mod ops;
mod plan;
mod program;
mod self_test;
mod session;
mod single;
mod train;
pub mod tuning;

pub use backend::{Ocl, OclBuilder};
#[cfg(feature = "clblast")]
pub use gemm::clblast::calls as clblast_calls;
