//! The layer that the paper times, dense and flattened: 128 to 128 channels by 5x5, in two stages of one-dimensional filters.

use clap::ValueEnum;
use cnn::layers::{Conv2d, Flatten, GlobalAvgPool, Linear};
use cnn::network::FlattenedConv;
use cnn::{CoreError, Initialization, Network, NetworkBuilder, Tensor, Weights};

pub(super) const CHANNELS: usize = 128;
pub(super) const KERNEL: usize = 5;
const CLASSES: usize = 10;
/// The layer's name; the first part of those of the layers that it became.
pub(super) const NAME: &str = "conv";

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Dense,
    Flattened,
}

impl Kind {
    pub(super) const BOTH: [Kind; 2] = [Kind::Dense, Kind::Flattened];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Dense => "dense",
            Kind::Flattened => "flattened",
        }
    }

    fn push(self, net: &mut NetworkBuilder, out_channels: usize) -> Result<(), CoreError> {
        match self {
            Kind::Dense => net.push(NAME, Conv2d::new(out_channels, KERNEL).padding(KERNEL / 2))?,
            Kind::Flattened => net.flattened_conv(NAME, &FlattenedConv::new(out_channels, KERNEL))?,
        };
        Ok(())
    }

    /// Nothing but the layer, on images of this size.
    pub(super) fn alone(self, out_channels: usize, size: usize) -> Result<Network, CoreError> {
        let mut net = Network::builder(self.name(), [CHANNELS, size, size]);
        self.push(&mut net, out_channels)?;
        net.finish()
    }

    /// The layer between one that learns a factor for each channel, so that it has to hand gradients down, and the smallest
    /// classifier.
    pub(super) fn in_classifier(self, size: usize) -> Result<Network, CoreError> {
        let mut net = Network::builder(self.name(), [CHANNELS, size, size]);
        net.push("factors", Conv2d::new(CHANNELS, 1).groups(CHANNELS))?;
        self.push(&mut net, CHANNELS)?;
        net.push("pool", GlobalAvgPool)?;
        net.push("flatten", Flatten)?;
        net.push("fc", Linear::new(CLASSES))?;
        net.finish()
    }
}

/// Weights that keep values of one size through six linear layers.
pub(super) fn weights(network: &Network) -> Result<Weights, CoreError> {
    Weights::initial(network, 1, Initialization::Glorot)
}

/// Numbers of weights, without biases.
pub(super) fn weight_count(network: &Network) -> usize {
    network.parameters().filter(|p| p.name.ends_with(".weight")).map(|p| p.shape.elements()).sum()
}

/// Noise in [-1, 1).
pub(super) fn images(batch: usize, size: usize) -> Result<Tensor, CoreError> {
    let mut images = Tensor::zeros([batch, CHANNELS, size, size])?;
    for (i, value) in images.as_f32_mut()?.iter_mut().enumerate() {
        *value = (i as u32).wrapping_mul(0x9e37_79b9) as f32 / (1u32 << 31) as f32 - 1.0;
    }
    Ok(images)
}

pub(super) fn labels(batch: usize) -> Vec<u32> {
    (0..batch).map(|i| (i % CLASSES) as u32).collect()
}
