//! Residual networks (He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition"): ResNet-18 to ResNet-152 for
//! photos of 224x224 pixels and 1,000 classes, as torchvision publishes them (in blocks of three convolutions the middle one has
//! the stride), and the paper's ResNet-20 for CIFAR-10.
//!
//! Where a block changes the size of its value, the large networks bring its input to the new size by a convolution (the paper's
//! option B), the small one takes every second pixel and channels of zeros (option A). Those channels are a custom layer, which runs
//! on its plain loops; it moves 32 KiB at the most.

use cnn_core::layers::{
    Activation, Add, AvgPool2d, BatchNorm2d, Conv2d, Flatten, GlobalAvgPool, Linear, MaxPool2d, Resample, Softmax,
};
use cnn_core::{Network, NetworkBuilder, ValueId};

use crate::Result;
use crate::blocks::{CLASSES, conv_norm};

/// One of the networks for ImageNet.
pub(crate) struct Configuration {
    name: &'static str,
    block: Block,
    /// Blocks of each stage.
    depths: [usize; 4],
}

/// What a network is made of.
#[derive(Clone, Copy)]
enum Block {
    /// Two convolutions of 3x3, a sum behind them.
    Basic,
    /// Convolutions of 1x1, 3x3 and 1x1, the last to four times as many channels; a sum behind them.
    Bottleneck,
}

const fn configuration(name: &'static str, block: Block, depths: [usize; 4]) -> Configuration {
    Configuration { name, block, depths }
}

pub(crate) const RESNET18: Configuration = configuration("resnet18", Block::Basic, [2, 2, 2, 2]);
pub(crate) const RESNET34: Configuration = configuration("resnet34", Block::Basic, [3, 4, 6, 3]);
pub(crate) const RESNET50: Configuration = configuration("resnet50", Block::Bottleneck, [3, 4, 6, 3]);
pub(crate) const RESNET101: Configuration = configuration("resnet101", Block::Bottleneck, [3, 4, 23, 3]);
pub(crate) const RESNET152: Configuration = configuration("resnet152", Block::Bottleneck, [3, 8, 36, 3]);

/// `[N, 3, rows, columns]` in; probabilities `[N, 1000]` out.
pub(crate) fn resnet(configuration: &Configuration, [rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder(configuration.name, [3, rows, columns]);
    unit(&mut net, ["conv1", "bn1"], Conv2d::new(64, 7).stride(2).padding(3), ValueId::INPUT)?;
    net.push("relu", Activation::Relu)?;
    let mut x = net.push("maxpool", MaxPool2d::new(3).stride(2).padding(1))?;
    for ((stage, &depth), channels) in (1..).zip(&configuration.depths).zip([64, 128, 256, 512]) {
        for place in 0..depth {
            let stride = if stage > 1 && place == 0 { 2 } else { 1 };
            let name = format!("layer{stage}.{place}");
            let branch = configuration.block.branch(&mut net, &name, (channels, stride), x)?;
            // The first block of all keeps its size where its output is not widened.
            let resizes = place == 0 && (stage > 1 || configuration.block.widening() > 1);
            let shortcut = if resizes { projection(&mut net, &name, configuration, (channels, stride), x)? } else { x };
            x = join(&mut net, &name, [branch, shortcut])?;
        }
    }
    classes(net, CLASSES)
}

/// ResNet-20: `[N, 3, 32, 32]` in; probabilities `[N, 10]` out. 0.27 million parameters (section 4.2).
pub(crate) fn resnet20_cifar([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("resnet20-cifar", [3, rows, columns]);
    unit(&mut net, ["conv1", "bn1"], Conv2d::new(16, 3).padding(1), ValueId::INPUT)?;
    let mut x = net.push("relu", Activation::Relu)?;
    for (stage, channels) in (1..).zip([16, 32, 64]) {
        for place in 0..3 {
            let resizes = stage > 1 && place == 0;
            let name = format!("layer{stage}.{place}");
            let branch = Block::Basic.branch(&mut net, &name, (channels, if resizes { 2 } else { 1 }), x)?;
            let shortcut = if resizes { zero_padded(&mut net, &name, channels, x)? } else { x };
            x = join(&mut net, &name, [branch, shortcut])?;
        }
    }
    classes(net, 10)
}

impl Block {
    /// Channels of a block's output for one of its middle.
    fn widening(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }

    /// The convolutions of a block of so many channels and that stride, up to the sum.
    fn branch(
        self,
        net: &mut NetworkBuilder,
        name: &str,
        (channels, stride): (usize, usize),
        input: ValueId,
    ) -> Result<ValueId> {
        let three = |stride: usize| Conv2d::new(channels, 3).stride(stride).padding(1);
        let convolutions = match self {
            Block::Basic => vec![three(stride), three(1)],
            Block::Bottleneck => {
                vec![Conv2d::new(channels, 1), three(stride), Conv2d::new(self.widening() * channels, 1)]
            }
        };
        let (last, mut x) = (convolutions.len(), input);
        for (number, conv) in (1..).zip(convolutions) {
            x = unit(net, [&format!("{name}.conv{number}"), &format!("{name}.bn{number}")], conv, x)?;
            if number < last {
                x = net.push(format!("{name}.relu{number}"), Activation::Relu)?;
            }
        }
        Ok(x)
    }
}

/// Option B: the input by a convolution of 1x1.
fn projection(
    net: &mut NetworkBuilder,
    name: &str,
    configuration: &Configuration,
    (channels, stride): (usize, usize),
    input: ValueId,
) -> Result<ValueId> {
    let conv = Conv2d::new(configuration.block.widening() * channels, 1).stride(stride);
    unit(net, [&format!("{name}.downsample.0"), &format!("{name}.downsample.1")], conv, input)
}

/// Option A: every second pixel, and as many channels of zeros behind those of the input as are lacking.
fn zero_padded(net: &mut NetworkBuilder, name: &str, channels: usize, input: ValueId) -> Result<ValueId> {
    let present = net.shape(input)[0];
    net.push_with(format!("{name}.subsample"), AvgPool2d::new(1).stride(2), &[input])?;
    let taps = (0..channels).map(|channel| if channel < present { vec![(channel, 1.0)] } else { vec![] });
    Ok(net.push(format!("{name}.zeros"), Resample::new(0, taps.collect()))?)
}

fn join(net: &mut NetworkBuilder, name: &str, branches: [ValueId; 2]) -> Result<ValueId> {
    net.push_with(format!("{name}.add"), Add, &branches)?;
    Ok(net.push(format!("{name}.relu"), Activation::Relu)?)
}

fn unit(net: &mut NetworkBuilder, names: [&str; 2], conv: Conv2d, input: ValueId) -> Result<ValueId> {
    conv_norm(net, names, conv, BatchNorm2d::new(), input)
}

fn classes(mut net: NetworkBuilder, count: usize) -> Result<Network> {
    net.push("avgpool", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("fc", Linear::new(count))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}
