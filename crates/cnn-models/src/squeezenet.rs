//! SqueezeNet 1.1 (Iandola et al. 2016, and the authors' later release with less work): 1,235,496 parameters, photos of 224x224
//! pixels, 1,000 classes. Layers are torchvision's.

use cnn_core::layers::{Activation, Concat, Conv2d, Dropout, Flatten, GlobalAvgPool, MaxPool2d, Softmax};
use cnn_core::{Network, NetworkBuilder, ValueId};

use crate::Result;
use crate::blocks::CLASSES;

/// Number of the layer and output channels of a fire module: squeezed, and of each of the two that expand.
type Fire = (usize, usize, usize);

/// The modules between poolings.
const STAGES: [&[Fire]; 3] = [
    &[(3, 16, 64), (4, 16, 64)],
    &[(6, 32, 128), (7, 32, 128)],
    &[(9, 48, 192), (10, 48, 192), (11, 64, 256), (12, 64, 256)],
];

/// `[N, 3, rows, columns]` in, 17 each or more; probabilities `[N, 1000]` out.
pub(crate) fn squeezenet1_1([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("squeezenet1_1", [3, rows, columns]);
    net.push("features.0", Conv2d::new(64, 3).stride(2))?;
    net.push("features.1", Activation::Relu)?;
    for (stage, pooling) in STAGES.into_iter().zip([2, 5, 8]) {
        let mut x = net.push(format!("features.{pooling}"), MaxPool2d::new(3).stride(2).ceil())?;
        for &module in stage {
            x = fire(&mut net, module, x)?;
        }
    }
    net.push("classifier.0", Dropout::new(0.5))?;
    net.push("classifier.1", Conv2d::new(CLASSES, 1))?;
    net.push("classifier.2", Activation::Relu)?;
    net.push("classifier.3", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// A convolution of 1x1 to few channels, then convolutions of 1x1 and 3x3 side by side.
fn fire(net: &mut NetworkBuilder, (layer, squeezed, expanded): Fire, input: ValueId) -> Result<ValueId> {
    let name = |part: &str| format!("features.{layer}.{part}");
    net.push_with(name("squeeze"), Conv2d::new(squeezed, 1), &[input])?;
    let x = net.push(name("squeeze_activation"), Activation::Relu)?;
    net.push_with(name("expand1x1"), Conv2d::new(expanded, 1), &[x])?;
    let left = net.push(name("expand1x1_activation"), Activation::Relu)?;
    net.push_with(name("expand3x3"), Conv2d::new(expanded, 3).padding(1), &[x])?;
    let right = net.push(name("expand3x3_activation"), Activation::Relu)?;
    Ok(net.push_with(name("concat"), Concat, &[left, right])?)
}
