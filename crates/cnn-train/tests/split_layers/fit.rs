//! The epoch loop of workers that share layers.

use std::sync::Arc;

use cnn_core::Backend;
use cnn_core::layers::{Dropout, Flatten, Linear};
use cnn_models::Preprocess;
use cnn_train::data::Dataset;
use cnn_train::parallel::{Hybrid, ModelParallel, Splitting, ValueCodecs, on_threads};
use cnn_train::{Checkpoint, Error, Fit, Settings, Silent};

use crate::workers::{cpu, distance};

#[derive(Clone, Copy)]
enum How {
    Alone,
    Model,
    Hybrid,
}

/// Trains a small LeNet on images of their label's brightness, 19 in batches of 8, on three workers; `seeds` are of each.
fn train(how: How, epochs: usize, from: Option<&Checkpoint>, seeds: [u64; 3]) -> Result<Checkpoint, Error> {
    let mut net = cnn_core::Network::builder("small", [1, 28, 28]);
    net.push("conv", cnn_core::layers::Conv2d::new(2, 5).stride(4)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("drop", Dropout::new(0.2)).unwrap();
    net.push("fc1", Linear::new(20)).unwrap();
    net.push("fc2", Linear::new(10)).unwrap();
    let network = net.finish().unwrap();
    let labels: Vec<u32> = (0..19).map(|image| image % 10).collect();
    let pixels = labels.iter().flat_map(|&label| (0..784).map(move |pixel| (pixel % 11) as u8 * label as u8)).collect();
    let images = Dataset::new([1, 28, 28], pixels, labels).unwrap();
    let count = if matches!(how, How::Alone) { 1 } else { 3 };
    let backends: Vec<Arc<dyn Backend>> = (0..count).map(|_| cpu()).collect();
    let fit = |backend, seed| {
        let settings = Settings { epochs, batch: 8, seed, ..Settings::default() };
        let settings = Settings { schedule: cnn_train::Schedule::Constant, ..settings };
        let (train, test) = (&images, &images);
        Fit { backend, network: &network, preprocess: &Preprocess::MNIST_BARE, train, test, settings, save: None }
    };
    on_threads(count, |end| {
        let rank = cnn_train::parallel::Transport::rank(&end);
        let (codecs, splitting) = (ValueCodecs::uncompressed(), Splitting::default());
        let fit = fit(backends[rank].as_ref(), seeds[rank]);
        let (backend, end) = (backends[rank].clone(), Box::new(end));
        match (how, from) {
            (How::Alone, Some(checkpoint)) => fit.resume(checkpoint, &mut Silent),
            (How::Alone, None) => fit.run(&mut Silent),
            (How::Model, Some(checkpoint)) => {
                ModelParallel::new(backend, end, codecs, splitting)?.resume(&fit, checkpoint, &mut Silent)
            }
            (How::Model, None) => ModelParallel::new(backend, end, codecs, splitting)?.run(&fit, &mut Silent),
            (How::Hybrid, Some(checkpoint)) => {
                Hybrid::new(backend, end, codecs, splitting)?.resume(&fit, checkpoint, &mut Silent)
            }
            (How::Hybrid, None) => Hybrid::new(backend, end, codecs, splitting)?.run(&fit, &mut Silent),
        }
    })
}

#[test]
fn epochs_are_those_of_one_worker_and_go_on_from_its_checkpoint() {
    let alone = train(How::Alone, 3, None, [7; 3]).unwrap();
    for how in [How::Model, How::Hybrid] {
        let whole = train(how, 3, None, [7; 3]).unwrap();
        assert!(distance(&whole.weights, &alone.weights) < 1e-5);
        for (epoch, own) in whole.record.epochs.iter().zip(&alone.record.epochs) {
            let difference = (epoch.train_loss - own.train_loss).abs();
            assert!(difference < 1e-4 && epoch.test_accuracy == own.test_accuracy, "{epoch:?} {own:?}");
        }
        let resumed = train(how, 3, Some(&train(How::Alone, 1, None, [7; 3]).unwrap()), [7; 3]).unwrap();
        assert!(distance(&resumed.weights, &alone.weights) < 1e-5);
        assert_eq!(resumed.record.epochs.len(), 3);
    }
}

#[test]
fn workers_that_are_set_to_something_else_are_found_before_the_first_step() {
    for how in [How::Model, How::Hybrid] {
        let error = train(how, 1, None, [7, 7, 8]).unwrap_err().to_string();
        assert!(error.contains("worker") && error.contains("seed"), "{error}");
    }
}
