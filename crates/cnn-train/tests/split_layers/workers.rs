//! Workers, what they learn from, and how far apart what they learned is.

use std::sync::Arc;

use cnn_core::training::Clip;
use cnn_core::{Backend, Network, Optimizer, Recipe, Reference, Tensor, Trainer, Weights};
use cnn_cpu::Cpu;
use cnn_ocl::Ocl;
use cnn_train::parallel::{Thread, threads};

/// A batch of its own for each step. The value at the place of its label stands out in each image.
pub(crate) fn batch(network: &Network, size: usize, step: usize) -> (Tensor, Vec<u32>) {
    let elements = network.input_shape().elements();
    let classes = network.output_shape().elements();
    let value = |i: usize| ((i * 7919 + step * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let mut images: Vec<f32> = (0..size * elements).map(value).collect();
    let labels: Vec<u32> = (0..size).map(|i| ((i * 31 + step * 17) % classes) as u32).collect();
    for (image, &label) in images.chunks_mut(elements).zip(&labels) {
        image[label as usize % elements] += 2.0;
    }
    (Tensor::new(network.input_shape().with_batch(size), images).unwrap(), labels)
}

/// Steps over batches of 6 samples, each seventh of 1.
pub(crate) fn learn(trainer: &mut dyn Trainer, network: &Network, steps: std::ops::Range<usize>) -> Vec<f64> {
    let step = |step: usize| {
        let (images, labels) = batch(network, if step % 7 == 6 { 1 } else { 6 }, step);
        trainer.step(&images, &labels, 0.01, &mut cnn_core::backend::KeepGradients).unwrap().loss
    };
    steps.map(step).collect()
}

/// What each of several workers makes of `work`, which gets its end of the transport.
pub(crate) fn workers<R: Send>(count: usize, work: impl Fn(Thread) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let work = &work;
        let all: Vec<_> = threads(count).into_iter().map(|end| scope.spawn(move || work(end))).collect();
        all.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

pub(crate) fn recipe(optimizer: Optimizer) -> Recipe {
    Recipe::new(optimizer).seed(5).clip(Clip::Value(1.0))
}

pub(crate) fn rms_prop() -> Optimizer {
    Optimizer::all()[3]
}

/// The largest difference of two sets of weights, over the largest weight.
pub(crate) fn distance(a: &Weights, b: &Weights) -> f32 {
    assert_eq!(a.len(), b.len());
    let (mut most, mut largest) = (0.0f32, 0.0f32);
    for ((name, a), (other, b)) in a.iter().zip(b.iter()) {
        assert_eq!((name, a.shape), (other, b.shape));
        for (a, b) in a.to_f32().iter().zip(b.to_f32().iter()) {
            (most, largest) = (most.max((a - b).abs()), largest.max(a.abs()));
        }
    }
    if most == 0.0 { 0.0 } else { most / largest }
}

pub(crate) fn bits(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(name, view)| (name.to_string(), view.to_f32().iter().map(|v| v.to_bits()).collect())).collect()
}

pub(crate) type Make = fn() -> Arc<dyn Backend>;

pub(crate) fn cpu() -> Arc<dyn Backend> {
    Arc::new(Cpu::with_threads(1).unwrap())
}

pub(crate) fn ocl() -> Arc<dyn Backend> {
    Arc::new(Ocl::new("").unwrap())
}

pub(crate) fn reference() -> Arc<dyn Backend> {
    Arc::new(Reference::new())
}
