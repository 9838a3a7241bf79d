//! GoogLeNet (Szegedy et al. 2014, "Going deeper with convolutions"), as torchvision publishes it: with batch normalisation, 3x3
//! windows where the paper has 5x5, and without the two classifiers on the side, which only training has: 6,624,904 parameters,
//! photos of 224x224 pixels, 1,000 classes.
//!
//! torchvision changes the input from ImageNet's mean and deviation to 0.5 and 0.5 inside the network;
//! [`Preprocess::GOOGLENET`](crate::Preprocess::GOOGLENET) makes it so at once.

use cnn_core::layers::{
    Activation, BatchNorm2d, Concat, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool2d, Softmax,
};
use cnn_core::{Network, NetworkBuilder, ValueId};

use crate::Result;
use crate::blocks::{CLASSES, conv_norm};

/// Starts of the names of what published files hold beside: the classifiers on the side.
pub(crate) const TRAINING_ONLY: &[&str] = &["aux1.", "aux2."];

/// Output channels of an inception module: of the 1x1 convolution; of the 1x1 and the 3x3 behind it, twice; and of the 1x1 behind the
/// pooling.
type Widths = (usize, [usize; 2], [usize; 2], usize);

/// The modules between poolings (the paper's table 1).
const STAGES: [&[(&str, Widths)]; 3] = [
    &[("3a", (64, [96, 128], [16, 32], 32)), ("3b", (128, [128, 192], [32, 96], 64))],
    &[
        ("4a", (192, [96, 208], [16, 48], 64)),
        ("4b", (160, [112, 224], [24, 64], 64)),
        ("4c", (128, [128, 256], [24, 64], 64)),
        ("4d", (112, [144, 288], [32, 64], 64)),
        ("4e", (256, [160, 320], [32, 128], 128)),
    ],
    &[("5a", (256, [160, 320], [32, 128], 128)), ("5b", (384, [192, 384], [48, 128], 128))],
];

/// `[N, 3, rows, columns]` in, 15 each or more; probabilities `[N, 1000]` out.
pub(crate) fn googlenet([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("googlenet", [3, rows, columns]);
    unit(&mut net, "conv1", Conv2d::new(64, 7).stride(2).padding(3), ValueId::INPUT)?;
    let x = net.push("maxpool1", MaxPool2d::new(3).stride(2).ceil())?;
    let x = unit(&mut net, "conv2", Conv2d::new(64, 1), x)?;
    unit(&mut net, "conv3", Conv2d::new(192, 3).padding(1), x)?;
    let mut x = net.push("maxpool2", MaxPool2d::new(3).stride(2).ceil())?;
    let poolings = [Some(MaxPool2d::new(3).stride(2).ceil()), Some(MaxPool2d::new(2).ceil()), None];
    for ((modules, pooling), number) in STAGES.into_iter().zip(poolings).zip(3..) {
        for (name, widths) in modules {
            x = inception(&mut net, &format!("inception{name}"), *widths, x)?;
        }
        if let Some(pooling) = pooling {
            x = net.push(format!("maxpool{number}"), pooling)?;
        }
    }
    net.push("avgpool", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("dropout", Dropout::new(0.2))?;
    net.push("fc", Linear::new(CLASSES))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// Four branches side by side.
fn inception(net: &mut NetworkBuilder, name: &str, widths: Widths, input: ValueId) -> Result<ValueId> {
    let (single, double, second_double, pooled) = widths;
    let mut branches = vec![unit(net, &format!("{name}.branch1"), Conv2d::new(single, 1), input)?];
    for (branch, [reduced, channels]) in [(2, double), (3, second_double)] {
        let x = unit(net, &format!("{name}.branch{branch}.0"), Conv2d::new(reduced, 1), input)?;
        branches.push(unit(net, &format!("{name}.branch{branch}.1"), Conv2d::new(channels, 3).padding(1), x)?);
    }
    let pool = MaxPool2d::new(3).stride(1).padding(1);
    let x = net.push_with(format!("{name}.branch4.0"), pool, &[input])?;
    branches.push(unit(net, &format!("{name}.branch4.1"), Conv2d::new(pooled, 1), x)?);
    Ok(net.push_with(format!("{name}.concat"), Concat, &branches)?)
}

/// A convolution with batch normalisation and ReLU.
fn unit(net: &mut NetworkBuilder, name: &str, conv: Conv2d, input: ValueId) -> Result<ValueId> {
    let norm = BatchNorm2d { epsilon: 1e-3, ..BatchNorm2d::new() };
    conv_norm(net, [&format!("{name}.conv"), &format!("{name}.bn")], conv, norm, input)?;
    Ok(net.push(format!("{name}.relu"), Activation::Relu)?)
}
