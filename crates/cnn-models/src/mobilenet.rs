//! MobileNetV2 (Sandler et al. 2018): 3,504,872 parameters, photos of 224x224 pixels, 1,000 classes. Layers are torchvision's.

use cnn_core::layers::{Activation, Add, BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear, Softmax};
use cnn_core::{Network, NetworkBuilder, ValueId};

use crate::Result;
use crate::blocks::{CLASSES, conv_norm};

/// Expansion, output channels, blocks, and stride of the first of them (the paper's table 2).
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

/// `[N, 3, rows, columns]` in; probabilities `[N, 1000]` out.
pub(crate) fn mobilenet_v2([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("mobilenet_v2", [3, rows, columns]);
    let mut x = unit(&mut net, "features.0", Conv2d::new(32, 3).stride(2).padding(1), ValueId::INPUT)?;
    let (mut layer, mut channels) = (1, 32);
    for (expansion, out, blocks, first) in STAGES {
        for place in 0..blocks {
            let stride = if place == 0 { first } else { 1 };
            let block = Block { layer, channels: [channels, expansion * channels, out], stride };
            x = block.build(&mut net, x)?;
            (layer, channels) = (layer + 1, out);
        }
    }
    unit(&mut net, &format!("features.{layer}"), Conv2d::new(1280, 1), x)?;
    net.push("avgpool", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Dropout::new(0.2))?;
    net.push("classifier.1", Linear::new(CLASSES))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// An inverted residual: 1x1 to many channels, 3x3 in each of them, 1x1 back to few without an activation; with a sum behind where the
/// size stays.
struct Block {
    layer: usize,
    /// Of the input, in the middle, and of the output.
    channels: [usize; 3],
    stride: usize,
}

impl Block {
    fn build(&self, net: &mut NetworkBuilder, input: ValueId) -> Result<ValueId> {
        let [narrow, wide, out] = self.channels;
        let mut names = (0..).map(|place| format!("features.{}.conv.{place}", self.layer));
        let mut next = || names.next().unwrap_or_default();
        let mut x = input;
        if wide != narrow {
            x = unit(net, &next(), Conv2d::new(wide, 1), x)?;
        }
        let depthwise = Conv2d::new(wide, 3).stride(self.stride).padding(1).groups(wide);
        x = unit(net, &next(), depthwise, x)?;
        x = conv_norm(net, [&next(), &next()], Conv2d::new(out, 1), BatchNorm2d::new(), x)?;
        if self.stride == 1 && narrow == out {
            x = net.push_with(format!("features.{}.add", self.layer), Add, &[input, x])?;
        }
        Ok(x)
    }
}

/// A convolution with batch normalisation and ReLU6.
fn unit(net: &mut NetworkBuilder, name: &str, conv: Conv2d, input: ValueId) -> Result<ValueId> {
    conv_norm(net, [&format!("{name}.0"), &format!("{name}.1")], conv, BatchNorm2d::new(), input)?;
    Ok(net.push(format!("{name}.2"), Activation::Relu6)?)
}
