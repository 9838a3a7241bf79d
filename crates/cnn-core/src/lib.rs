//! The nouns of the `cnn` library and the plain loops that define its layers. No device, no threads, no `unsafe`.
//!
//! | noun | is |
//! |---|---|
//! | [`Tensor`] | an owned, contiguous host array, NCHW, with a runtime element type |
//! | [`Layer`] | one operation as data, with its shapes, FLOPs and plain loops, forward and backward |
//! | [`Network`] | layers in order as a small graph; no weights, no device |
//! | [`Weights`] | name -> tensor, under the names that torchvision publishes |
//! | [`Backend`] | an object chosen at run time: [`Reference`] here, others in crates of their own, or a user's |
//! | [`Plan`], [`Session`] | a compiled network, shared between threads, and what one thread runs it with |
//!
//! ```
//! use cnn_core::{Backend, CompileOptions, Network, Reference, Tensor, Weights};
//! use cnn_core::layers::{Activation, Conv2d, Flatten, Linear, MaxPool2d, Softmax};
//!
//! let mut net = Network::builder("tiny", [1, 8, 8]);
//! net.push("conv", Conv2d::new(4, 3).padding(1))?;
//! net.push("relu", Activation::Relu)?;
//! net.push("pool", MaxPool2d::new(2))?;
//! net.push("flatten", Flatten)?;
//! net.push("fc", Linear::new(10))?;
//! net.push("softmax", Softmax)?;
//! let net = net.finish()?;
//!
//! let weights = Weights::random(&net, 42)?;
//! let plan = Reference::new().compile(&net, &weights, &CompileOptions::default())?;
//! let probabilities = plan.session()?.run(&Tensor::zeros([5, 1, 8, 8])?)?;
//! assert_eq!(probabilities.shape()[..], [5, 10]);
//! # Ok::<(), cnn_core::Error>(())
//! ```

#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("weights are used as they lie in their little-endian files");

pub mod arena;
pub mod backend;
pub mod choose;
pub mod error;
pub mod layers;
pub mod lowering;
pub mod network;
pub mod passes;
pub mod training;
pub mod window;

mod reference;
mod shape;
mod tensor;
mod weights;

pub use backend::{
    Backend, CompileOptions, DeviceInfo, GradientSink, KeepGradients, Plan, PlanReport, Profile, Recipe, Session,
    StepStats, Trainer,
};
pub use error::{Error, Misfit, Result};
pub use layers::Layer;
pub use network::{Network, NetworkBuilder, Node, ValueId};
pub use reference::Reference;
pub use shape::Shape;
pub use tensor::{DType, Tensor};
pub use training::Optimizer;
pub use weights::{Initialization, SharedBytes, Storage, WeightView, Weights};
