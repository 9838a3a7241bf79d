//! What every backend has to do for workers that share batches: see [`conformance`](crate::conformance).

use cnn_core::backend::GradientSink;
use cnn_core::layers::{Conv2d, Dropout, Flatten, Linear, MixedPool2d, StochasticPool2d};
use cnn_core::training::Clip;
use cnn_core::{Backend, Network, Optimizer, Recipe, Tensor};

use crate::conformance::{Collect, random_input, random_weights};
use crate::{assert_close, whole_networks};

/// Doubles gradients when they are ready, and makes each of their numbers 1 when they are settled.
#[derive(Default)]
struct Ones {
    ready: Vec<(String, Vec<f32>)>,
    settled: Vec<(String, Vec<f32>)>,
}

impl GradientSink for Ones {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        assert!(self.settled.is_empty(), "{name} is ready after others were settled");
        gradient.iter_mut().for_each(|g| *g *= 2.0);
        self.ready.push((name.to_string(), gradient.to_vec()));
        Ok(())
    }

    fn settle(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        self.settled.push((name.to_string(), gradient.to_vec()));
        gradient.fill(1.0);
        Ok(())
    }
}

/// Gradients are settled once, after all are ready, as `ready` left them; and what is left in them is bounded and learned from.
pub(crate) fn gradients_that_a_sink_settles(backend: &dyn Backend) {
    const RATE: f32 = 0.25;
    let network = whole_networks().expect("they fit").swap_remove(0);
    let (weights, images) = (random_weights(&network, 3), random_input(&network, 3, 4));
    let recipe = Recipe::new(Optimizer::sgd(0.0).with_weight_decay(0.0)).clip(Some(Clip::Norm(0.5)));
    let mut trainer = backend.compile_training(&network, &weights, &recipe).expect("compiles");
    let mut sink = Ones::default();
    trainer.gradients(&images, &[0, 1, 0], &mut sink).expect("runs");
    assert_eq!(sink.ready, sink.settled);
    trainer.update(RATE).expect("updates");
    let length: usize = sink.settled.iter().map(|(_, gradient)| gradient.len()).sum();
    let step = RATE * 0.5 / (length as f32).sqrt();
    let got = trainer.weights().expect("weights");
    for (name, gradient) in &sink.settled {
        let (got, before) = (got.get(name).expect("a parameter"), weights.get(name).expect("a parameter"));
        let want: Vec<f32> = before.to_f32().iter().map(|w| w - step).collect();
        assert_eq!(want.len(), gradient.len());
        assert_close(&format!("settled {name}"), &got.to_f32(), &want, 1e-5);
    }
}

/// Gradients can be multiplied before they are learned from; those of the next batch are not.
pub(crate) fn gradients_that_are_scaled(backend: &dyn Backend) {
    const RATE: f32 = 0.25;
    let network = whole_networks().expect("they fit").swap_remove(0);
    let (weights, images) = (random_weights(&network, 3), random_input(&network, 3, 4));
    let recipe = Recipe::new(Optimizer::sgd(0.0).with_weight_decay(0.0));
    let mut trainer = backend.compile_training(&network, &weights, &recipe).expect("compiles");
    let mut step = |factor: f32| {
        let (before, mut sink) = (trainer.weights().expect("weights"), Collect::default());
        trainer.gradients(&images, &[0, 1, 0], &mut sink).expect("runs");
        if factor != 1.0 {
            trainer.scale_gradients(factor).expect("multiplies");
        }
        trainer.update(RATE).expect("updates");
        let got = trainer.weights().expect("weights");
        assert!(sink.0.iter().flat_map(|(_, gradient)| gradient).any(|g| g.abs() > 1e-3));
        for (name, gradient) in &sink.0 {
            let (got, before) = (got.get(name).expect("a parameter"), before.get(name).expect("a parameter"));
            let pairs = before.to_f32().into_owned().into_iter().zip(gradient);
            let want: Vec<f32> = pairs.map(|(w, g)| w - RATE * factor * g).collect();
            assert_close(&format!("{name} after gradients times {factor}"), &got.to_f32(), &want, 1e-5);
        }
    };
    [4.0, 1.0, -0.5].into_iter().for_each(&mut step);
}

/// The gradients of a batch are the means of its parts', with what dropout and poolings draw.
pub(crate) fn parts_of_a_batch(backend: &dyn Backend) {
    let mut net = Network::builder("dropped", [2, 3, 5]);
    net.push("drop1", Dropout::new(0.3)).expect("fits");
    net.push("conv", Conv2d::new(4, [2, 1])).expect("fits");
    net.push("stochastic", StochasticPool2d::new(2).stride(1)).expect("fits");
    net.push("mixed", MixedPool2d::new([1, 2])).expect("fits");
    net.push("flatten", Flatten).expect("fits");
    net.push("drop2", Dropout::new(0.5)).expect("fits");
    net.push("fc", Linear::new(3)).expect("fits");
    let network = net.finish().expect("fits");
    let (images, labels) = (random_input(&network, 21, 2), Vec::from_iter((0..21).map(|i| i % 3)));
    let recipe = Recipe::default().seed(4);
    let gradients = |cuts: &[usize]| {
        let mut trainer = backend.compile_training(&network, &random_weights(&network, 1), &recipe).expect("compiles");
        let mut all: Vec<Vec<f32>> = Vec::new();
        for part in cuts.windows(2).map(|pair| pair[0]..pair[1]) {
            let values = images.as_f32().expect("numbers").chunks(30).skip(part.start).take(part.len());
            let part_images = Tensor::new([part.len(), 2, 3, 5], values.flatten().copied().collect::<Vec<_>>());
            trainer.count_samples_from(part.start);
            let mut sink = Collect::default();
            trainer.gradients(&part_images.expect("fits"), &labels[part.clone()], &mut sink).expect("runs");
            let share = part.len() as f32 / labels.len() as f32;
            all.resize(sink.0.len(), Vec::new());
            for (sum, (_, gradient)) in all.iter_mut().zip(sink.0) {
                sum.resize(gradient.len(), 0.0);
                sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += share * g);
            }
        }
        all
    };
    for (got, want) in gradients(&[0, 9, 20, 21]).iter().zip(gradients(&[0, 21])) {
        assert_close("gradients of parts with what is drawn", got, &want, 1e-5);
    }
}
