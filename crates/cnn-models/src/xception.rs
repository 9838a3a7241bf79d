//! Xception (Chollet 2016): 22,855,952 parameters, photos of 299x299 pixels, 1,000 classes. Layers are those of timm's
//! `legacy_xception`.

use cnn_core::layers::{Activation, Add, BatchNorm2d, Conv2d, Flatten, GlobalAvgPool, Linear, MaxPool2d, Softmax};
use cnn_core::{Network, NetworkBuilder, ValueId};

use crate::Result;
use crate::blocks::{CLASSES, conv_norm};

/// Channels behind each separable convolution of blocks 1, 2, 3 and 12, which halve the plane; those between have three of 728.
const ENTRY: [[usize; 2]; 3] = [[128, 128], [256, 256], [728, 728]];
const MIDDLE: [usize; 3] = [728; 3];
const EXIT: [usize; 2] = [728, 1024];

/// `[N, 3, rows, columns]` in, 12 each or more; probabilities `[N, 1000]` out.
pub(crate) fn xception([rows, columns]: [usize; 2]) -> Result<Network> {
    let mut net = Network::builder("xception", [3, rows, columns]);
    let mut x = ValueId::INPUT;
    for (number, conv) in [(1, Conv2d::new(32, 3).stride(2)), (2, Conv2d::new(64, 3))] {
        let names = [format!("conv{number}"), format!("bn{number}")];
        conv_norm(&mut net, [&names[0], &names[1]], conv, BatchNorm2d::new(), x)?;
        x = net.push(format!("act{number}"), Activation::Relu)?;
    }
    let halving = ENTRY.iter().map(|widths| (&widths[..], true));
    let flows = halving.chain([(&MIDDLE[..], false); 8]).chain([(&EXIT[..], true)]);
    for (number, (widths, halves)) in (1..).zip(flows) {
        x = block(&mut net, number, widths, halves, x)?;
    }
    for (number, channels) in [(3, 1536), (4, 2048)] {
        separable(&mut net, &format!("conv{number}"), channels, x)?;
        net.push(format!("bn{number}"), BatchNorm2d::new())?;
        x = net.push(format!("act{number}"), Activation::Relu)?;
    }
    net.push("global_pool", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("fc", Linear::new(CLASSES))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

/// ReLU, separable convolution and batch normalisation, as often as there are widths, and the sum with the input. The first block's
/// first ReLU is missing: its input is behind one.
fn block(net: &mut NetworkBuilder, number: usize, widths: &[usize], halves: bool, input: ValueId) -> Result<ValueId> {
    let mut places = 0..;
    let mut next = || format!("block{number}.rep.{}", places.next().unwrap_or_default());
    let mut x = input;
    for (place, &channels) in widths.iter().enumerate() {
        if (number, place) != (1, 0) {
            x = net.push_with(next(), Activation::Relu, &[x])?;
        }
        separable(net, &next(), channels, x)?;
        x = net.push(next(), BatchNorm2d::new())?;
    }
    let mut shortcut = input;
    if halves {
        x = net.push(next(), MaxPool2d::new(3).stride(2).padding(1))?;
        let names = [format!("block{number}.skip"), format!("block{number}.skipbn")];
        let conv = Conv2d::new(widths[widths.len() - 1], 1).stride(2);
        shortcut = conv_norm(net, [&names[0], &names[1]], conv, BatchNorm2d::new(), input)?;
    }
    Ok(net.push_with(format!("block{number}.add"), Add, &[x, shortcut])?)
}

/// 3x3 in each channel, then 1x1 across them.
fn separable(net: &mut NetworkBuilder, name: &str, channels: usize, input: ValueId) -> Result<ValueId> {
    let present = net.shape(input)[0];
    let depthwise = Conv2d::new(present, 3).padding(1).groups(present).without_bias();
    net.push_with(format!("{name}.conv1"), depthwise, &[input])?;
    Ok(net.push(format!("{name}.pointwise"), Conv2d::new(channels, 1).without_bias())?)
}
