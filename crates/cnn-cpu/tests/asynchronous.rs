//! Asynchronous updates: plain steps over the parts of a batch on one thread, and what no thread may do on several.

use std::num::NonZeroUsize;

use cnn_core::backend::{GradientSink, KeepGradients};
use cnn_core::layers::{Activation, Conv2d, Flatten, Linear, MaxPool2d};
use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Error, Network, Optimizer, Recipe, Reference, Result, Tensor, Trainer, Weights};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::whole_networks;

/// As LeNet-5 is, and smaller.
fn network() -> Network {
    let mut net = Network::builder("small", [1, 12, 12]);
    net.push("conv1", Conv2d::new(6, 3)).unwrap();
    net.push("relu1", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.push("conv2", Conv2d::new(8, 3)).unwrap();
    net.push("relu2", Activation::Relu).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(5)).unwrap();
    net.finish().unwrap()
}

fn trainer(threads: usize, recipe: &Recipe) -> Box<dyn Trainer> {
    let network = network();
    Cpu::with_threads(threads).unwrap().compile_training(&network, &random_weights(&network, 1), recipe).unwrap()
}

fn labels(count: usize) -> Vec<u32> {
    (0..count).map(|n| n as u32 % 5).collect()
}

/// Images `first..end` of a batch.
fn some(images: &Tensor, first: usize, end: usize) -> Tensor {
    let values = images.to_f32()[144 * first..144 * end].to_vec();
    Tensor::new([end - first, 1, 12, 12], values).unwrap()
}

fn bits(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(name, view)| (name.to_string(), view.to_f32().iter().map(|v| v.to_bits()).collect())).collect()
}

fn sgd() -> Recipe {
    Recipe::new(Optimizer::sgd(0.9).with_weight_decay(0.01)).clip(Clip::Norm(0.5))
}

fn step(trainer: &mut dyn Trainer, images: &Tensor) -> Result<f64> {
    Ok(trainer.step(images, &labels(images.batch()), 0.05, &mut KeepGradients)?.loss)
}

#[test]
fn one_thread_makes_plain_steps_over_the_parts_of_the_batch() {
    // No more samples than any processor has lanes, so that gradients are summed in the same order.
    const SAMPLES: usize = 4;
    let (mut got, mut want) = (trainer(1, &sgd().asynchronous(NonZeroUsize::new(SAMPLES))), trainer(1, &sgd()));
    assert!(got.method().ends_with("asynchronous, on one thread"), "{}", got.method());
    for seed in 0..3 {
        let (images, labels) = (random_input(&network(), 18, seed), labels(18));
        let stats = got.step(&images, &labels, 0.05, &mut KeepGradients).unwrap();
        let (mut loss, mut correct) = (0.0, 0);
        for first in (0..18).step_by(SAMPLES) {
            let end = (first + SAMPLES).min(18);
            let (images, labels) = (some(&images, first, end), &labels[first..end]);
            let stats = want.step(&images, labels, 0.05, &mut KeepGradients).unwrap();
            loss += stats.loss * (end - first) as f64 / 18.0;
            correct += stats.correct;
        }
        assert!((stats.loss - loss).abs() < 1e-9, "{} {loss}", stats.loss);
        assert_eq!((stats.correct, stats.images), (correct, 18));
        assert_eq!(bits(&got.weights().unwrap()), bits(&want.weights().unwrap()));
        assert_eq!(bits(&got.state().unwrap()), bits(&want.state().unwrap()));
    }
}

#[test]
fn one_update_a_batch_is_a_plain_step_on_any_number_of_threads() {
    let batch = 64;
    let (mut got, mut want) = (trainer(2, &sgd().asynchronous(NonZeroUsize::MAX)), trainer(2, &sgd()));
    let images = random_input(&network(), batch, 1);
    for _ in 0..3 {
        let (got, want) = (step(got.as_mut(), &images).unwrap(), step(want.as_mut(), &images).unwrap());
        assert!((got - want).abs() < 1e-5, "{got} {want}");
    }
    let (got, want) = (got.weights().unwrap(), want.weights().unwrap());
    for (name, view) in got.iter() {
        cnn_testkit::assert_close(name, &view.to_f32(), &want.get(name).unwrap().to_f32(), 1e-5);
    }
}

#[test]
fn one_thread_gives_the_same_bits_again_and_goes_on_from_a_state() {
    let recipe = sgd().asynchronous(NonZeroUsize::new(7));
    let run = |trainer: &mut dyn Trainer, seeds: std::ops::Range<u64>| {
        for seed in seeds {
            step(trainer, &random_input(&network(), 40, seed)).unwrap();
        }
    };
    let [mut first, mut second] = [trainer(1, &recipe), trainer(1, &recipe)];
    run(first.as_mut(), 0..4);
    run(second.as_mut(), 0..2);
    let cpu = Cpu::with_threads(1).unwrap();
    let mut resumed = cpu.compile_training(&network(), &second.weights().unwrap(), &recipe).unwrap();
    resumed.restore(&second.state().unwrap()).unwrap();
    run(resumed.as_mut(), 2..4);
    assert_eq!(bits(&first.weights().unwrap()), bits(&resumed.weights().unwrap()));
    assert_eq!(bits(&first.state().unwrap()), bits(&resumed.state().unwrap()));
    assert_eq!(first.state().unwrap().metadata()["step"], "4");
}

#[test]
fn threads_learn_together_and_leave_layers_without_their_turn_alone() {
    let recipe = sgd().asynchronous(NonZeroUsize::new(8));
    let images = random_input(&network(), 128, 1);
    let mut all = trainer(3, &recipe);
    assert!(all.method().ends_with("asynchronous, not deterministic"), "{}", all.method());
    let first = step(all.as_mut(), &images).unwrap();
    let last = (0..60).map(|_| step(all.as_mut(), &images).unwrap()).last().unwrap();
    assert!(last < first / 2.0, "{first} {last}");

    let mut some = trainer(3, &recipe.partial(Partial { share: 0.3 }));
    let before = bits(&some.weights().unwrap());
    step(some.as_mut(), &images).unwrap();
    let after = bits(&some.weights().unwrap());
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
    let layers: Vec<_> = changed.map(|((name, _), _)| name.rsplit_once('.').unwrap().0).collect();
    assert!(layers.len() == 2 && layers[0] == layers[1], "{layers:?}");
}

#[test]
fn after_an_error_the_weights_are_those_of_before() {
    let mut trainer = trainer(1, &Recipe::new(Optimizer::sgd(0.9)).asynchronous(NonZeroUsize::new(4)));
    let images = random_input(&network(), 12, 1);
    step(trainer.as_mut(), &images).unwrap();
    let before = (bits(&trainer.weights().unwrap()), bits(&trainer.state().unwrap()));
    let error = trainer.step(&images, &labels(12), 1e38, &mut KeepGradients).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(matches!(
        step(trainer.as_mut(), &random_input(&whole_networks().unwrap()[0], 1, 1)),
        Err(Error::Shape { .. })
    ));
    assert_eq!((bits(&trainer.weights().unwrap()), bits(&trainer.state().unwrap())), before);
    step(trainer.as_mut(), &images).unwrap();
}

/// Looks at every gradient.
struct Listen;

impl GradientSink for Listen {
    fn ready(&mut self, _name: &str, _gradient: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_asynchronous_says_so() {
    let recipe = sgd().asynchronous(NonZeroUsize::new(8));
    let cpu = Cpu::with_threads(2).unwrap();
    let refused = |backend: &dyn Backend, network: &Network, recipe: &Recipe| {
        backend.compile_training(network, &random_weights(network, 1), recipe).err().unwrap().to_string()
    };
    assert!(refused(&Reference::new(), &network(), &recipe).contains("no asynchronous updates"));
    for optimizer in Optimizer::all().into_iter().filter(|optimizer| optimizer.name() != "sgd") {
        let recipe = Recipe::new(optimizer).asynchronous(NonZeroUsize::new(8));
        assert!(refused(&cpu, &network(), &recipe).contains("are made with sgd"));
    }
    let mut coupled = whole_networks().unwrap();
    coupled.retain(|network| network.nodes().iter().any(|node| node.layer.operation().couples_samples()));
    assert!(refused(&cpu, &coupled[0], &recipe).contains("couples the samples"));

    let mut trainer = trainer(2, &recipe);
    let images = random_input(&network(), 8, 1);
    let error = trainer.step(&images, &labels(8), 0.1, &mut Listen).unwrap_err().to_string();
    assert!(error.contains("no gradients of a whole batch"), "{error}");
    trainer.gradients(&images, &labels(8), &mut Listen).unwrap();
}
