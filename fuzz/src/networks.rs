//! Builds networks of hostile layers; those that are accepted and small must run on every backend with one result.

use arbitrary::{Arbitrary, Unstructured};
use cnn::layers::{
    Activation, Add, AvgPool2d, BatchNorm2d, Concat, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear,
    LocalResponseNorm, MaxPool2d, Prelu, Softmax,
};
use cnn::window::{Rounding, Window};
use cnn::{BackendOptions, CompileOptions, Layer, Network, Tensor, Weights, backends};

/// A size: mostly small, at times anything.
#[derive(Debug, Clone, Copy)]
struct Size(usize);

impl Arbitrary<'_> for Size {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        match u.int_in_range(0..=15u8)? {
            0 => Ok(Size(u64::arbitrary(u)? as usize)),
            small => Ok(Size(usize::from(small) / 2)),
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Settings {
    kernel: [Size; 2],
    stride: [Size; 2],
    padding: [Size; 4],
    dilation: [Size; 2],
    channels: Size,
    groups: Size,
    number: f32,
    choice: bool,
    second_input: u8,
}

/// Builds a network from `bytes`, and runs it where it is accepted and small.
pub fn network(bytes: &[u8]) {
    build_and_run(bytes);
}

/// As [`network`]; whether it ran.
pub fn build_and_run(bytes: &[u8]) -> bool {
    let mut u = Unstructured::new(bytes);
    let Ok(network) = build(&mut u) else { return false };
    let memory = network.nodes().iter().enumerate().map(|(i, _)| network.shape(network.output_of(i)).elements());
    let parameters: u64 = network.parameters().map(|p| p.shape.elements() as u64).fold(0, u64::saturating_add);
    let small = network.flops() < 200_000
        && network.input_shape().elements() < 10_000
        && memory.max().unwrap_or(0) < 10_000
        && parameters < 20_000;
    if small {
        run(&network);
    }
    small
}

fn build(u: &mut Unstructured<'_>) -> Result<Network, Box<dyn std::error::Error>> {
    let extents: [Size; 3] = u.arbitrary()?;
    let mut net = Network::builder("fuzzed", extents.map(|Size(extent)| extent));
    let mut values = vec![cnn::ValueId::INPUT];
    for i in 0..u.int_in_range(1..=8usize)? {
        let kind = u.int_in_range(0..=13u8)?;
        let settings = Settings::arbitrary(u)?;
        let second = values[usize::from(settings.second_input) % values.len()];
        let last = values[values.len() - 1];
        let added = match kind {
            11 => net.push_with(i.to_string(), Add, &[last, second]),
            12 => net.push_with(i.to_string(), Concat, &[last, second]),
            _ => net.push(i.to_string(), layer(kind, &settings)),
        };
        values.push(added?);
    }
    Ok(net.finish()?)
}

fn layer(kind: u8, settings: &Settings) -> Layer {
    let Settings { channels: Size(channels), groups: Size(groups), number, choice, .. } = *settings;
    let window = Window {
        kernel: settings.kernel.map(|Size(s)| s),
        stride: settings.stride.map(|Size(s)| s),
        padding: settings.padding.map(|Size(s)| s).into(),
        dilation: settings.dilation.map(|Size(s)| s),
    };
    let rounding = if choice { Rounding::Ceil } else { Rounding::Floor };
    match kind {
        0 => Conv2d { out_channels: channels, window, groups, bias: choice }.into(),
        1 => Linear { out_features: channels, bias: choice }.into(),
        2 => MaxPool2d { window, rounding }.into(),
        3 => AvgPool2d { window, rounding, count_padding: channels % 2 == 0 }.into(),
        4 => GlobalAvgPool.into(),
        5 => BatchNorm2d { epsilon: number, momentum: 0.1 }.into(),
        6 => LocalResponseNorm { alpha: number, ..LocalResponseNorm::new(channels) }.into(),
        7 => Dropout::new(number).into(),
        8 => Flatten.into(),
        9 => Softmax.into(),
        10 => Prelu { per_channel: choice }.into(),
        _ if choice => Activation::Elu { alpha: number }.into(),
        _ => Activation::Tanh.into(),
    }
}

fn run(network: &Network) {
    let weights = Weights::random(network, 1).expect("a small network");
    let shape = network.input_shape().with_batch(2);
    let values = (0..shape.elements()).map(|i| (i as f32 * 0.7).sin()).collect();
    let input = Tensor::new(shape, values).expect("lengths agree");
    let mut outputs = Vec::new();
    // `ocl` compiles kernels for every shape, which would take all of the time.
    for entry in backends().iter().filter(|entry| entry.name != "ocl") {
        let backend = entry.create(&BackendOptions::default().threads(1)).expect("it runs everywhere");
        let plan =
            backend.compile(network, &weights, &CompileOptions::default()).expect("an accepted network compiles");
        outputs.push(plan.session().and_then(|mut session| session.run(&input)).expect("and runs"));
    }
    let reference = outputs.pop().expect("the reference is the last");
    for output in outputs {
        let (got, want) = (output.to_f32(), reference.to_f32());
        let scale = want.iter().filter(|w| w.is_finite()).fold(1f32, |largest, w| largest.max(w.abs()));
        for (g, w) in got.iter().zip(want.iter()) {
            let near_overflow = !w.is_finite() || scale > 1e30;
            assert!(near_overflow || (g - w).abs() <= 1e-3 * scale, "{g} for {w}: {network:?}");
        }
    }
}
