//! The networks of the registry against torchvision and timm: `scripts/golden-zoo` made the files, from a formula that is repeated here.
//! Pictures are small, as the plain loops would take minutes for large ones.

mod common;

use std::collections::HashMap;
use std::path::Path;

use cnn::layers::Init;
use cnn::{BackendOptions, CompileOptions, Layer, Network, Shape, Tensor, Weights, backends, models};
use cnn_testkit::conformance::gradients_of_chains;
use common::numbers;

/// Largest difference, relative to the largest output.
const TOLERANCE: f32 = 1e-4;

/// FNV-1a (Fowler, Noll and Vo 1991).
fn hash(name: &str) -> u64 {
    let step = |value: u32, byte: u8| (value ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(name.bytes().fold(0x811c_9dc5, step))
}

/// The weights of `network`: those of `known` that it has too, as networks of a family share most of theirs, and the others from the
/// formula.
fn weights(network: &Network, known: &Weights) -> Weights {
    let parameters: Vec<_> = network.parameters().collect();
    let shapes: HashMap<&str, &Shape> = parameters.iter().map(|p| (&p.name[..], &p.shape)).collect();
    let mut weights = known.clone();
    for (name, _) in known.iter().filter(|(name, view)| shapes.get(name) != Some(&view.shape)) {
        weights.remove(name);
    }
    for parameter in &parameters {
        let (scale, around) = match parameter.init {
            Init::Spread { fan_in, .. } => ((6.0 / fan_in as f64).sqrt() as f32, 0.0),
            Init::Constant(value) => (0.05, value),
        };
        if weights.get(&parameter.name).is_none() {
            let mut values = numbers(hash(&parameter.name), parameter.shape.elements(), scale);
            values.iter_mut().for_each(|value| *value += around);
            weights.insert(&parameter.name, Tensor::new(parameter.shape.clone(), values).unwrap());
        }
    }
    weights
}

/// The network without its last layer, the softmax, which would hide what is apart.
fn without_softmax(network: &Network) -> Network {
    let mut net = Network::builder(network.name(), network.input_shape().clone());
    let (last, nodes) = network.nodes().split_last().unwrap();
    assert_eq!(last.layer.operation().kind(), "Softmax");
    for node in nodes {
        net.push_with(node.name.clone(), node.layer.clone(), &node.inputs).unwrap();
    }
    net.finish().unwrap()
}

/// Runs a model on pictures of `size` and compares it with its file. Its weights.
fn check(name: &str, size: [usize; 2], on: &[&str], known: &Weights) -> Weights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/zoo/{name}.npy"));
    let golden = models::npy::read(&path).unwrap();
    let network = without_softmax(&models::find(name).unwrap().network_for(size).unwrap());
    let weights = weights(&network, known);
    let shape = network.input_shape().with_batch(1);
    let input = Tensor::new(shape.clone(), numbers(0, shape.elements(), 1.0)).unwrap();
    for backend in on {
        let entry = backends().iter().find(|entry| entry.name == *backend).unwrap();
        let backend = entry.create(&BackendOptions::default()).unwrap();
        let plan = backend.compile(&network, &weights, &CompileOptions::default()).unwrap();
        let output = plan.session().unwrap().run(&input).unwrap();
        assert_eq!(output.shape(), golden.shape());
        let largest = golden.to_f32().iter().map(|v| v.abs()).fold(0.0, f32::max);
        let apart = output.to_f32().iter().zip(golden.to_f32().iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name} on {}: {:.1e} of the largest output apart", entry.name, apart / largest);
        assert!(apart <= TOLERANCE * largest, "{name} on {}: {apart:e} of {largest}", entry.name);
        assert_eq!(output.argmax(), golden.argmax(), "{name} on {}", entry.name);
    }
    weights
}

#[test]
fn small_networks_agree_with_torchvision() {
    let all = ["reference", "cpu", "ocl"];
    for (name, size, on) in [
        ("squeezenet1_1", [64, 80], &all[..]),
        ("mobilenet_v2", [64, 64], &all),
        ("googlenet", [64, 64], &all),
        ("resnet20-cifar", [32, 32], &all),
        ("resnet18", [64, 64], &all[..2]),
        ("alexnet", [64, 64], &all[..2]),
        ("nin", [64, 64], &all[..2]),
        ("nin-cifar", [32, 32], &all[1..2]),
        ("xception", [75, 64], &all[1..2]),
    ] {
        check(name, size, on, &Weights::new());
    }
}

#[test]
fn residual_networks_agree_with_torchvision() {
    let mut known = Weights::new();
    for name in ["resnet34", "resnet50", "resnet101", "resnet152"] {
        known = check(name, [64, 64], &["cpu"], &known);
    }
}

#[test]
fn sums_of_residual_networks_run_inside_convolutions_on_cpu() {
    for (name, sums) in [("resnet18", 8), ("resnet50", 16), ("mobilenet_v2", 10)] {
        let network = models::find(name).unwrap().network_for([64, 64]).unwrap();
        let weights = weights(&network, &Weights::new());
        let plan = cnn::backend("cpu").unwrap().compile(&network, &weights, &CompileOptions::default()).unwrap();
        let is_sum =
            |layer: &String| network.nodes().iter().any(|n| n.name == *layer && matches!(n.layer, Layer::Add(_)));
        let steps = &plan.report().steps;
        assert!(!steps.iter().any(|step| is_sum(&step.layer)), "{name}");
        assert_eq!(steps.iter().flat_map(|step| &step.fused).filter(|layer| is_sum(layer)).count(), sums, "{name}");
    }
}

/// Sums and channels of zeros learn as their definition does.
#[test]
fn a_residual_network_trains_as_the_plain_loops_do() {
    let network = models::find("resnet20-cifar").unwrap().network().unwrap();
    for backend in ["cpu", "ocl"] {
        gradients_of_chains(cnn::backend(backend).unwrap().as_ref(), &network, 3);
    }
}

#[test]
fn vgg_agrees_with_torchvision() {
    let mut known = check("vgg11", [96, 64], &["cpu"], &Weights::new());
    for name in ["vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"] {
        known = check(name, [64, 64], &["cpu"], &known);
    }
}
