//! Whole networks against ONNX Runtime: `scripts/golden` made the files, from a formula that `common` repeats.

mod common;

use std::path::Path;

use cnn::layers::Init;
use cnn::{BackendOptions, CompileOptions, Network, Tensor, Weights, backends, models};
use common::numbers;

fn weights(network: &Network) -> Weights {
    let mut weights = Weights::new();
    for (i, parameter) in network.parameters().enumerate() {
        let scale = match parameter.init {
            Init::Spread { fan_in, .. } => (6.0 / fan_in as f64).sqrt() as f32,
            Init::Constant(_) => 0.05,
        };
        let values = numbers(i as u64 + 1, parameter.shape.elements(), scale);
        weights.insert(parameter.name, Tensor::new(parameter.shape, values).unwrap());
    }
    weights
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.npy"));
    let golden = models::npy::read(&path).unwrap();
    let network = models::find(name).unwrap().network().unwrap();
    let weights = weights(&network);
    let shape = network.input_shape().with_batch(1);
    let input = Tensor::new(shape.clone(), numbers(0, shape.elements(), 1.0)).unwrap();
    for entry in backends() {
        let backend = entry.create(&BackendOptions::default()).unwrap();
        let plan = backend.compile(&network, &weights, &CompileOptions::default()).unwrap();
        let output = plan.session().unwrap().run(&input).unwrap();
        assert_eq!(output.shape(), golden.shape());
        let apart = output.to_f32().iter().zip(golden.to_f32().iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-5, "{name} on {}: {apart:e} from ONNX Runtime", entry.name);
        assert_eq!(output.argmax(), golden.argmax(), "{name} on {}", entry.name);
    }
}

#[test]
fn lenet5_agrees_with_onnx_runtime() {
    check("lenet5");
}

#[test]
fn lenet5_original_agrees_with_onnx_runtime() {
    check("lenet5-original");
}

#[test]
fn vgg16_agrees_with_onnx_runtime() {
    check("vgg16");
}
