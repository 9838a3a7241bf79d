//! Convolutions of the networks that people run, and ragged ones: for timing every algorithm, and for checking it on sizes
//! that matter, against sums in `f64` of some of the outputs.

use cnn_core::layers::Conv2d;
use cnn_core::{Network, Tensor, Weights};

use crate::uniform;

/// A convolution on an input of `[C, H, W]`.
#[derive(Debug, Clone)]
pub struct LayerShape {
    /// Where it comes from.
    pub network: &'static str,
    /// The layer.
    pub conv: Conv2d,
    /// The input.
    pub input: [usize; 3],
}

impl LayerShape {
    /// A network of this layer alone.
    pub fn network(&self) -> Network {
        let mut net = Network::builder(self.to_string(), self.input);
        net.push("conv", self.conv.clone()).expect("listed shapes fit");
        net.finish().expect("a network of one layer")
    }
}

/// Such as `vgg16 64x224x224 -> 64, 3x3`.
impl std::fmt::Display for LayerShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([c, h, w], [kh, kw], [sy, sx]) = (self.input, self.conv.window.kernel, self.conv.window.stride);
        write!(f, "{} {c}x{h}x{w} -> {}, {kh}x{kw}", self.network, self.conv.out_channels)?;
        if [sy, sx] != [1, 1] {
            write!(f, " stride {sy}x{sx}")?;
        }
        match self.conv.groups {
            1 => Ok(()),
            groups => write!(f, " in {groups} groups"),
        }
    }
}

/// The lists: VGG-16, ResNet-18 and -50, MobileNetV2, Inception, LeNet-5, large windows and ragged sizes.
pub fn layer_shapes() -> Vec<LayerShape> {
    let mut shapes = Vec::new();
    let mut add = |network, conv: Conv2d, input| shapes.push(LayerShape { network, conv, input });
    let square = |c: usize, extent: usize| [c, extent, extent];
    let same = |o: usize| Conv2d::new(o, 3).padding(1);
    let pointwise = |o: usize| Conv2d::new(o, 1);
    for (c, o, extent) in [
        (3, 64, 224),
        (64, 64, 224),
        (64, 128, 112),
        (128, 128, 112),
        (128, 256, 56),
        (256, 256, 56),
        (256, 512, 28),
        (512, 512, 28),
        (512, 512, 14),
    ] {
        add("vgg16", same(o), square(c, extent));
    }
    add("resnet", Conv2d::new(64, 7).stride(2).padding(3), square(3, 224));
    for (c, extent) in [(64, 56), (128, 28), (256, 14), (512, 7)] {
        add("resnet18", same(c), square(c, extent));
    }
    for (c, extent) in [(64, 56), (128, 28), (256, 14)] {
        add("resnet18", same(2 * c).stride(2), square(c, extent));
        add("resnet18", pointwise(2 * c).stride(2), square(c, extent));
    }
    for (c, o, extent) in
        [(64, 256, 56), (256, 64, 56), (512, 128, 28), (128, 512, 28), (1024, 256, 14), (256, 1024, 14), (2048, 512, 7)]
    {
        add("resnet50", pointwise(o), square(c, extent));
    }
    add("mobilenet_v2", same(32).stride(2), square(3, 224));
    for (c, stride, extent) in [(32, 1, 112), (96, 2, 112), (144, 1, 56), (192, 1, 28), (576, 2, 14), (960, 1, 7)] {
        add("mobilenet_v2", same(c).groups(c).stride(stride), square(c, extent));
    }
    for (c, o, extent) in [(16, 96, 112), (96, 24, 56), (144, 32, 28), (384, 64, 14), (160, 960, 7), (320, 1280, 7)] {
        add("mobilenet_v2", pointwise(o), square(c, extent));
    }
    add("inception", Conv2d::new(32, 3), square(32, 149));
    add("inception", Conv2d::new(32, 5).padding(2), square(16, 28));
    add("inception", Conv2d::new(64, 5).padding(2), square(48, 35));
    add("inception", Conv2d::new(128, [1, 7]).padding([0, 3]), square(128, 17));
    add("inception", Conv2d::new(192, [7, 1]).padding([3, 0]), square(128, 17));
    add("inception", Conv2d::new(384, [3, 1]).padding([1, 0]), square(384, 8));
    add("lenet5", Conv2d::new(6, 5).padding(2), square(1, 28));
    add("lenet5", Conv2d::new(16, 5), square(6, 14));
    add("lenet5", Conv2d::new(120, 5), square(16, 5));
    add("large window", Conv2d::new(64, 11).stride(4).padding(2), square(3, 224));
    add("large window", Conv2d::new(32, 11).padding(5), square(32, 56));
    add("large window", Conv2d::new(24, 21).padding(10), square(16, 64));
    add("few outputs", same(3), square(64, 128));
    add("few outputs", Conv2d::new(1, 5).padding(2), square(32, 96));
    for (c, o, [h, w]) in [(1, 1, [1, 1]), (3, 17, [13, 3]), (13, 3, [17, 1]), (17, 13, [3, 17]), (17, 33, [13, 13])] {
        add("ragged", same(o), [c, h, w]);
        add("ragged", pointwise(o), [c, h, w]);
    }
    add("ragged", Conv2d::new(13, 3).dilation(2).padding([1, 3]).stride([1, 3]), [17, 17, 13]);
    add("ragged", Conv2d::new(51, 3).groups(3).padding([0, 1, 2, 0]), [39, 13, 17]);
    shapes
}

/// The relative root-mean-square error of `output`, at `count` places, against sums in `f64`.
pub fn sampled_error(shape: &LayerShape, weights: &Weights, (input, output): (&Tensor, &Tensor), count: usize) -> f64 {
    let network = shape.network();
    let plane = shape.conv.plane(network.input_shape()).expect("listed shapes fit");
    let (outputs, [rows, columns]) = (shape.conv.out_channels, plane.output());
    let (group_in, group_out) = (shape.input[0] / shape.conv.groups, outputs / shape.conv.groups);
    let [kh, kw] = shape.conv.window.kernel;
    let parameters = weights.of_node(&network, 0).expect("the layer's weights");
    let (x, y) = (input.to_f32(), output.to_f32());
    let (mut errors, mut squares) = (0.0, 0.0);
    for place in uniform(9, count).iter().map(|u| ((u + 1.0) / 2.0 * y.len() as f32) as usize % y.len()) {
        let (n, o) = (place / (columns * rows * outputs), place / (columns * rows) % outputs);
        let (oy, ox) = (place / columns % rows, place % columns);
        let mut sum = parameters.get(1).map_or(0.0, |bias| f64::from(bias[o]));
        for c in 0..group_in {
            let channel = (n * shape.input[0] + o / group_out * group_in + c) * shape.input[1];
            for ky in plane.rows.taps(oy) {
                let row = (channel + plane.rows.input_index(oy, ky)) * shape.input[2];
                for kx in plane.columns.taps(ox) {
                    let weight = parameters[0][((o * group_in + c) * kh + ky) * kw + kx];
                    sum += f64::from(x[row + plane.columns.input_index(ox, kx)]) * f64::from(weight);
                }
            }
        }
        let error = f64::from(y[place]) - sum;
        (errors, squares) = (errors + error * error, squares + sum * sum);
    }
    if squares > 0.0 { (errors / squares).sqrt() } else { errors.sqrt() }
}
