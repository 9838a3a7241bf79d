//! The operations, each as data with its shapes, its FLOPs and the plain loops that define it, forward and backward.
//!
//! One file a layer. The loops are the definition: they sum in `f64`, round once, and are as short as they can be.
//! Whatever is fast lives in a backend and is checked against them.

/// The settings that every layer with a `window: Window` shares.
macro_rules! window_settings {
    () => {
        /// Sets the steps between windows.
        pub fn stride(mut self, stride: impl Into<crate::window::Extent>) -> Self {
            self.window.stride = stride.into().0;
            self
        }

        /// Sets the border around the input.
        pub fn padding(mut self, padding: impl Into<crate::window::Padding>) -> Self {
            self.window.padding = padding.into();
            self
        }
    };
}

/// The setting that layers share whose windows may be dilated.
macro_rules! dilation_setting {
    () => {
        /// Sets the distance between the kernel's taps.
        pub fn dilation(mut self, dilation: impl Into<crate::window::Extent>) -> Self {
            self.window.dilation = dilation.into().0;
            self
        }
    };
}

/// The settings that pooling layers share: `window: Window` and `rounding: Rounding`.
macro_rules! pool_settings {
    () => {
        window_settings!();

        /// Keeps a last window that hangs over the edge.
        pub fn ceil(mut self) -> Self {
            self.rounding = Rounding::Ceil;
            self
        }
    };
}

mod activation;
mod add;
mod avg_pool;
mod batch_norm;
mod binary;
mod concat;
mod constant;
mod conv2d;
mod dropout;
mod flatten;
mod global_avg_pool;
mod linear;
mod local_contrast_norm;
mod local_response_norm;
mod locally_connected2d;
mod log_softmax;
mod lp_pool;
mod mat_mul;
mod max_pool;
mod mixed_pool;
mod operation;
mod prelu;
mod reduce;
mod resample;
mod rrelu;
mod softmax;
mod spatial_pyramid_pool;
mod spectral_pool;
mod stochastic_pool;
mod strided_view;
#[cfg(test)]
mod trial;
mod unary;

use std::sync::Arc;

pub use activation::Activation;
pub use add::Add;
pub use avg_pool::AvgPool2d;
pub use batch_norm::BatchNorm2d;
pub use binary::{Binary, Where};
pub use concat::Concat;
pub use constant::Constant;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub(crate) use dropout::counted_from;
pub use flatten::Flatten;
pub use global_avg_pool::GlobalAvgPool;
pub use linear::Linear;
pub use local_contrast_norm::LocalContrastNorm;
pub use local_response_norm::LocalResponseNorm;
pub use locally_connected2d::LocallyConnected2d;
pub use log_softmax::LogSoftmax;
pub use lp_pool::LpPool2d;
pub use mat_mul::MatMul;
pub use max_pool::MaxPool2d;
pub use mixed_pool::MixedPool2d;
pub use operation::{Call, Gradients, Init, Mode, Operation, Parameter, Role, View};
pub use prelu::Prelu;
pub use reduce::{Reduce, Reduction};
pub use resample::Resample;
pub use rrelu::Rrelu;
pub use softmax::Softmax;
pub use spatial_pyramid_pool::SpatialPyramidPool;
pub use spectral_pool::SpectralPool2d;
pub use stochastic_pool::StochasticPool2d;
pub use strided_view::StridedView;
pub use unary::Unary;

use operation::{image, only_input};

/// One operation of a network. Closed, so that the compiler lists the places to visit when a layer is added; a
/// user's own operation is [`Layer::Custom`], which every backend runs on its own loops.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Two-dimensional convolution.
    Conv2d(Conv2d),
    /// Fully connected.
    Linear(Linear),
    /// Maximum over windows.
    MaxPool2d(MaxPool2d),
    /// Mean over windows.
    AvgPool2d(AvgPool2d),
    /// Mean over each channel's plane.
    GlobalAvgPool(GlobalAvgPool),
    /// Batch normalisation per channel.
    BatchNorm2d(BatchNorm2d),
    /// Local response normalisation across channels.
    LocalResponseNorm(LocalResponseNorm),
    /// Dropout.
    Dropout(Dropout),
    /// Image to vector.
    Flatten(Flatten),
    /// Sum of equal shapes.
    Add(Add),
    /// Channels of several inputs one after the other.
    Concat(Concat),
    /// Softmax over channels.
    Softmax(Softmax),
    /// An elementwise function without parameters.
    Activation(Activation),
    /// Leaky ReLU with learned slopes.
    Prelu(Prelu),
    /// An operation written by the user.
    Custom(Arc<dyn Operation>),
}

impl Layer {
    /// The operation behind the variant.
    pub fn operation(&self) -> &dyn Operation {
        match self {
            Layer::Conv2d(l) => l,
            Layer::Linear(l) => l,
            Layer::MaxPool2d(l) => l,
            Layer::AvgPool2d(l) => l,
            Layer::GlobalAvgPool(l) => l,
            Layer::BatchNorm2d(l) => l,
            Layer::LocalResponseNorm(l) => l,
            Layer::Dropout(l) => l,
            Layer::Flatten(l) => l,
            Layer::Add(l) => l,
            Layer::Concat(l) => l,
            Layer::Softmax(l) => l,
            Layer::Activation(l) => l,
            Layer::Prelu(l) => l,
            Layer::Custom(l) => l.as_ref(),
        }
    }
}

macro_rules! layer_from {
    ($($layer:ident),*) => {$(
        impl From<$layer> for Layer {
            fn from(layer: $layer) -> Self {
                Layer::$layer(layer)
            }
        }
    )*};
}
layer_from!(
    Conv2d,
    Linear,
    MaxPool2d,
    AvgPool2d,
    GlobalAvgPool,
    BatchNorm2d,
    LocalResponseNorm,
    Dropout,
    Flatten,
    Add,
    Concat,
    Softmax,
    Activation,
    Prelu
);

/// Layers without a variant of their own: what imported networks need beside the others, and what few networks have. Every
/// backend runs them on their plain loops.
macro_rules! custom_layer_from {
    ($($layer:ident),*) => {$(
        impl From<$layer> for Layer {
            fn from(layer: $layer) -> Self {
                Layer::Custom(Arc::new(layer))
            }
        }
    )*};
}
custom_layer_from!(
    Binary,
    Constant,
    LocalContrastNorm,
    LocallyConnected2d,
    LogSoftmax,
    LpPool2d,
    MatMul,
    MixedPool2d,
    Reduce,
    Resample,
    Rrelu,
    SpatialPyramidPool,
    SpectralPool2d,
    StochasticPool2d,
    StridedView,
    Unary,
    Where
);
