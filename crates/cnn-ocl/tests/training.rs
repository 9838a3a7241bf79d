//! What a trainer on the device does beside gradients that conform: optimisers, batches of any size, errors.

use cnn_core::layers::{Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d};
use cnn_core::training::Clip;
use cnn_core::{Backend, Error, KeepGradients, Network, Optimizer, Recipe, Reference, Tensor, Trainer, Weights};
use cnn_ocl::Ocl;
use cnn_testkit::assert_close;
use cnn_testkit::conformance::{random_input, random_weights};

fn network() -> Network {
    let mut net = Network::builder("n", [2, 9, 8]);
    net.push("conv", Conv2d::new(5, 3).padding(1)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("drop", Dropout::new(0.3)).unwrap();
    net.push("fc", Linear::new(4)).unwrap();
    net.finish().unwrap()
}

/// A step over a batch of so many samples.
fn step(trainer: &mut dyn Trainer, batch: usize, seed: u64) {
    let labels: Vec<u32> = (0..batch).map(|i| (i % 4) as u32).collect();
    trainer.gradients(&random_input(&network(), batch, seed), &labels, &mut KeepGradients).expect("runs");
    trainer.update(0.02).expect("updates");
}

fn assert_same(name: &str, got: &Weights, want: &Weights, tolerance: f64) {
    for (parameter, view) in want.iter() {
        let got = got.get(parameter).expect("the same names").to_f32();
        assert_close(&format!("{name}: {parameter}"), &got, &view.to_f32(), tolerance);
    }
}

#[test]
fn every_optimizer_agrees_with_its_definition() {
    let (network, ocl) = (network(), Ocl::new("").unwrap());
    let weights = random_weights(&network, 3);
    let plain = Optimizer::all().map(|optimizer| (optimizer, None));
    let clipped = [Clip::Norm(0.1), Clip::Norm(1e6), Clip::Value(1e-3)].map(|clip| (Optimizer::sgd(0.9), Some(clip)));
    for (optimizer, clip) in plain.into_iter().chain(clipped) {
        let recipe = Recipe::new(optimizer.with_weight_decay(0.01)).clip(clip).seed(5);
        let mut got = ocl.compile_training(&network, &weights, &recipe).unwrap();
        let mut want = Reference::new().compile_training(&network, &weights, &recipe).unwrap();
        for seed in 0..3 {
            step(got.as_mut(), 6, seed);
            step(want.as_mut(), 6, seed);
        }
        let name = format!("{} {clip:?}", optimizer.name());
        assert_same(&name, &got.weights().unwrap(), &want.weights().unwrap(), 1e-4);
        assert_same(&name, &got.state().unwrap(), &want.state().unwrap(), 1e-3);
    }
}

/// Sizes that fill groups of samples and that do not, in turn, with more of them than the trainer keeps launches for.
#[test]
fn batches_may_have_any_size() {
    let (network, recipe) = (network(), Recipe::default().seed(2));
    let weights = random_weights(&network, 3);
    let mut got = Ocl::new("").unwrap().compile_training(&network, &weights, &recipe).unwrap();
    let mut want = Reference::new().compile_training(&network, &weights, &recipe).unwrap();
    for (seed, batch) in [1, 16, 3, 40, 17, 2, 33, 16, 1].into_iter().enumerate() {
        step(got.as_mut(), batch, seed as u64);
        step(want.as_mut(), batch, seed as u64);
    }
    assert_same("any size", &got.weights().unwrap(), &want.weights().unwrap(), 1e-4);
}

#[test]
fn a_state_goes_on_bit_for_bit() {
    let (network, ocl, recipe) = (network(), Ocl::new("").unwrap(), Recipe::new(Optimizer::all()[5]).seed(4));
    let mut whole = ocl.compile_training(&network, &random_weights(&network, 3), &recipe).unwrap();
    (0..3).for_each(|seed| step(whole.as_mut(), 5, seed));
    let mut rest = ocl.compile_training(&network, &whole.weights().unwrap(), &recipe).unwrap();
    rest.restore(&whole.state().unwrap()).unwrap();
    for seed in 3..6 {
        step(whole.as_mut(), 5, seed);
        step(rest.as_mut(), 5, seed);
    }
    for (got, want) in [(rest.weights(), whole.weights()), (rest.state(), whole.state())] {
        let (got, want) = (got.unwrap(), want.unwrap());
        assert_eq!(got.metadata(), want.metadata());
        for (name, view) in want.iter() {
            assert_eq!(got.get(name).unwrap().to_f32(), view.to_f32(), "{name}");
        }
    }
    assert!(rest.restore(&Weights::new()).is_err());
}

#[test]
fn a_loss_that_is_no_number_stops_with_the_layer_named() {
    let network = network();
    let mut weights = random_weights(&network, 3);
    weights.insert("fc.weight", Tensor::new([4, 80], vec![f32::MAX; 4 * 80]).unwrap());
    let mut trainer = Ocl::new("").unwrap().compile_training(&network, &weights, &Recipe::default()).unwrap();
    let error = trainer.gradients(&random_input(&network, 3, 1), &[0, 1, 2], &mut KeepGradients).unwrap_err();
    assert!(matches!(&error, Error::Diverged { layer, .. } if layer == "fc"), "{error}");
}

#[test]
fn a_batch_beyond_the_devices_memory_is_an_error_and_the_next_runs() {
    let mut net = Network::builder("wide", [1, 30, 30]);
    net.push("conv", Conv2d::new(3, 3).padding([0, 3000])).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(2)).unwrap();
    let network = net.finish().unwrap();
    let mut trainer =
        Ocl::new("").unwrap().compile_training(&network, &random_weights(&network, 1), &Recipe::default()).unwrap();
    let batch = 8000;
    let error = trainer.gradients(&random_input(&network, batch, 1), &vec![0; batch], &mut KeepGradients);
    assert!(matches!(error, Err(Error::OutOfMemory { .. })), "{error:?}");
    trainer.gradients(&random_input(&network, 1, 1), &[1], &mut KeepGradients).expect("fits");
}
