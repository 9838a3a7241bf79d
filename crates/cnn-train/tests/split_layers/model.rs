//! Model-parallel trainings beside those of one worker.

use std::sync::Arc;

use cnn_core::layers::{Activation, Add, BatchNorm2d, Concat, Conv2d, Dropout, Flatten, Linear, Softmax};
use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Network, Optimizer, Recipe, Reference, Weights};
use cnn_train::parallel::{ModelParallel, Side, Splitting, Thread, ValueCodecs};
use proptest::prelude::*;

use crate::workers::{Make, batch, bits, cpu, distance, learn, recipe, reference, rms_prop, workers};

const SIDES: [Side; 3] = [Side::Outputs, Side::Inputs, Side::Alternating];

/// The paper's network in small, with its dropout.
fn dense(widths: &[usize]) -> Network {
    dense_with(widths, [0.2, 0.3])
}

fn dense_with(widths: &[usize], dropout: [f32; 2]) -> Network {
    let mut net = Network::builder("dense", [widths[0]]);
    net.push("drop0", Dropout::new(dropout[0])).unwrap();
    for (i, &width) in widths[1..].iter().enumerate() {
        net.push(format!("fc{i}"), Linear::new(width)).unwrap();
        if i + 2 < widths.len() {
            net.push(format!("relu{i}"), Activation::Relu).unwrap();
            net.push(format!("drop{}", i + 1), Dropout::new(dropout[1])).unwrap();
        }
    }
    net.push("softmax", Softmax).unwrap();
    net.finish().unwrap()
}

/// Convolutions, a batch norm between dense layers, branches that read values in parts in different ways, no softmax.
fn branched() -> Network {
    let mut net = Network::builder("branched", [2, 5, 5]);
    net.push("conv", Conv2d::new(3, 3)).unwrap();
    net.push("flatten", Flatten).unwrap();
    let first = net.push("fc1", Linear::new(11)).unwrap();
    net.push("norm", BatchNorm2d::new()).unwrap();
    let tanh = net.push("tanh", Activation::Tanh).unwrap();
    let left = net.push_with("left", Linear::new(7), &[tanh]).unwrap();
    let right = net.push_with("right", Linear::new(7).without_bias(), &[first]).unwrap();
    let relu = net.push_with("relu", Activation::Relu, &[left]).unwrap();
    net.push_with("add", Add, &[relu, right]).unwrap();
    let third = net.push("fc3", Linear::new(9)).unwrap();
    net.push_with("concat", Concat, &[third, left]).unwrap();
    net.push("last", Linear::new(5)).unwrap();
    net.finish().unwrap()
}

fn parallel(backend: Arc<dyn Backend>, end: Thread, codec: &str, side: Side) -> ModelParallel {
    let splitting = Splitting { side, smallest: 0 };
    ModelParallel::new(backend, Box::new(end), ValueCodecs::find(codec).unwrap(), splitting).unwrap()
}

/// Weights and state of one worker alone, and of each of several.
fn both(make: Make, network: &Network, recipe: &Recipe, count: usize, side: Side) -> ([Weights; 2], Vec<[Weights; 2]>) {
    const STEPS: usize = 100;
    let weights = Weights::random(network, 3).unwrap();
    let mut alone = make().compile_training(network, &weights, recipe).unwrap();
    learn(alone.as_mut(), network, 0..STEPS);
    let all = workers(count, |end| {
        let backend = parallel(make(), end, "none", side);
        let mut trainer = backend.compile_training(network, &weights, recipe).unwrap();
        learn(trainer.as_mut(), network, 0..STEPS);
        [trainer.weights().unwrap(), trainer.state().unwrap()]
    });
    ([alone.weights().unwrap(), alone.state().unwrap()], all)
}

#[test]
fn workers_learn_what_one_does() {
    for (make, count, side) in [
        (cpu as Make, 4, Side::Alternating),
        (cpu, 3, Side::Outputs),
        (cpu, 2, Side::Inputs),
        (reference, 2, Side::Alternating),
        (reference, 3, Side::Inputs),
        (reference, 4, Side::Outputs),
    ] {
        // 10 outputs over 4 workers, 13 inputs over 3.
        for network in [dense(&[17, 22, 13, 10]), branched()] {
            let recipe = recipe(Optimizer::sgd(0.9));
            let ([weights, state], all) = both(make, &network, &recipe, count, side);
            for [own, own_state] in &all {
                let distance = [distance(own, &weights), distance(own_state, &state)];
                assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{} {count} {side:?}: {distance:?}", network.name());
                assert_eq!((bits(own), bits(own_state)), (bits(&all[0][0]), bits(&all[0][1])));
                assert_eq!(own_state.metadata(), state.metadata());
            }
        }
    }
}

#[test]
fn a_bound_on_the_norm_is_of_all_gradients() {
    let bounds = [Some(Clip::Norm(0.2)), None];
    for (make, count, side) in [(cpu as Make, 4, Side::Alternating), (reference, 3, Side::Inputs)] {
        for network in [dense(&[17, 22, 13, 10]), branched()] {
            let [bounded, free] = bounds.map(|clip| {
                let recipe = Recipe::new(Optimizer::sgd(0.9)).seed(5).clip(clip);
                both(make, &network, &recipe, count, side)
            });
            // It is not idle.
            assert!(distance(&bounded.0[0], &free.0[0]) > 1e-2);
            for own in &bounded.1 {
                let distance = [distance(&own[0], &bounded.0[0]), distance(&own[1], &bounded.0[1])];
                assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{} {count} {side:?}: {distance:?}", network.name());
                assert_eq!((bits(&own[0]), bits(&own[1])), (bits(&bounded.1[0][0]), bits(&bounded.1[0][1])));
            }
        }
    }
}

#[test]
fn a_part_of_the_layers_learns_as_with_one_worker() {
    let network = dense(&[12, 9, 8, 6]);
    for clip in [Clip::Value(1.0), Clip::Norm(0.2)] {
        let recipe = recipe(rms_prop()).clip(clip).partial(Partial { share: 0.4 });
        let ([weights, state], all) = both(cpu, &network, &recipe, 3, Side::Alternating);
        let distance = [distance(&all[2][0], &weights), distance(&all[2][1], &state)];
        assert!(distance[0] < 1e-5 && distance[1] < 1e-4, "{clip:?}: {distance:?}");
    }
}

#[test]
fn a_training_goes_on_with_other_workers() {
    let network = dense(&[12, 9, 8, 6]);
    let recipe = recipe(Optimizer::all()[5]);
    let initial = Weights::random(&network, 3).unwrap();
    let part = |count: usize, from: Option<&[Weights; 2]>, steps: std::ops::Range<usize>| {
        workers(count, |end| {
            let backend = parallel(cpu(), end, "none", Side::Alternating);
            let weights = from.map_or(&initial, |[weights, _]| weights);
            let mut trainer = backend.compile_training(&network, weights, &recipe).unwrap();
            if let Some([_, state]) = from {
                trainer.restore(state).unwrap();
            }
            learn(trainer.as_mut(), &network, steps.clone());
            [trainer.weights().unwrap(), trainer.state().unwrap()]
        })
        .swap_remove(count - 1)
    };
    let straight = part(3, None, 0..30);
    let half = part(3, None, 0..12);
    let resumed = part(3, Some(&half), 12..30);
    assert_eq!((bits(&resumed[0]), bits(&resumed[1])), (bits(&straight[0]), bits(&straight[1])));
    let elsewhere = part(2, Some(&half), 12..30);
    assert!(distance(&elsewhere[0], &straight[0]) < 1e-5);
}

#[test]
fn eight_bits_a_value_learn_about_as_well() {
    let network = dense_with(&[20, 24, 16, 4], [0.0; 2]);
    let weights = Weights::random(&network, 3).unwrap();
    let losses = |codec: &str, side: Side| {
        let all = workers(3, |end| {
            let backend = parallel(cpu(), end, codec, side);
            let mut trainer = backend.compile_training(&network, &weights, &recipe(rms_prop())).unwrap();
            // The same ten batches again and again.
            let losses = (0..12).flat_map(|_| learn(trainer.as_mut(), &network, 0..10)).collect::<Vec<f64>>();
            (losses.iter().rev().take(10).sum::<f64>() / 10.0, losses[0], bits(&trainer.weights().unwrap()))
        });
        assert!(all.iter().all(|(loss, _, weights)| (loss, weights) == (&all[0].0, &all[0].2)), "{codec} {side:?}");
        (all[0].0, all[0].1)
    };
    for side in SIDES {
        let (exact, first) = losses("none", side);
        for codec in ["dynamic-tree", "linear", "mantissa", "static-tree", "fp16"] {
            let (loss, _) = losses(codec, side);
            assert!(
                loss < 0.5 * first && (loss - exact).abs() < 0.1 * first,
                "{codec} {side:?}: {first} {exact} {loss}"
            );
        }
    }
}

#[test]
fn what_cannot_be_split_is_told() {
    let mut net = Network::builder("narrow", [3]);
    net.push("fc", Linear::new(3)).unwrap();
    let (network, wide) = (net.finish().unwrap(), dense(&[12, 9, 8, 6]));
    let compile = |network: &Network, recipe: &Recipe| {
        let weights = Weights::random(network, 3).unwrap();
        let error = |end| {
            let compiled =
                parallel(reference(), end, "none", Side::default()).compile_training(network, &weights, recipe);
            compiled.err().map(|error| error.to_string())
        };
        workers(4, error).swap_remove(1)
    };
    let error = compile(&network, &Recipe::default()).unwrap();
    assert!(error.contains("`narrow`") && error.contains("no fully connected layer of 4"), "{error}");
    let error = compile(&wide, &Recipe::default().asynchronous(std::num::NonZeroUsize::new(4))).unwrap();
    assert!(error.contains("asynchronous"), "{error}");
    let error = ValueCodecs::find("one-bit").unwrap_err().to_string();
    assert!(error.contains("error feedback"), "{error}");
}

#[test]
fn a_worker_that_fails_is_told_to_the_others() {
    let network = dense(&[12, 9, 8, 6]);
    let weights = Weights::random(&network, 3).unwrap();
    let errors = workers(3, |end| {
        let rank = cnn_train::parallel::Transport::rank(&end);
        let backend = parallel(cpu(), end, "none", Side::Alternating);
        let mut trainer = backend.compile_training(&network, &weights, &Recipe::default()).unwrap();
        learn(trainer.as_mut(), &network, 0..2);
        let (images, mut labels) = batch(&network, 6, 2);
        if rank == 1 {
            labels[3] = 99;
        }
        let error = trainer.step(&images, &labels, 0.01, &mut cnn_core::backend::KeepGradients).unwrap_err();
        let again = trainer.weights().unwrap_err();
        (error.to_string(), again.to_string())
    });
    assert!(errors[1].0.starts_with("labels: 99 at place 3"), "{errors:?}");
    for (error, again) in [&errors[0], &errors[2]] {
        assert!(error.starts_with("worker 1: labels: 99"), "{errors:?}");
        assert!(again.contains("had failed"), "{errors:?}");
    }
}

#[test]
fn a_training_that_diverges_says_so_on_every_worker() {
    let network = dense(&[12, 9, 8, 6]);
    let weights = Weights::random(&network, 3).unwrap();
    let errors = workers(2, |end| {
        let backend = parallel(cpu(), end, "none", Side::Alternating);
        let mut trainer = backend.compile_training(&network, &weights, &Recipe::default()).unwrap();
        let (images, labels) = batch(&network, 6, 2);
        let step = |_| trainer.step(&images, &labels, 1e30, &mut cnn_core::backend::KeepGradients).err();
        (0..5).find_map(step).unwrap().to_string()
    });
    assert!(errors.iter().all(|error| error.contains("lower learning rate")), "{errors:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any widths, workers and sides: a step is the step of one worker.
    #[test]
    fn any_shape_is_learned_alike(
        widths in prop::collection::vec(1usize..12, 3..6),
        count in 1usize..5,
        side in 0..3usize,
        size in 1usize..5,
    ) {
        let network = dense(&widths);
        let has_room = widths.windows(2).any(|pair| pair[0] >= count || pair[1] >= count);
        let weights = Weights::random(&network, 7).unwrap();
        let (images, labels) = batch(&network, size, 1);
        let step = |backend: &dyn Backend| -> Result<[Weights; 2], cnn_core::Error> {
            let mut trainer = backend.compile_training(&network, &weights, &recipe(Optimizer::sgd(0.5)))?;
            for _ in 0..2 {
                trainer.step(&images, &labels, 0.1, &mut cnn_core::backend::KeepGradients)?;
            }
            Ok([trainer.weights()?, trainer.state()?])
        };
        let alone = step(&Reference::new()).unwrap();
        for got in workers(count, |end| step(&parallel(reference(), end, "none", SIDES[side]))) {
            match got {
                Ok([weights, state]) => {
                    prop_assert!(has_room);
                    prop_assert!(distance(&weights, &alone[0]) < 2e-6 && distance(&state, &alone[1]) < 2e-5);
                }
                Err(_) => prop_assert!(!has_room),
            }
        }
    }
}
