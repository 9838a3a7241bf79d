//! Network in network (Lin, Chen and Yan 2013): each convolution is followed by a perceptron at every place, that is by
//! convolutions of 1x1, and the classes are means over the last maps.
//!
//! Layers are called as in the authors' Caffe models: `cccp` are the perceptrons. The network for ImageNet is the one that they
//! published beside the paper: 7,595,176 parameters; the one for CIFAR-10 is that of the paper's section 4: 966,986.
//! Caffe's networks take blue first and no deviation; [`Preprocess::NIN`](crate::Preprocess::NIN) takes red first, so that the input
//! channels of `conv1` have to be turned around where weights come from Caffe.

use cnn_core::layers::{Activation, AvgPool2d, Conv2d, Dropout, Flatten, GlobalAvgPool, MaxPool2d, Softmax};
use cnn_core::{Network, NetworkBuilder};

use crate::Result;
use crate::blocks::CLASSES;

/// `[N, 3, rows, columns]` in, 51 each or more; probabilities `[N, 1000]` out.
pub(crate) fn nin([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("nin", [3, rows, columns]);
    block(&mut net, Conv2d::new(96, 11).stride(4), ["conv1", "cccp1", "cccp2"], [96, 96])?;
    net.push("pool0", MaxPool2d::new(3).stride(2).ceil())?;
    block(&mut net, Conv2d::new(256, 5).padding(2), ["conv2", "cccp3", "cccp4"], [256, 256])?;
    net.push("pool2", MaxPool2d::new(3).stride(2).ceil())?;
    block(&mut net, Conv2d::new(384, 3).padding(1), ["conv3", "cccp5", "cccp6"], [384, 384])?;
    net.push("pool3", MaxPool2d::new(3).stride(2).ceil())?;
    net.push("drop", Dropout::new(0.5))?;
    let names = ["conv4-1024", "cccp7-1024", "cccp8-1024"];
    block(&mut net, Conv2d::new(1024, 3).padding(1), names, [1024, CLASSES])?;
    classes(net)
}

/// `[N, 3, rows, columns]` in; probabilities `[N, 10]` out.
pub(crate) fn nin_cifar([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("nin-cifar", [3, rows, columns]);
    block(&mut net, Conv2d::new(192, 5).padding(2), ["conv1", "cccp1", "cccp2"], [160, 96])?;
    net.push("pool1", MaxPool2d::new(3).stride(2).ceil())?;
    net.push("drop3", Dropout::new(0.5))?;
    block(&mut net, Conv2d::new(192, 5).padding(2), ["conv2", "cccp3", "cccp4"], [192, 192])?;
    net.push("pool2", AvgPool2d::new(3).stride(2).ceil())?;
    net.push("drop6", Dropout::new(0.5))?;
    block(&mut net, Conv2d::new(192, 3).padding(1), ["conv3", "cccp5", "cccp6"], [192, 10])?;
    classes(net)
}

/// A convolution and a perceptron of two layers at each of its places.
fn block(net: &mut NetworkBuilder, conv: Conv2d, names: [&str; 3], widths: [usize; 2]) -> Result<()> {
    let convolutions = [conv, Conv2d::new(widths[0], 1), Conv2d::new(widths[1], 1)];
    for (name, conv) in names.into_iter().zip(convolutions) {
        net.push(name, conv)?;
        net.push(format!("{name}.relu"), Activation::Relu)?;
    }
    Ok(())
}

fn classes(mut net: NetworkBuilder) -> Result<Network> {
    net.push("pool4", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}
