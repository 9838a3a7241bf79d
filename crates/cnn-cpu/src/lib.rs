//! Multicore CPU backend of the `cnn` library.
//!
//! [`Cpu`] compiles a network into steps: each picks a row of its layer's table ([`ops`]), packs its weights once and
//! then only runs. Everything rests on one loop ([`simd::tile`]), compiled for each instruction set and chosen for the
//! processor at run time; between layers, values stay in a blocked [`Layout`](cnn_core::lowering::Layout). Results do not depend on the number of threads.

#![deny(unsafe_code)]

mod backend;
mod cache;
pub mod machine;
mod memory;
mod plan;
mod session;
pub mod threads;
mod train;

pub mod gemm;
pub mod ops;
pub mod simd;

pub use backend::Cpu;
