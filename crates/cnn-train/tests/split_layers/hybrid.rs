//! Hybrid trainings beside those of one worker.

use std::ops::Range;
use std::sync::Arc;

use cnn_core::backend::KeepGradients;
use cnn_core::layers::{Activation, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Rrelu, Softmax};
use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Layer, Network, Optimizer, Recipe, Trainer, Weights};
use cnn_train::parallel::{Hybrid, Side, Splitting, Thread, ValueCodecs};

use crate::workers::{Make, batch, bits, cpu, distance, recipe, reference, rms_prop, workers};

/// Convolutions, and dense layers with dropout.
fn network() -> Network {
    let mut net = Network::builder("net", [1, 8, 8]);
    net.push("conv1", Conv2d::new(3, 3)).unwrap();
    net.push("relu1", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.push("drop1", Dropout::new(0.1)).unwrap();
    net.push("conv2", Conv2d::new(5, 2)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc1", Linear::new(14)).unwrap();
    net.push("relu2", Activation::Relu).unwrap();
    net.push("drop", Dropout::new(0.4)).unwrap();
    net.push("fc2", Linear::new(11)).unwrap();
    net.push("drop2", Dropout::new(0.2)).unwrap();
    net.push("fc3", Linear::new(4)).unwrap();
    net.push("softmax", Softmax).unwrap();
    net.finish().unwrap()
}

fn hybrid(make: Make, end: Thread, codec: &str, side: Side) -> Hybrid {
    let splitting = Splitting { side, smallest: 50 };
    Hybrid::new(make(), Box::new(end), ValueCodecs::find(codec).unwrap(), splitting).unwrap()
}

/// Steps over batches of 8, 5, 1 and 3 samples in turn: even parts, uneven ones, and fewer samples than workers.
fn learn(trainer: &mut dyn Trainer, network: &Network, steps: Range<usize>) -> Vec<[f64; 2]> {
    let step = |step: usize| {
        let (images, labels) = batch(network, [8, 5, 1, 3][step % 4], step);
        let stats = trainer.step(&images, &labels, 0.01, &mut KeepGradients).unwrap();
        assert_eq!(stats.images, labels.len());
        [stats.loss, stats.correct as f64]
    };
    steps.map(step).collect()
}

#[test]
fn workers_learn_what_one_does() {
    const STEPS: Range<usize> = 0..100;
    let (network, recipe) = (network(), recipe(Optimizer::sgd(0.9)));
    let weights = Weights::random(&network, 3).unwrap();
    for (make, count, side) in [
        (cpu as Make, 4, Side::Alternating),
        (cpu, 2, Side::Inputs),
        (cpu, 1, Side::Outputs),
        (reference, 3, Side::Outputs),
        (reference, 2, Side::Alternating),
    ] {
        let mut alone = make().compile_training(&network, &weights, &recipe).unwrap();
        let shown = learn(alone.as_mut(), &network, STEPS);
        let (whole, state) = (alone.weights().unwrap(), alone.state().unwrap());
        let all = workers(count, |end| {
            let mut trainer = hybrid(make, end, "none", side).compile_training(&network, &weights, &recipe).unwrap();
            let shown = learn(trainer.as_mut(), &network, STEPS);
            (trainer.weights().unwrap(), trainer.state().unwrap(), shown)
        });
        for (own, own_state, own_shown) in &all {
            let distance = [distance(own, &whole), distance(own_state, &state)];
            assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{count} {side:?}: {distance:?}");
            assert_eq!((bits(own), bits(own_state)), (bits(&all[0].0), bits(&all[0].1)));
            assert_eq!(own_state.metadata(), state.metadata());
            for (own, shown) in own_shown.iter().zip(&shown) {
                assert!((own[0] - shown[0]).abs() < 1e-4 && own[1] == shown[1], "{own:?} {shown:?}");
            }
        }
    }
}

/// A layer that is whole on each worker draws for the samples of a round what it does in the whole batch.
#[test]
fn draws_are_those_of_one_worker() {
    let mut net = Network::builder("net", [1, 5, 5]);
    net.push("conv", Conv2d::new(2, 3)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc1", Linear::new(12)).unwrap();
    net.push("rrelu", Layer::Custom(Arc::new(Rrelu::new(-0.9, 0.9)))).unwrap();
    net.push("fc2", Linear::new(4)).unwrap();
    let (network, recipe) = (net.finish().unwrap(), recipe(Optimizer::sgd(0.9)));
    let weights = Weights::random(&network, 3).unwrap();
    let mut alone = cpu().compile_training(&network, &weights, &recipe).unwrap();
    learn(alone.as_mut(), &network, 0..8);
    let whole = alone.weights().unwrap();
    let all = workers(2, |end| {
        let backend = hybrid(cpu, end, "none", Side::Alternating);
        let mut trainer = backend.compile_training(&network, &weights, &recipe).unwrap();
        learn(trainer.as_mut(), &network, 0..8);
        trainer.weights().unwrap()
    });
    for own in &all {
        let distance = distance(own, &whole);
        assert!(distance < 1e-5, "{distance}");
    }
}

#[test]
fn a_bound_on_the_norm_is_of_all_gradients() {
    const STEPS: Range<usize> = 0..40;
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    let bounded = |clip| Recipe::new(Optimizer::sgd(0.9)).seed(5).clip(clip);
    for (make, count, side) in [(cpu as Make, 3, Side::Alternating), (reference, 2, Side::Inputs)] {
        let [alone, free] = [Some(Clip::Norm(0.2)), None].map(|clip| {
            let mut trainer = make().compile_training(&network, &weights, &bounded(clip)).unwrap();
            learn(trainer.as_mut(), &network, STEPS);
            [trainer.weights().unwrap(), trainer.state().unwrap()]
        });
        // It is not idle.
        assert!(distance(&alone[0], &free[0]) > 1e-2);
        let all = workers(count, |end| {
            let backend = hybrid(make, end, "none", side);
            let mut trainer = backend.compile_training(&network, &weights, &bounded(Some(Clip::Norm(0.2)))).unwrap();
            learn(trainer.as_mut(), &network, STEPS);
            [trainer.weights().unwrap(), trainer.state().unwrap()]
        });
        for own in &all {
            let distance = [distance(&own[0], &alone[0]), distance(&own[1], &alone[1])];
            assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{count} {side:?}: {distance:?}");
            assert_eq!((bits(&own[0]), bits(&own[1])), (bits(&all[0][0]), bits(&all[0][1])));
        }
    }
}

#[test]
fn a_training_goes_on_where_it_stopped() {
    let (network, recipe) = (network(), recipe(Optimizer::all()[5]));
    let initial = Weights::random(&network, 3).unwrap();
    let part = |from: Option<&[Weights; 2]>, steps: Range<usize>| {
        workers(3, |end| {
            let backend = hybrid(cpu, end, "none", Side::Alternating);
            let weights = from.map_or(&initial, |[weights, _]| weights);
            let mut trainer = backend.compile_training(&network, weights, &recipe).unwrap();
            if let Some([_, state]) = from {
                trainer.restore(state).unwrap();
            }
            learn(trainer.as_mut(), &network, steps.clone());
            [trainer.weights().unwrap(), trainer.state().unwrap()]
        })
        .swap_remove(1)
    };
    let straight = part(None, 0..20);
    let resumed = part(Some(&part(None, 0..9)), 9..20);
    assert_eq!((bits(&resumed[0]), bits(&resumed[1])), (bits(&straight[0]), bits(&straight[1])));
}

#[test]
fn eight_bits_a_value_learn_about_as_well() {
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    let losses = |codec: &str| {
        let all = workers(3, |end| {
            let backend = hybrid(cpu, end, codec, Side::Alternating);
            let mut trainer = backend.compile_training(&network, &weights, &recipe(rms_prop())).unwrap();
            let losses: Vec<f64> =
                (0..12).flat_map(|_| learn(trainer.as_mut(), &network, 0..8)).map(|shown| shown[0]).collect();
            (losses.iter().rev().take(8).sum::<f64>() / 8.0, losses[0], bits(&trainer.weights().unwrap()))
        });
        assert!(all.iter().all(|(loss, _, weights)| (loss, weights) == (&all[0].0, &all[0].2)), "{codec}");
        (all[0].0, all[0].1)
    };
    let (exact, first) = losses("none");
    for codec in ["dynamic-tree", "linear", "mantissa", "static-tree", "fp16"] {
        let (loss, _) = losses(codec);
        assert!(loss < 0.7 * first && (loss - exact).abs() < 0.15 * first, "{codec}: {first} {exact} {loss}");
    }
}

#[test]
fn networks_and_recipes_that_it_does_not_suit_are_told() {
    let error = |network: &Network, recipe: &Recipe| {
        let weights = Weights::random(network, 3).unwrap();
        let compile = |end| {
            let backend = hybrid(reference, end, "none", Side::default());
            backend.compile_training(network, &weights, recipe).err().map(|error| error.to_string())
        };
        workers(2, compile).swap_remove(0).unwrap()
    };
    let net = |layers: &dyn Fn(&mut cnn_core::NetworkBuilder)| {
        let mut net = Network::builder("odd", [1, 4, 4]);
        layers(&mut net);
        net.finish().unwrap()
    };
    let none = net(&|net| {
        net.push("conv", Conv2d::new(3, 4)).unwrap();
        net.push("flatten", Flatten).unwrap();
    });
    assert!(error(&none, &Recipe::default()).contains("`odd` has no hybrid training: it has no fully connected layer"));
    let first = net(&|net| {
        net.push("flatten", Flatten).unwrap();
        net.push("fc", Linear::new(3)).unwrap();
    });
    assert!(error(&first, &Recipe::default()).contains("train it model-parallel"));
    let around = net(&|net| {
        let conv = net.push("conv", Conv2d::new(3, 4)).unwrap();
        let flat = net.push_with("flatten", Flatten, &[conv]).unwrap();
        let beside = net.push_with("flatten2", Flatten, &[conv]).unwrap();
        let dense = net.push_with("fc", Linear::new(3), &[flat]).unwrap();
        net.push_with("add", cnn_core::layers::Add, &[dense, beside]).unwrap();
    });
    assert!(error(&around, &Recipe::default()).contains("read what comes before"));
    assert!(error(&network(), &Recipe::default().partial(Partial { share: 0.5 })).contains("turns"));
}

#[test]
fn a_worker_that_fails_is_told_to_the_others() {
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    let errors = workers(3, |end| {
        let rank = cnn_train::parallel::Transport::rank(&end);
        let mut trainer =
            hybrid(cpu, end, "none", Side::default()).compile_training(&network, &weights, &Recipe::default()).unwrap();
        learn(trainer.as_mut(), &network, 0..2);
        let (images, mut labels) = batch(&network, 6, 2);
        if rank == 1 {
            labels[3] = 99;
        }
        trainer.step(&images, &labels, 0.01, &mut KeepGradients).unwrap_err().to_string()
    });
    assert!(errors[1].starts_with("labels: 99 at place 3"), "{errors:?}");
    assert!(errors[0].starts_with("worker 1: labels: 99") && errors[2].starts_with("worker 1"), "{errors:?}");
}

#[test]
fn a_training_that_diverges_says_so_on_every_worker() {
    let network = network();
    let weights = Weights::random(&network, 3).unwrap();
    let errors = workers(2, |end| {
        let backend = hybrid(cpu, end, "none", Side::default());
        let mut trainer = backend.compile_training(&network, &weights, &Recipe::default()).unwrap();
        let (images, labels) = batch(&network, 6, 2);
        let step = |_| trainer.step(&images, &labels, 1e30, &mut KeepGradients).err();
        (0..5).find_map(step).unwrap().to_string()
    });
    assert!(errors.iter().all(|error| error.contains("lower learning rate")), "{errors:?}");
}
