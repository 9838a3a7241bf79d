//! Losses and gradients of whole networks against PyTorch: `scripts/golden-training` made the files, from a formula that
//! `common` repeats.

mod common;

use std::path::Path;

use cnn::CoreError;
use cnn::interface::{GradientSink, Recipe};
use cnn::layers::{Activation, BatchNorm2d, Conv2d, Flatten, GlobalAvgPool, Linear, MaxPool2d, Role};
use cnn::{BackendOptions, Network, Tensor, Weights, backends, models};
use common::numbers;

/// Uniform weights, small biases, and the norms as they begin.
fn weights(network: &Network) -> Weights {
    let mut weights = Weights::random(network, 0).unwrap();
    let learned = network.parameters().filter(|parameter| parameter.role == Role::Learned);
    for (i, parameter) in learned.enumerate().filter(|(_, parameter)| !parameter.name.starts_with("norm")) {
        let elements = parameter.shape.elements();
        let fan_in = elements / parameter.shape[0];
        let scale = if parameter.shape.len() > 1 { (6.0 / fan_in as f64).sqrt() as f32 } else { 0.05 };
        let values = numbers(i as u64 + 1, elements, scale);
        weights.insert(parameter.name, Tensor::new(parameter.shape, values).unwrap());
    }
    weights
}

/// Gradients by name.
#[derive(Default)]
struct Collect(Vec<(String, Vec<f32>)>);

impl GradientSink for Collect {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> Result<(), CoreError> {
        self.0.push((name.to_string(), gradient.to_vec()));
        Ok(())
    }
}

fn check(name: &str, network: &Network) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}-gradients.npy"));
    let golden = models::npy::read(&path).unwrap();
    let golden = golden.to_f32();
    let (loss, golden) = golden.split_first().unwrap();
    let shape = network.input_shape().with_batch(20);
    let images = Tensor::new(shape.clone(), numbers(0, shape.elements(), 1.0)).unwrap();
    let classes = network.output_shape().elements() as u32;
    let labels: Vec<u32> = (0..20).map(|i| i % classes).collect();
    for entry in backends() {
        let backend = entry.create(&BackendOptions::default()).unwrap();
        let mut trainer = backend.compile_training(network, &weights(network), &Recipe::default()).unwrap();
        let mut got = Collect::default();
        let stats = trainer.gradients(&images, &labels, &mut got).unwrap();
        assert!((stats.loss - f64::from(*loss)).abs() < 1e-5 * stats.loss, "{name} on {}: {}", entry.name, stats.loss);
        let mut rest = golden;
        for parameter in network.parameters().filter(|parameter| parameter.role == Role::Learned) {
            let (_, got) = got.0.iter().find(|(name, _)| *name == parameter.name).unwrap();
            let (want, others) = rest.split_at(got.len());
            rest = others;
            // A bias before a batch norm has no effect: its gradient is rounding alone.
            if want.iter().all(|g| g.abs() < 1e-6) {
                continue;
            }
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let apart = square(&mut got.iter().zip(want).map(|(a, b)| a - b)) / square(&mut want.iter().copied());
            assert!(apart.sqrt() < 1e-4, "{name} on {}: {} is {:e} apart", entry.name, parameter.name, apart.sqrt());
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn lenet5_learns_as_in_pytorch() {
    check("lenet5", &models::find("lenet5").unwrap().network().unwrap());
}

/// As `strided` of the script.
#[test]
fn padding_strides_groups_and_batch_norm_learn_as_in_pytorch() {
    let mut net = Network::builder("strided", [3, 19, 16]);
    net.push("conv1", Conv2d::new(8, 3).padding(1)).unwrap();
    net.push("norm1", BatchNorm2d::new()).unwrap();
    net.push("relu1", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(3).stride(2).padding(1)).unwrap();
    net.push("conv2", Conv2d::new(12, 3).stride(2).padding(1).groups(4)).unwrap();
    net.push("relu2", Activation::Relu).unwrap();
    net.push("conv3", Conv2d::new(20, [1, 3])).unwrap();
    net.push("relu3", Activation::Relu).unwrap();
    net.push("mean", GlobalAvgPool).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(7)).unwrap();
    check("strided", &net.finish().unwrap());
}
