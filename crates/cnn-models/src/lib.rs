//! Networks of the `cnn` library, and the ways between files and tensors: weight files, pictures, labels.
//!
//! | part | does |
//! |---|---|
//! | [`find`], [`models`] | a name to a [`Model`]: its network, preprocessing, labels and weights |
//! | [`Preprocess`] | a PNG or JPEG picture to the network's input |
//! | [`Labels`] | the network's output to the names of the most probable classes |
//! | [`weights_file`] | safetensors files to [`cnn_core::Weights`] and back |
//! | [`onnx`] | ONNX files to networks and weights |
//! | [`npy`] | NumPy's array files to tensors and back |
//! | [`digits()`] | ten pictures to try it with |
//!
//! The whole road, on the plain loops of `cnn-core`; another backend changes one line:
//!
//! ```
//! use cnn_core::{Backend, CompileOptions, Reference};
//!
//! let model = cnn_models::find("lenet5")?;
//! let weights = model.shipped_weights().ok_or("no weights come with this model")??;
//! let plan = Reference::new().compile(&model.network()?, &weights, &CompileOptions::default())?;
//!
//! let (class, picture) = cnn_models::digits()[3];
//! let input = model.preprocess().bytes(picture)?;
//! let probabilities = plan.session()?.run(&input)?;
//! let best = &model.labels().top_k(&probabilities, 3)?[0][0];
//! assert_eq!(best.class, class);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Bytes from outside (weights, pictures) meet checked arithmetic and limits; what is wrong with them is an [`Error`]
//! that names the file.

// One function maps files into memory, and allows it for itself.
#![deny(unsafe_code)]

mod alexnet;
mod blocks;
mod dense;
mod digits;
mod error;
mod flattened;
mod googlenet;
mod labels;
mod lenet;
mod mobilenet;
mod nin;
mod preprocess;
mod registry;
mod resnet;
mod squeezenet;
mod vgg;
mod xception;

pub mod npy;
pub mod onnx;
pub mod weights_file;

pub use digits::digits;
pub use error::{Error, Result};
pub use flattened::{
    baseline_cifar, baseline_mnist, flattened_all_cifar, flattened_all_mnist, flattened_cifar, flattened_mnist,
};
pub use labels::{Labels, Prediction};
pub use lenet::{lenet5, lenet5_original};
pub use preprocess::{Digit, Interpolation, Normalization, Photo, Pixels, Preprocess};
pub use registry::{Model, find, models};
pub use vgg::{vgg8, vgg16};
