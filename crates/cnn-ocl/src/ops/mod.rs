//! The kernels, each beside its host code.

mod channels;
pub mod conv2d;
mod convert;
mod elementwise;
mod linear;
mod pool;
pub(crate) mod tiles;

use cnn_core::layers::Activation;
use cnn_core::lowering::Layout;
use cnn_core::{Layer, Misfit, Result, Shape};

use crate::driver::Driver;
use crate::kernel::Kernel;

pub(crate) use convert::Convert;
pub(crate) use linear::{LinearKernel, NAME as LINEAR};

/// The kernel of a layer without a table, and the layouts in which it reads and writes.
pub(crate) struct Simple {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) layout: Layout,
    pub(crate) name: &'static str,
}

/// The kernel of any layer but convolution and the fully connected; nothing for a user's own. `layout` is how its inputs lie;
/// kernels that know one layout alone ask for that.
pub(crate) fn simple(
    driver: &Driver,
    layer: &Layer,
    inputs: &[&Shape],
    (layout, activation): (Layout, Option<Activation>),
    parameters: &[&[f32]],
) -> Result<Option<Simple>, Failure> {
    let made = |kernel: Box<dyn Kernel>, layout, name| Ok(Some(Simple { kernel, layout, name }));
    let shape = inputs[0];
    match layer {
        Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool(_) => {
            match pool::Pool::new(layer, shape, layout) {
                Some(pool) => made(Box::new(pool?), layout, "pool"),
                None => Ok(None),
            }
        }
        Layer::Activation(function) => {
            made(Box::new(elementwise::Apply::new(shape, layout, *function)), layout, "elementwise/apply")
        }
        Layer::Add(_) => made(Box::new(elementwise::Add::new(inputs, layout, activation)), layout, "elementwise/add"),
        Layer::BatchNorm2d(norm) => {
            let parameters = [parameters[0], parameters[1], parameters[2], parameters[3]];
            let scale = elementwise::Scale::new(driver, norm, (shape, layout), parameters, activation)?;
            made(Box::new(scale), layout, "elementwise/scale")
        }
        Layer::Prelu(_) => {
            let prelu = elementwise::Prelu::new(driver, (shape, layout), parameters[0])?;
            made(Box::new(prelu), layout, "elementwise/prelu")
        }
        Layer::Concat(_) => made(Box::new(elementwise::Concat::new(inputs)), Layout::Planar, "copy"),
        Layer::Flatten(_) | Layer::Dropout(_) => {
            made(Box::new(elementwise::Concat::new(&inputs[..1])), Layout::Planar, "copy")
        }
        Layer::Softmax(_) => made(Box::new(channels::Softmax::new(shape)), Layout::Planar, "channels/softmax"),
        Layer::LocalResponseNorm(norm) => {
            made(Box::new(channels::Lrn::new(shape, norm)), Layout::Planar, "channels/local_response_norm")
        }
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::Custom(_) => Ok(None),
    }
}

/// Why a kernel cannot be had.
pub(crate) enum Failure {
    Misfit(Misfit),
    Error(cnn_core::Error),
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        Failure::Misfit(misfit)
    }
}

impl From<cnn_core::Error> for Failure {
    fn from(error: cnn_core::Error) -> Self {
        Failure::Error(error)
    }
}

/// Floats of a vector.
pub(crate) fn lanes_of(layout: Layout) -> usize {
    match layout {
        Layout::Planar => 1,
        Layout::Blocked { lanes } => lanes,
    }
}

/// What the prelude calls an activation, and its parameter.
pub(crate) fn activation_code(activation: Option<Activation>) -> (i64, f32) {
    match activation {
        None => (0, 0.0),
        Some(Activation::Relu) => (1, 0.0),
        Some(Activation::LeakyRelu { slope }) => (2, slope),
        Some(Activation::Elu { alpha }) => (3, alpha),
        Some(Activation::Sigmoid) => (4, 0.0),
        Some(Activation::Tanh) => (5, 0.0),
        Some(Activation::Relu6) => (6, 0.0),
    }
}

/// Names of the rows of the convolution table, of which the last takes anything.
pub fn convolution_rows() -> Vec<&'static str> {
    conv2d::TABLE.iter().map(|row| row.name()).collect()
}

/// Names of the rows that a caller may ask for.
pub fn algorithm_names() -> Vec<String> {
    let conv = conv2d::TABLE.iter().map(|row| format!("conv2d/{}", row.name()));
    conv.chain([conv2d::flattened::NAME, linear::NAME].map(String::from)).collect()
}
