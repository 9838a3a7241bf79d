//! VGG (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", configurations A, B, D
//! and E), with batch normalisation (Ioffe and Szegedy 2015) or without, for photos of 224x224 pixels and 1,000 classes; and a small
//! network in its manner.
//!
//! Layers are numbered as torchvision numbers them, so that its published weights fit. Its adaptive pooling to 7x7 is there for
//! pictures of other sizes only: on 224x224 pixels it changes nothing.

use cnn_core::layers::{Activation, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Softmax};
use cnn_core::{Network, ValueId};

use crate::Result;
use crate::blocks::{CLASSES, adaptive_mean};

/// One of the networks for ImageNet.
pub(crate) struct Configuration {
    name: &'static str,
    /// Convolutions of each block; a pooling ends it.
    depths: [usize; 5],
    norm: bool,
}

const fn configuration(name: &'static str, depths: [usize; 5], norm: bool) -> Configuration {
    Configuration { name, depths, norm }
}

pub(crate) const VGG11: Configuration = configuration("vgg11", [1, 1, 2, 2, 2], false);
pub(crate) const VGG11_BN: Configuration = configuration("vgg11_bn", [1, 1, 2, 2, 2], true);
pub(crate) const VGG13: Configuration = configuration("vgg13", [2, 2, 2, 2, 2], false);
pub(crate) const VGG13_BN: Configuration = configuration("vgg13_bn", [2, 2, 2, 2, 2], true);
pub(crate) const VGG16: Configuration = configuration("vgg16", [2, 2, 3, 3, 3], false);
pub(crate) const VGG16_BN: Configuration = configuration("vgg16_bn", [2, 2, 3, 3, 3], true);
pub(crate) const VGG19: Configuration = configuration("vgg19", [2, 2, 4, 4, 4], false);
pub(crate) const VGG19_BN: Configuration = configuration("vgg19_bn", [2, 2, 4, 4, 4], true);

/// VGG-16 without batch normalisation: `[N, 3, 224, 224]` in, probabilities `[N, 1000]` out.
pub fn vgg16() -> Result<Network> {
    vgg(&VGG16, [224, 224])
}

/// `[N, 3, rows, columns]` in, 32 each or more; probabilities `[N, 1000]` out.
pub(crate) fn vgg(configuration: &Configuration, [rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder(configuration.name, [3, rows, columns]);
    let mut names = (0..).map(|index| format!("features.{index}"));
    let mut next = || names.next().unwrap_or_default();
    let mut x = ValueId::INPUT;
    for (depth, channels) in configuration.depths.into_iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..depth {
            net.push(next(), Conv2d::new(channels, 3).padding(1))?;
            if configuration.norm {
                net.push(next(), BatchNorm2d::new())?;
            }
            net.push(next(), Activation::Relu)?;
        }
        x = net.push(next(), MaxPool2d::new(2))?;
    }
    adaptive_mean(&mut net, "avgpool", [7, 7], x)?;
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Linear::new(4096))?;
    net.push("classifier.1", Activation::Relu)?;
    net.push("classifier.2", Dropout::new(0.5))?;
    net.push("classifier.3", Linear::new(4096))?;
    net.push("classifier.4", Activation::Relu)?;
    net.push("classifier.5", Dropout::new(0.5))?;
    net.push("classifier.6", Linear::new(CLASSES))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// VGG in small, for pictures of the size of digits: eight convolutions of 3x3 in pairs of 32 to 256 channels, each with batch
/// normalisation, and one fully connected layer. 1,183,914 parameters, `[N, 1, 32, 32]` in,
/// probabilities `[N, 10]` out.
pub fn vgg8() -> Result<Network> {
    let mut net = Network::builder("vgg8", [1, 32, 32]);
    let mut names = (0..).map(|index| format!("features.{index}"));
    let mut next = || names.next().unwrap_or_default();
    for channels in [32, 64, 128, 256] {
        for _ in 0..2 {
            net.push(next(), Conv2d::new(channels, 3).padding(1).without_bias())?;
            net.push(next(), BatchNorm2d::new())?;
            net.push(next(), Activation::Relu)?;
        }
        net.push(next(), MaxPool2d::new(2))?;
    }
    net.push("flatten", Flatten)?;
    net.push("classifier", Linear::new(10))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_published_count_and_places() {
        let network = vgg16().unwrap();
        assert_eq!(network.parameter_count(), 138_357_544);
        let layer = |name: &str| network.nodes().iter().position(|n| n.name == name).unwrap();
        let convolutions: Vec<&str> = network
            .nodes()
            .iter()
            .filter(|n| n.layer.operation().kind() == "Conv2d")
            .map(|n| n.name.trim_start_matches("features."))
            .collect();
        assert_eq!(convolutions, ["0", "2", "5", "7", "10", "12", "14", "17", "19", "21", "24", "26", "28"]);
        assert_eq!(network.shape(network.output_of(layer("features.30")))[..], [512, 7, 7]);
        let linear: Vec<String> = ["classifier.0", "classifier.3", "classifier.6"]
            .map(|name| network.parameters_of(layer(name))[0].shape.to_string())
            .to_vec();
        assert_eq!(linear, ["[4096, 25088]", "[4096, 4096]", "[1000, 4096]"]);
    }

    #[test]
    fn work_is_that_of_the_paper() {
        // 15.47 thousand million multiply-adds.
        let flops = vgg16().unwrap().flops();
        assert!((30_900_000_000..31_100_000_000).contains(&flops), "{flops}");
    }
}
