//! Convolutional networks in your own program, on a backend that you choose at run time.
//!
//! A network is data ([`Network`]), a backend is an object ([`Backend`], made by [`backend`]), and compiling one on
//! the other gives a [`Plan`] that threads share, each with a cheap [`Session`]:
//!
//! ```
//! use cnn::{CompileOptions, models};
//!
//! let model = models::find("lenet5")?;
//! let (network, weights) = (model.network()?, model.shipped_weights().expect("LeNet-5 has some")?);
//! let plan = cnn::backend("auto")?.compile(&network, &weights, &CompileOptions::default())?;
//! let picture = model.preprocess().bytes(models::digits()[7].1)?;
//! let probabilities = plan.session()?.run(&picture)?;
//! let best = &model.labels().top_k(&probabilities, 1)?[0][0];
//! assert_eq!(best.label, "7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A tour
//! | to | see |
//! |---|---|
//! | pick a backend by name, list them all | [`backend`], [`backends()`] |
//! | take a known network, its pictures and its labels | [`models`] |
//! | build a network of your own | [`Network::builder`], [`layers`] |
//! | read and write weights | [`models::weights_file`], [`Weights`] |
//! | see what was chosen for each layer, and what it costs | [`Plan::report`], [`Session::profile`] |
//! | train | [`train::Fit`], or a [`Trainer`] step by step |
//! | make a trained network smaller | [`compress::flatten()`] |
//! | write a backend | [`Backend`], with [`Reference`] as the shortest example |
//! | write a layer | [`layers::Operation`], put into a network as [`Layer::Custom`] |

#![forbid(unsafe_code)]

mod backends;
mod ocl_codec;
mod split;

pub use split::Split;

pub use backends::{BackendEntry, BackendOptions, Error, backend, backend_with, backends};

pub use cnn_core::{
    Backend, CompileOptions, DType, DeviceInfo, Initialization, Layer, Network, NetworkBuilder, Optimizer, Plan,
    PlanReport, Profile, Recipe, Reference, Session, Shape, StepStats, Tensor, Trainer, ValueId, WeightView, Weights,
    backend as interface, layers, network, training, window,
};
pub use cnn_cpu::Cpu;
pub use cnn_ocl::Ocl;
/// The devices of OpenCL, where its library may be, the tuner of its kernels, and codecs of gradients.
pub mod opencl {
    pub use crate::ocl_codec::OclCodec;
    pub use cnn_ocl::device::{Found, LIBRARIES, Traits, devices, find};
    pub use cnn_ocl::ops::convolution_rows;
    pub use cnn_ocl::tuning::{Outcome, Tried, Tuning, tune, write_tuning};
}

/// Smaller networks from trained ones.
pub use cnn_compress as compress;
/// Networks by name, with their pictures, labels and weights.
pub use cnn_models as models;
/// Data sets, the epoch loop, checkpoints and metrics.
pub use cnn_train as train;

/// Errors of networks, weights and backends.
pub use cnn_core::Error as CoreError;
