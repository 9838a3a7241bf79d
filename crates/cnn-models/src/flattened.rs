//! The networks of "Flattened convolutional neural networks for feedforward acceleration" (Jin, Dundar and Culurciello 2015,
//! section 4): three convolutions of 5x5 with 96, 128 and 256 channels, each with ReLU and maximum pooling, and two fully connected
//! layers of 256; their twin, whose second and third convolutions are flattened; and one that has all three flattened, for the
//! filters of the paper's figure 4.
//!
//! The paper has pooling "with sizes of 2 and strides of 3"; the network that it takes over from Srivastava and Salakhutdinov
//! (2013) has windows of 3 and strides of 2, which is what is built here. The five dropouts (0.1, 0.25, 0.25, 0.5, 0.5)
//! follow the five layers. The twin's weights want to start as Glorot and Bengio (2010) have it: with more, six linear layers in a row
//! amplify. The baseline's start as LeCun et al. (1998) have it, as the paper's best one did (section 4.2).

use cnn_core::layers::{Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Softmax};
use cnn_core::network::FlattenedConv;
use cnn_core::{Network, NetworkBuilder};

use crate::Result;

/// The baseline for colour pictures: `[N, 3, 32, 32]` in, probabilities `[N, 10]` out.
pub fn baseline_cifar() -> Result<Network> {
    build("baseline-cifar", [3, 32, 32], [dense, dense, dense])
}

/// Its flattened twin.
pub fn flattened_cifar() -> Result<Network> {
    build("flattened-cifar", [3, 32, 32], [dense, flattened, flattened])
}

/// The baseline for digits: `[N, 1, 28, 28]` in, probabilities `[N, 10]` out.
pub fn baseline_mnist() -> Result<Network> {
    build("baseline-mnist", [1, 28, 28], [dense, dense, dense])
}

/// Its flattened twin.
pub fn flattened_mnist() -> Result<Network> {
    build("flattened-mnist", [1, 28, 28], [dense, flattened, flattened])
}

/// For colour pictures with all three convolutions flattened.
pub fn flattened_all_cifar() -> Result<Network> {
    build("flattened-all-cifar", [3, 32, 32], [flattened, flattened, flattened])
}

/// For digits with all three convolutions flattened.
pub fn flattened_all_mnist() -> Result<Network> {
    build("flattened-all-mnist", [1, 28, 28], [flattened, flattened, flattened])
}

type Convolution = fn(&mut NetworkBuilder, &str, usize) -> Result<()>;

fn dense(net: &mut NetworkBuilder, name: &str, channels: usize) -> Result<()> {
    net.push(name, Conv2d::new(channels, 5).padding(2))?;
    Ok(())
}

fn flattened(net: &mut NetworkBuilder, name: &str, channels: usize) -> Result<()> {
    net.flattened_conv(name, &FlattenedConv::new(channels, 5))?;
    Ok(())
}

/// The twin's first convolution is dense: its input has few channels, so that flattening would save nothing (section 4.3).
fn build(name: &str, input: [usize; 3], convolutions: [Convolution; 3]) -> Result<Network> {
    let mut net = Network::builder(name, input);
    let layers = convolutions.into_iter().zip([(96, 0.1), (128, 0.25), (256, 0.25)]);
    for ((convolution, (channels, dropout)), number) in layers.zip(1..) {
        convolution(&mut net, &format!("conv{number}"), channels)?;
        net.push(format!("relu{number}"), Activation::Relu)?;
        net.push(format!("pool{number}"), MaxPool2d::new(3).stride(2))?;
        net.push(format!("dropout{number}"), Dropout::new(dropout))?;
    }
    net.push("flatten", Flatten)?;
    for number in [4, 5] {
        net.push(format!("fc{number}"), Linear::new(256))?;
        net.push(format!("relu{number}"), Activation::Relu)?;
        net.push(format!("dropout{number}"), Dropout::new(0.5))?;
    }
    net.push("fc6", Linear::new(10))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights of a layer or of the one-dimensional ones that it became, without biases.
    fn weights(network: &Network, layer: &str) -> usize {
        let of_layer = |name: &str| name.split('.').next() == Some(layer) && name.ends_with("weight");
        network.parameters().filter(|p| of_layer(&p.name)).map(|p| p.shape.elements()).sum()
    }

    #[test]
    fn convolutions_have_the_papers_parameters() {
        let (baseline, twin) = (baseline_cifar().unwrap(), flattened_cifar().unwrap());
        assert_eq!(["conv1", "conv2", "conv3"].map(|layer| weights(&baseline, layer)), [7_200, 307_200, 819_200]);
        assert_eq!(["conv1", "conv2", "conv3"].map(|layer| weights(&twin, layer)), [7_200, 31_232, 103_424]);
        assert_eq!(weights(&flattened_all_cifar().unwrap(), "conv1"), 96 * (96 + 3 + 20));
        assert_eq!(weights(&flattened_all_mnist().unwrap(), "conv1"), 96 * (96 + 1 + 20));
        assert_eq!(weights(&baseline_mnist().unwrap(), "conv1"), 2_400);
        assert_eq!(["fc4", "fc6"].map(|layer| weights(&baseline, layer)), [256 * 9 * 256, 2_560]);
        assert_eq!(["fc4", "fc6"].map(|layer| weights(&flattened_mnist().unwrap(), layer)), [256 * 4 * 256, 2_560]);
    }
}
