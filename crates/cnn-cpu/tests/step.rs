//! A whole step is the gradients and then the update, bit for bit, on any number of threads.

use cnn_core::backend::KeepGradients;
use cnn_core::training::Clip;
use cnn_core::{Backend, Optimizer, Recipe, Weights};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::whole_networks;

#[test]
fn a_step_is_gradients_and_update() {
    let recipe = Recipe::new(Optimizer::sgd(0.9)).clip(Some(Clip::Norm(1.0))).seed(4);
    let same = |a: &Weights, b: &Weights| {
        a.iter()
            .zip(b.iter())
            .all(|((_, a), (_, b))| a.to_f32().iter().map(|v| v.to_bits()).eq(b.to_f32().iter().map(|v| v.to_bits())))
    };
    for network in whole_networks().unwrap() {
        let weights = random_weights(&network, 2);
        let trainer =
            |threads| Cpu::with_threads(threads).unwrap().compile_training(&network, &weights, &recipe).unwrap();
        let (mut apart, mut one, mut two) = (trainer(2), trainer(1), trainer(2));
        for step in 0..3 {
            let images = random_input(&network, 40, step);
            let labels: Vec<u32> = (0..40).map(|n| n % network.output_shape().elements() as u32).collect();
            let stats = apart.gradients(&images, &labels, &mut KeepGradients).unwrap();
            apart.update(0.1).unwrap();
            for trainer in [&mut one, &mut two] {
                assert_eq!(trainer.step(&images, &labels, 0.1, &mut KeepGradients).unwrap(), stats);
                assert!(same(&trainer.weights().unwrap(), &apart.weights().unwrap()), "{}", network.name());
                assert!(same(&trainer.state().unwrap(), &apart.state().unwrap()), "{}", network.name());
            }
        }
        assert!(!same(&one.weights().unwrap(), &weights));
    }
}
