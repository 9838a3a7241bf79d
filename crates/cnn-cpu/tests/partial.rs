//! Partial gradients: a step changes the layers that have their turn as a whole step would, and no others.

use std::collections::{BTreeMap, BTreeSet};

use cnn_core::backend::{GradientSink, KeepGradients};
use cnn_core::layers::{Flatten, Role};
use cnn_core::training::Partial;
use cnn_core::{Backend, Error, Network, Optimizer, Recipe, Reference, Result, Trainer, Weights};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::whole_networks;

fn backends() -> Vec<Box<dyn Backend>> {
    vec![Box::new(Reference::new()), Box::new(Cpu::with_threads(1).unwrap()), Box::new(Cpu::with_threads(2).unwrap())]
}

/// Every gradient's bits under its name.
#[derive(Default)]
struct Collect(BTreeMap<String, Vec<u32>>);

impl GradientSink for Collect {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> Result<()> {
        assert!(self.0.insert(name.to_string(), gradient.iter().map(|g| g.to_bits()).collect()).is_none(), "{name}");
        Ok(())
    }
}

fn gradients(trainer: &mut dyn Trainer, network: &Network, step: u64) -> Collect {
    let classes = network.output_shape().elements() as u32;
    let labels: Vec<u32> = (0..20).map(|n| (n + step as u32) % classes).collect();
    let mut collected = Collect::default();
    trainer.gradients(&random_input(network, 20, step), &labels, &mut collected).unwrap();
    collected
}

fn bits(weights: &Weights) -> BTreeMap<String, Vec<u32>> {
    weights.iter().map(|(name, view)| (name.to_string(), view.to_f32().iter().map(|v| v.to_bits()).collect())).collect()
}

fn learned(network: &Network) -> BTreeSet<String> {
    network.parameters().filter(|p| p.role == Role::Learned).map(|p| p.name).collect()
}

#[test]
fn a_step_is_the_whole_one_for_the_layers_that_are_due_and_nothing_for_the_others() {
    for backend in backends() {
        for network in whole_networks().unwrap() {
            let whole = Recipe::new(Optimizer::sgd(0.9)).seed(4);
            let recipe = whole.clone().partial(Partial { share: 0.01 });
            let mut weights = random_weights(&network, 2);
            let mut trainer = backend.compile_training(&network, &weights, &recipe).unwrap();
            let layer = |name: String| name.rsplit_once('.').unwrap().0.to_string();
            let cycle = learned(&network).into_iter().map(layer).collect::<BTreeSet<_>>().len() as u64;
            let mut told = Vec::new();
            for step in 0..2 * cycle {
                let state = trainer.state().unwrap();
                let mut whole = backend.compile_training(&network, &weights, &whole).unwrap();
                whole.restore(&state).unwrap();
                let due = gradients(trainer.as_mut(), &network, step);
                let all = gradients(whole.as_mut(), &network, step);
                assert!(due.0.iter().all(|(name, gradient)| all.0[name] == *gradient), "{}", network.name());
                trainer.update(0.01).unwrap();
                whole.update(0.01).unwrap();
                let (before, after, whole) =
                    (bits(&weights), bits(&trainer.weights().unwrap()), bits(&whole.weights().unwrap()));
                for name in learned(&network) {
                    let want = if due.0.contains_key(&name) { &whole } else { &before };
                    assert_eq!(after[&name], want[&name], "{}: {name}", network.name());
                }
                let (before, after) = (bits(&state), bits(&trainer.state().unwrap()));
                for name in learned(&network).iter().filter(|name| !due.0.contains_key(*name)) {
                    let slot = format!("velocity.{name}");
                    assert_eq!(after[&slot], before[&slot], "{}", network.name());
                }
                weights = trainer.weights().unwrap();
                told.extend(due.0.into_keys());
            }
            let (first, second) = told.split_at(told.len() / 2);
            for cycle in [first, second] {
                assert_eq!(cycle.len(), learned(&network).len(), "{}", network.name());
                assert_eq!(cycle.iter().cloned().collect::<BTreeSet<_>>(), learned(&network), "{}", network.name());
            }
        }
    }
}

#[test]
fn all_backends_learn_the_same_layers() {
    let network = &whole_networks().unwrap()[0];
    let recipe = Recipe::default().seed(11).partial(Partial { share: 0.4 });
    let due = |backend: Box<dyn Backend>| -> Vec<Vec<String>> {
        let mut trainer = backend.compile_training(network, &random_weights(network, 1), &recipe).unwrap();
        let mut step = |step| {
            let due = gradients(trainer.as_mut(), network, step).0.into_keys().collect();
            trainer.update(0.01).unwrap();
            due
        };
        (0..6).map(&mut step).collect()
    };
    let all: Vec<_> = backends().into_iter().map(due).collect();
    assert!(all.iter().all(|due| *due == all[0]), "{all:?}");
}

#[test]
fn a_restored_training_goes_on_with_the_layers_whose_turn_it_is() {
    for network in whole_networks().unwrap() {
        let cpu = Cpu::with_threads(2).unwrap();
        for optimizer in Optimizer::all() {
            let recipe = Recipe::new(optimizer).seed(5).partial(Partial { share: 0.5 });
            let run = |trainer: &mut dyn Trainer, steps: std::ops::Range<u64>| {
                for step in steps {
                    gradients(trainer, &network, step);
                    trainer.update(0.01).unwrap();
                }
            };
            let mut straight = cpu.compile_training(&network, &random_weights(&network, 3), &recipe).unwrap();
            run(straight.as_mut(), 0..3);
            let mut resumed = cpu.compile_training(&network, &straight.weights().unwrap(), &recipe).unwrap();
            resumed.restore(&straight.state().unwrap()).unwrap();
            run(straight.as_mut(), 3..8);
            run(resumed.as_mut(), 3..8);
            assert_eq!(bits(&resumed.weights().unwrap()), bits(&straight.weights().unwrap()), "{optimizer:?}");
            assert_eq!(bits(&resumed.state().unwrap()), bits(&straight.state().unwrap()), "{optimizer:?}");
        }
    }
}

#[test]
fn shares_out_of_range_are_errors() {
    let network = &whole_networks().unwrap()[0];
    let weights = random_weights(network, 1);
    for share in [0.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        for backend in backends() {
            let recipe = Recipe::default().partial(Partial { share });
            let error = backend.compile_training(network, &weights, &recipe).err().unwrap();
            assert!(matches!(error, Error::Recipe { .. }), "{share}: {error}");
        }
    }
}

#[test]
fn a_network_without_anything_to_learn_has_no_turns() {
    let mut net = Network::builder("flat", [3, 1, 1]);
    net.push("flatten", Flatten).unwrap();
    let network = net.finish().unwrap();
    for backend in backends() {
        let recipe = Recipe::default().partial(Partial { share: 0.5 });
        let mut trainer = backend.compile_training(&network, &Weights::new(), &recipe).unwrap();
        let stats = trainer.gradients(&random_input(&network, 2, 1), &[0, 2], &mut KeepGradients).unwrap();
        assert!(stats.loss > 0.0);
        trainer.update(0.01).unwrap();
    }
}
