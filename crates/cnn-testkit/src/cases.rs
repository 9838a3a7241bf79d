//! The cases: every layer on the shapes where implementations go wrong.

use std::sync::Arc;

use cnn_core::layers::{
    Activation, Add, AvgPool2d, BatchNorm2d, Binary, Call, Concat, Constant, Conv2d, Dropout, Flatten, GlobalAvgPool,
    Gradients, Init, Linear, LocalResponseNorm, LogSoftmax, MatMul, MaxPool2d, Operation, Parameter, Prelu, Reduce,
    Reduction, Resample, Role, Softmax, StridedView, Unary, Where,
};
use cnn_core::network::{FilterOrder, FlattenedConv};
use cnn_core::{Layer, Misfit, Network, NetworkBuilder, Result, Shape, ValueId};

use crate::pools;
use crate::rare_cases::rare_cases;

/// A layer on inputs of given shapes.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The layer.
    pub layer: Layer,
    /// Shapes of its inputs, without the batch.
    pub inputs: Vec<Shape>,
    /// Samples.
    pub batch: usize,
    /// Of inputs and weights.
    pub seed: u64,
    /// Largest relative RMS difference from the reference.
    pub tolerance: f64,
}

impl Case {
    pub(crate) fn new(name: &str, layer: impl Into<Layer>, inputs: &[Shape]) -> Self {
        let seed = name.bytes().fold(0, |seed: u64, b| (seed * 31 + u64::from(b)) % 0xffff_ffff);
        Case { name: name.to_string(), layer: layer.into(), inputs: inputs.to_vec(), batch: 2, seed, tolerance: 1e-6 }
    }

    /// A network around the layer. It reads its first input from the network's; the others are made from that.
    pub fn network(&self) -> Result<Network> {
        let mut net = Network::builder(self.name.as_str(), self.inputs[0].clone());
        let mut values = vec![ValueId::INPUT];
        for (i, shape) in self.inputs.iter().enumerate().skip(1) {
            values.push(make(&mut net, &format!("branch{i}"), &self.inputs[0], shape)?);
        }
        net.push_with("layer", self.layer.clone(), &values)?;
        net.finish()
    }

    /// The layer between others, for training: its inputs are learned too, and a classifier of three classes is behind it.
    pub fn classifier(&self) -> Result<Network> {
        let mut net = Network::builder(self.name.as_str(), self.inputs[0].clone());
        let mut values = Vec::new();
        for (i, shape) in self.inputs.iter().enumerate() {
            values.push(make(&mut net, &format!("before{i}"), &self.inputs[0], shape)?);
        }
        net.push_with("layer", self.layer.clone(), &values)?;
        net.push("flatten", Flatten)?;
        net.push("classifier", Linear::new(3))?;
        net.push("softmax", Softmax)?;
        net.finish()
    }
}

/// Makes a value of a shape from the network's input: a 1x1 convolution where both have the same plane, a linear layer otherwise.
fn make(net: &mut NetworkBuilder, name: &str, input: &Shape, shape: &Shape) -> Result<ValueId> {
    match (&input[..], &shape[..]) {
        ([_], [features]) => net.push_with(name, Linear::new(*features), &[ValueId::INPUT]),
        ([_, a @ ..], [channels, b @ ..]) if a == b && b.len() == 2 => {
            net.push_with(name, Conv2d::new(*channels, 1), &[ValueId::INPUT])
        }
        _ => {
            net.push_with(format!("{name}.flatten"), Flatten, &[ValueId::INPUT])?;
            net.push(format!("{name}.linear"), Linear::new(shape.elements()))?;
            net.push(name, StridedView::reshape(shape.clone()))
        }
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(pools::cases());
    cases.extend(others());
    cases.extend(imported());
    cases.extend(rare_cases());
    cases
}

pub(crate) fn image(c: usize, h: usize, w: usize) -> [Shape; 1] {
    [Shape::from([c, h, w])]
}

fn convolutions() -> Vec<Case> {
    vec![
        Case::new("conv 3x3", Conv2d::new(4, 3), &image(3, 6, 7)),
        Case::new("conv 3x3 padded", Conv2d::new(8, 3).padding(1), &image(5, 9, 8)),
        Case::new("conv 1x1", Conv2d::new(17, 1), &image(13, 5, 5)),
        Case::new("conv 1x1 of many channels", Conv2d::new(37, 1), &image(530, 3, 3)),
        Case::new("conv 1x1 without bias", Conv2d::new(7, 1).without_bias(), &image(3, 4, 4)),
        Case::new("conv 1x1 strided", Conv2d::new(6, 1).stride(2), &image(4, 7, 7)),
        Case::new("conv 5x5 of LeNet", Conv2d::new(6, 5), &image(1, 12, 12)),
        Case::new("conv that makes one pixel", Conv2d::new(20, 5), &image(4, 5, 5)),
        Case::new("conv that covers a wide input", Conv2d::new(3, [2, 7]), &image(5, 2, 7)),
        Case::new("conv in groups that covers its input", Conv2d::new(4, 3).groups(2), &image(4, 3, 3)),
        Case::new("conv 7x7 strided", Conv2d::new(9, 7).stride(2).padding(3), &image(3, 15, 14)),
        Case::new("conv 3x3 dilated", Conv2d::new(4, 3).dilation(2).padding(2), &image(3, 8, 8)),
        Case::new("conv dilated and strided", Conv2d::new(5, 3).dilation([2, 1]).stride([1, 3]), &image(3, 9, 10)),
        Case::new("conv with uneven padding", Conv2d::new(4, 3).padding([0, 2, 1, 0]), &image(2, 5, 5)),
        Case::new("conv padded beyond its kernel", Conv2d::new(3, 2).padding(3), &image(2, 3, 3)),
        Case::new("conv in two groups", Conv2d::new(6, 3).groups(2).padding(1), &image(4, 6, 6)),
        Case::new("conv depthwise", Conv2d::new(6, 3).groups(6).padding(1), &image(6, 7, 7)),
        Case::new("conv depthwise strided", Conv2d::new(10, 3).groups(5).stride(2).padding(1), &image(5, 8, 9)),
        Case::new("conv depthwise 5x5", Conv2d::new(19, 5).groups(19).padding(2).stride([1, 2]), &image(19, 9, 22)),
        Case::new("conv depthwise wide", Conv2d::new(4, [3, 1]).groups(4).dilation(2), &image(4, 11, 30)),
        Case::new("conv in groups of blocks", Conv2d::new(96, 3).groups(2).padding(1), &image(32, 6, 17)),
        Case::new("conv 1x1 in groups of blocks", Conv2d::new(32, 1).groups(2), &image(64, 3, 5)),
        Case::new("conv 7x1 on a narrow image", Conv2d::new(20, [7, 1]).padding([3, 0]), &image(18, 12, 5)),
        Case::new("conv 11x11", Conv2d::new(5, 11).padding(5), &image(3, 20, 18)),
        Case::new("conv 9x6 in a larger image", Conv2d::new(18, [9, 6]).padding([0, 1, 2, 3]), &image(17, 24, 19)),
        Case::new("conv to one channel", Conv2d::new(1, 3).padding(1), &image(4, 6, 6)),
        Case::new("conv 1x5", Conv2d::new(5, [1, 5]).padding([0, 2]), &image(3, 4, 9)),
        Case::new("conv 5x1", Conv2d::new(5, [5, 1]).padding([2, 0]), &image(3, 9, 4)),
        Case::new("conv on a row", Conv2d::new(3, [1, 3]), &image(2, 1, 40)),
        Case::new("conv of many channels", Conv2d::new(33, 3).padding(1), &image(40, 5, 6)),
        Case::new("conv over several blocks", Conv2d::new(70, 3).padding(1), &image(67, 20, 33)),
    ]
}

fn others() -> Vec<Case> {
    let vector = |f: usize| [Shape::from([f])];
    vec![
        Case::new("linear", Linear::new(10), &vector(84)),
        Case::new("linear without bias", Linear::new(7).without_bias(), &vector(33)),
        Case::new("linear wide", Linear::new(130), &vector(301)),
        Case::new("linear to one", Linear::new(1), &vector(5)),
        Case::new("batch norm", BatchNorm2d::new(), &image(4, 5, 3)),
        Case::new("batch norm of vectors", BatchNorm2d { epsilon: 1e-3, momentum: 0.2 }, &vector(9)),
        Case::new(
            "local response norm",
            LocalResponseNorm { alpha: 0.5, ..LocalResponseNorm::new(5) },
            &image(7, 3, 4),
        ),
        Case::new(
            "local response norm, even size",
            LocalResponseNorm { alpha: 0.5, ..LocalResponseNorm::new(4) },
            &image(3, 2, 2),
        ),
        Case::new("dropout", Dropout::new(0.4), &image(3, 4, 5)),
        Case::new("flatten", Flatten, &image(3, 2, 5)),
        Case::new("add", Add, &[Shape::from([3, 4, 5]), Shape::from([3, 4, 5]), Shape::from([3, 4, 5])]),
        Case::new("concat", Concat, &[Shape::from([3, 4, 5]), Shape::from([1, 4, 5]), Shape::from([6, 4, 5])]),
        Case::new("concat of vectors", Concat, &[Shape::from([3]), Shape::from([7])]),
        Case::new("softmax", Softmax, &vector(11)),
        Case::new("softmax of images", Softmax, &image(4, 3, 2)),
        Case::new("relu", Activation::Relu, &image(3, 5, 4)),
        Case::new("relu6", Activation::Relu6, &image(3, 5, 4)),
        Case::new("leaky relu", Activation::LeakyRelu { slope: 0.1 }, &image(3, 5, 4)),
        Case::new("elu", Activation::Elu { alpha: 0.7 }, &image(3, 5, 4)),
        Case::new("sigmoid", Activation::Sigmoid, &image(3, 5, 4)),
        Case::new("tanh", Activation::Tanh, &vector(31)),
        Case::new("prelu", Prelu { per_channel: true }, &image(3, 5, 4)),
        Case::new("custom", Layer::Custom(Arc::new(ScaledSquare)), &image(3, 5, 4)),
        Case::new("prelu with one slope", Prelu { per_channel: false }, &vector(13)),
    ]
}

/// What imported networks need beside the others.
fn imported() -> Vec<Case> {
    let plane = |c: usize| Shape::from([c, 4, 5]);
    let binary = |name: &str, operation: Binary| Case::new(name, operation, &[plane(3), plane(3)]);
    let unary = |name: &str, function: Unary| Case::new(name, function, &image(3, 4, 5));
    let thirds: Vec<_> = (0..7).map(|i| vec![(i / 2, 2.0 / 3.0), (i / 2 + 1, 1.0 / 3.0)]).collect();
    let edges = vec![vec![], vec![(1, 1.0)], vec![(0, 1.0)], vec![(3, 1.0)], vec![]];
    vec![
        Case::new("transpose", StridedView::transpose(&[3, 4, 5], &[2, 0, 1]), &image(3, 4, 5)),
        Case::new("transpose of four axes", StridedView::transpose(&[3, 2, 2, 5], &[1, 0, 3, 2]), &image(3, 4, 5)),
        Case::new("reshape", StridedView::reshape([6, 10]), &image(3, 4, 5)),
        Case::new(
            "slice backwards, twice",
            StridedView { source: 60, shape: Shape::from([2, 3, 5]), offset: 19, strides: vec![0, 20, -3] },
            &image(3, 4, 5),
        ),
        binary("product", Binary::Product),
        Case::new("product with a factor a channel", Binary::Product, &[plane(3), Shape::from([3, 1, 1])]),
        Case::new("difference of one channel and all", Binary::Difference, &[plane(1), plane(3)]),
        binary("maximum", Binary::Maximum),
        binary("leak", Binary::Leak),
        Case::new("where", Where, &[plane(1), plane(3), plane(3)]),
        Case::new("interpolation", Resample::new(1, thirds), &image(3, 5, 2)),
        Case::new("padding with a number", Resample { fill: 0.5, ..Resample::new(2, edges) }, &image(2, 3, 4)),
        Case::new("mean over channels", Resample::mean(0, 3), &image(3, 4, 5)),
        Case::new("largest of each row", Reduce { axis: 2, reduction: Reduction::Maximum }, &image(3, 4, 5)),
        Case::new("smallest of vectors", Reduce { axis: 0, reduction: Reduction::Minimum }, &[Shape::from([9])]),
        Case::new("product over channels", Reduce { axis: 0, reduction: Reduction::Product }, &image(3, 4, 5)),
        Case::new("matrix product", MatMul, &[Shape::from([2, 3, 4]), Shape::from([2, 4, 5])]),
        Case::new("matrix product with one right side", MatMul, &[Shape::from([4, 3, 2]), Shape::from([1, 2, 5])]),
        Case::new("constant", Constant { shape: Shape::from([3, 2]), role: Role::Learned }, &image(2, 3, 3)),
        Case::new("log softmax", LogSoftmax, &image(4, 3, 2)),
        unary("scale", Unary::Scale { scale: -1.5, offset: 0.25 }),
        unary("clip", Unary::Clip { low: -1.0, high: 1.5 }),
        unary("hard sigmoid", Unary::HardSigmoid { slope: 0.2, offset: 0.5 }),
        unary("hard swish", Unary::HardSwish),
        unary("swish", Unary::Swish { beta: 1.5 }),
        unary("gelu", Unary::Gelu),
        unary("gelu by tanh", Unary::GeluTanh),
        unary("mish", Unary::Mish),
        unary("selu", Unary::Selu { alpha: 1.67, scale: 1.05 }),
        unary("celu", Unary::Celu { alpha: 0.7 }),
        unary("softplus", Unary::Softplus),
        unary("softsign", Unary::Softsign),
        unary("absolute value", Unary::Abs),
        unary("exponential", Unary::Exp),
        unary("error function", Unary::Erf),
        unary("sine", Unary::Sin),
        unary("inverse hyperbolic sine", Unary::Asinh),
    ]
}

/// A user's own layer: `weight * x^2`, with one weight.
#[derive(Debug)]
struct ScaledSquare;

impl Operation for ScaledSquare {
    fn kind(&self) -> &str {
        "ScaledSquare"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        match inputs {
            [input] => Ok((*input).clone()),
            _ => Err("takes one input".into()),
        }
    }

    fn parameters(&self, _inputs: &[&Shape]) -> Vec<Parameter> {
        vec![Parameter::learned("weight", [1], Init::Constant(1.0))]
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        2 * inputs[0].elements() as u64
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let weight = call.parameters[0][0];
        output.iter_mut().zip(call.inputs[0].data).for_each(|(y, x)| *y = weight * x * x);
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], dy: &[f32], gradients: &mut Gradients<'_, '_>) {
        let weight = call.parameters[0][0];
        for (i, (x, dy)) in call.inputs[0].data.iter().zip(dy).enumerate() {
            gradients.inputs[0][i] += dy * 2.0 * weight * x;
            gradients.parameters[0][0] += dy * x * x;
        }
    }
}

/// Small networks in which layers meet: chains that fuse, branches that do not, values that live long.
pub fn whole_networks() -> Result<Vec<Network>> {
    Ok(vec![chain()?, residual()?, inception()?, inverted_residual()?, norm_of_pixels()?, flattened()?])
}

/// One stage and ReLU6 keep an infinity to itself.
fn flattened() -> Result<Network> {
    let mut net = Network::builder("flattened", [3, 9, 7]);
    net.flattened_conv("conv1", &FlattenedConv::new(18, [3, 5]).stages(1))?;
    net.push("relu1", Activation::Relu6)?;
    net.push("pool", MaxPool2d::new(3).stride(2))?;
    let last = FlattenedConv::new(21, [3, 2]).order(FilterOrder::LateralLast).without_bias();
    net.flattened_conv("conv2", &last)?;
    net.push("relu2", Activation::Relu)?;
    net.push("flatten", Flatten)?;
    net.push("fc", Linear::new(4))?;
    net.finish()
}

fn chain() -> Result<Network> {
    let mut net = Network::builder("chain", [3, 12, 12]);
    net.push("conv1", Conv2d::new(8, 3).padding(1).without_bias())?;
    net.push("bn1", BatchNorm2d::new())?;
    net.push("relu1", Activation::Relu)?;
    net.push("pool", MaxPool2d::new(2))?;
    net.push("lrn", LocalResponseNorm::new(3))?;
    net.push("conv2", Conv2d::new(6, 3))?;
    net.push("elu", Activation::Elu { alpha: 1.0 })?;
    net.push("prelu", Prelu { per_channel: true })?;
    net.push("flatten", Flatten)?;
    net.push("drop", Dropout::new(0.5))?;
    net.push("fc1", Linear::new(20))?;
    net.push("bn2", BatchNorm2d::new())?;
    net.push("tanh", Activation::Tanh)?;
    net.push("fc2", Linear::new(5))?;
    net.push("softmax", Softmax)?;
    net.finish()
}

fn residual() -> Result<Network> {
    let mut net = Network::builder("residual", [4, 8, 8]);
    let stem = net.push("stem", Conv2d::new(8, 3).padding(1))?;
    net.push("conv1", Conv2d::new(8, 3).padding(1))?;
    net.push("bn1", BatchNorm2d::new())?;
    net.push("relu1", Activation::Relu)?;
    let branch = net.push("conv2", Conv2d::new(8, 3).padding(1))?;
    let sum = net.push_with("add", Add, &[stem, branch])?;
    let relu = net.push("relu2", Activation::Relu)?;
    net.push_with("twice", Add, &[relu, relu])?;
    net.push("pool", GlobalAvgPool)?;
    let left = net.push("flatten", Flatten)?;
    net.push_with("pool2", GlobalAvgPool, &[sum])?;
    let right = net.push("flatten2", Flatten)?;
    net.push_with("concat", Concat, &[left, right])?;
    net.push("fc", Linear::new(4))?;
    net.finish()
}

fn inception() -> Result<Network> {
    let mut net = Network::builder("inception", [5, 7, 7]);
    let a = net.push_with("a", Conv2d::new(3, 1), &[ValueId::INPUT])?;
    net.push_with("b_reduce", Conv2d::new(2, 1), &[ValueId::INPUT])?;
    net.push("b_relu", Activation::Relu)?;
    let b = net.push("b", Conv2d::new(4, 3).padding(1))?;
    let c = net.push_with("c", AvgPool2d::new(3).stride(1).padding(1), &[ValueId::INPUT])?;
    net.push_with("concat", Concat, &[a, b, c])?;
    net.push("depthwise", Conv2d::new(12, 3).groups(12).stride(2))?;
    net.push("sigmoid", Activation::Sigmoid)?;
    net.push("flatten", Flatten)?;
    net.push("fc", Linear::new(6))?;
    net.push("softmax", Softmax)?;
    net.finish()
}

/// As in MobileNetV2. Its input is made large first, so that ReLU6 is cut off at either end. Its 18 channels do not fill vectors.
fn inverted_residual() -> Result<Network> {
    let mut net = Network::builder("inverted residual", [10, 4, 3]);
    net.push_with("large", Add, &[ValueId::INPUT; 10])?;
    net.push("expand", Conv2d::new(18, 3).padding(1))?;
    net.push("relu1", Activation::Relu6)?;
    net.push("depthwise", Conv2d::new(18, 3).padding(1).groups(18).without_bias())?;
    net.push("bn", BatchNorm2d::new())?;
    net.push("relu2", Activation::Relu6)?;
    let branch = net.push("project", Conv2d::new(10, 1))?;
    net.push_with("add", Add, &[ValueId::INPUT, branch])?;
    net.push("pool", GlobalAvgPool)?;
    net.push("flatten", Flatten)?;
    net.push("fc", Linear::new(4))?;
    net.push("relu3", Activation::Relu6)?;
    net.finish()
}

/// A batch norm whose channels are the pixels of the convolution before it.
fn norm_of_pixels() -> Result<Network> {
    let mut net = Network::builder("norm of pixels", [2, 5, 5]);
    net.push("conv", Conv2d::new(3, 3))?;
    net.push("flatten", Flatten)?;
    net.push("bn", BatchNorm2d::new())?;
    net.push("relu", Activation::Relu)?;
    net.push("fc", Linear::new(5))?;
    net.finish()
}
