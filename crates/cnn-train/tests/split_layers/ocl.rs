//! Workers that share layers on an OpenCL device, where what stands between the layers runs on the host.

use cnn_core::layers::{Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d};
use cnn_core::training::Clip;
use cnn_core::{Backend, Network, Optimizer, Recipe, Weights};
use cnn_train::parallel::{Hybrid, ModelParallel, Side, Splitting, Thread, ValueCodecs};

use crate::workers::{bits, cpu, distance, learn, ocl, reference, workers};

fn network() -> Network {
    let mut net = Network::builder("net", [2, 7, 7]);
    net.push("conv", Conv2d::new(5, 3)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc1", Linear::new(13)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("drop", Dropout::new(0.3)).unwrap();
    net.push("fc2", Linear::new(9)).unwrap();
    net.push("fc3", Linear::new(4)).unwrap();
    net.finish().unwrap()
}

/// What two workers learn in some steps is what the plain loops do alone; `of` makes a worker of its end.
fn assert_learn_alike(side: Side, of: impl Fn(Thread, Splitting) -> Box<dyn Backend> + Sync) {
    const STEPS: std::ops::Range<usize> = 0..8;
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    // Which all gradients go to the host for.
    let recipe = Recipe::new(Optimizer::sgd(0.9)).seed(5).clip(Clip::Norm(0.3));
    let mut alone = reference().compile_training(&network, &weights, &recipe).unwrap();
    let losses = learn(alone.as_mut(), &network, STEPS);
    let [want, want_state] = [alone.weights().unwrap(), alone.state().unwrap()];
    let all = workers(2, |end| {
        let worker = of(end, Splitting { side, smallest: 20 });
        let mut trainer = worker.compile_training(&network, &weights, &recipe).unwrap();
        let own = learn(trainer.as_mut(), &network, STEPS);
        assert!(own.iter().zip(&losses).all(|(own, loss)| (own - loss).abs() < 1e-4), "{own:?} {losses:?}");
        [trainer.weights().unwrap(), trainer.state().unwrap()]
    });
    for [own, state] in &all {
        let distance = [distance(own, &want), distance(state, &want_state)];
        assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{side:?}: {distance:?}");
        assert_eq!(bits(own), bits(&all[0][0]));
    }
}

#[test]
fn model_parallel_workers_learn_what_one_does() {
    assert_learn_alike(Side::Alternating, |end, splitting| {
        Box::new(ModelParallel::new(ocl(), Box::new(end), ValueCodecs::uncompressed(), splitting).unwrap())
    });
}

#[test]
fn hybrid_workers_learn_what_one_does() {
    assert_learn_alike(Side::Outputs, |end, splitting| {
        Box::new(Hybrid::new(ocl(), Box::new(end), ValueCodecs::uncompressed(), splitting).unwrap())
    });
}

#[test]
fn a_device_and_the_processor_learn_together() {
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    // All layers are split: what is whole would round in two ways.
    let splitting = Splitting { side: Side::Outputs, smallest: 0 };
    let losses = workers(2, |end| {
        let rank = cnn_train::parallel::Transport::rank(&end);
        let backend = if rank == 0 { ocl() } else { cpu() };
        let worker = ModelParallel::new(backend, Box::new(end), ValueCodecs::uncompressed(), splitting).unwrap();
        let mut trainer = worker.compile_training(&network, &weights, &Recipe::new(Optimizer::sgd(0.9))).unwrap();
        (0..6).flat_map(|_| learn(trainer.as_mut(), &network, 0..5)).collect::<Vec<f64>>()
    });
    let sum = |losses: &[f64]| losses.iter().sum::<f64>();
    assert!(sum(&losses[0][25..]) < 0.8 * sum(&losses[0][..5]), "{losses:?}");
    assert!(losses[0].iter().zip(&losses[1]).all(|(a, b)| (a - b).abs() < 1e-3), "{losses:?}");
}
