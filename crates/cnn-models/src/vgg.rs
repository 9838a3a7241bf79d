//! VGG-16 (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
//! configuration D): 138,357,544 parameters, photos of 224x224 pixels, 1,000 classes; and a small network in its manner.
//!
//! Layers are numbered as torchvision numbers them, so that its published weights fit. Its adaptive pooling to 7x7 is
//! left out: on 224x224 pixels it changes nothing.

use cnn_core::Network;
use cnn_core::layers::{Activation, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Softmax};

use crate::Result;

/// Output channels of the 3x3 convolutions, block by block; a pooling ends each block.
const BLOCKS: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// VGG-16: `[N, 3, 224, 224]` in, probabilities `[N, 1000]` out.
pub fn vgg16() -> Result<Network> {
    let mut net = Network::builder("vgg16", [3, 224, 224]);
    let mut names = (0..).map(|index| format!("features.{index}"));
    let mut next = || names.next().unwrap_or_default();
    for block in BLOCKS {
        for &channels in block {
            net.push(next(), Conv2d::new(channels, 3).padding(1))?;
            net.push(next(), Activation::Relu)?;
        }
        net.push(next(), MaxPool2d::new(2))?;
    }
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Linear::new(4096))?;
    net.push("classifier.1", Activation::Relu)?;
    net.push("classifier.2", Dropout::new(0.5))?;
    net.push("classifier.3", Linear::new(4096))?;
    net.push("classifier.4", Activation::Relu)?;
    net.push("classifier.5", Dropout::new(0.5))?;
    net.push("classifier.6", Linear::new(1000))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// VGG in small, for pictures of the size of digits: eight convolutions of 3x3 in pairs of 32 to 256 channels, each with batch
/// normalisation (Ioffe and Szegedy 2015), and one fully connected layer. 1,183,914 parameters, `[N, 1, 32, 32]` in,
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
