//! AlexNet (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", section 5: on one tower, without
//! local response normalisation): 61,100,840 parameters, photos of 224x224 pixels, 1,000 classes. Layers are torchvision's.

use cnn_core::Network;
use cnn_core::layers::{Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Softmax};

use crate::Result;
use crate::blocks::{CLASSES, adaptive_mean};

/// `[N, 3, rows, columns]` in, 63 each or more; probabilities `[N, 1000]` out.
pub(crate) fn alexnet([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("alexnet", [3, rows, columns]);
    net.push("features.0", Conv2d::new(64, 11).stride(4).padding(2))?;
    net.push("features.1", Activation::Relu)?;
    net.push("features.2", MaxPool2d::new(3).stride(2))?;
    net.push("features.3", Conv2d::new(192, 5).padding(2))?;
    net.push("features.4", Activation::Relu)?;
    net.push("features.5", MaxPool2d::new(3).stride(2))?;
    for (place, channels) in [(6, 384), (8, 256), (10, 256)] {
        net.push(format!("features.{place}"), Conv2d::new(channels, 3).padding(1))?;
        net.push(format!("features.{}", place + 1), Activation::Relu)?;
    }
    let x = net.push("features.12", MaxPool2d::new(3).stride(2))?;
    adaptive_mean(&mut net, "avgpool", [6, 6], x)?;
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Dropout::new(0.5))?;
    net.push("classifier.1", Linear::new(4096))?;
    net.push("classifier.2", Activation::Relu)?;
    net.push("classifier.3", Dropout::new(0.5))?;
    net.push("classifier.4", Linear::new(4096))?;
    net.push("classifier.5", Activation::Relu)?;
    net.push("classifier.6", Linear::new(CLASSES))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}
