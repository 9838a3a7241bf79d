//! Data parallelism: several workers learn what one does.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cnn_core::layers::{Activation, BatchNorm2d, Conv2d, Dropout, Flatten, Linear};
use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Network, Reference, Weights};
use cnn_cpu::Cpu;
use cnn_models::Preprocess;
use cnn_train::data::{Augmentation, Dataset, Split};
use cnn_train::parallel::{Compression, Worker, on_threads};
use cnn_train::{Checkpoint, Error, Fit, Result, Schedule, Settings, Silent};

fn digits(count: usize) -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::open(&directory, Split::Test).unwrap();
    digits.truncate(count);
    digits
}

/// Few weights, and units that are dropped.
fn small() -> Network {
    let mut net = Network::builder("small", [1, 32, 32]);
    net.push("conv", Conv2d::new(3, 5).stride(4)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("drop", Dropout::new(0.2)).unwrap();
    net.push("fc", Linear::new(10)).unwrap();
    net.finish().unwrap()
}

fn lenet() -> Network {
    cnn_models::find("lenet5").unwrap().network().unwrap()
}

struct Training {
    network: Network,
    data: Dataset,
    settings: Settings,
    save: Option<PathBuf>,
}

impl Training {
    fn new(network: Network, count: usize, settings: Settings) -> Self {
        Training { network, data: digits(count), settings, save: None }
    }

    fn fit<'a>(&'a self, backend: &'a dyn Backend) -> Fit<'a> {
        let (network, preprocess, settings) = (&self.network, &Preprocess::MNIST, self.settings.clone());
        Fit { backend, network, preprocess, train: &self.data, test: &self.data, settings, save: self.save.clone() }
    }

    fn alone(&self) -> Checkpoint {
        self.fit(&Cpu::with_threads(1).unwrap()).run(&mut Silent).unwrap()
    }

    /// What each worker ends with.
    fn together(&self, workers: usize, codec: &str, from: Option<&Checkpoint>) -> Result<Vec<Checkpoint>> {
        let cpu = Cpu::with_threads(1).unwrap();
        self.together_on(&cpu, workers, Compression::find(codec, codec != "none")?, from)
    }

    fn together_on(
        &self,
        backend: &dyn Backend,
        workers: usize,
        compression: Compression,
        from: Option<&Checkpoint>,
    ) -> Result<Vec<Checkpoint>> {
        let all = Mutex::new(vec![None; workers]);
        on_threads(workers, |end| {
            let mut worker = Worker::new(Box::new(end), compression.clone())?;
            let fit = self.fit(backend);
            let done = match from {
                Some(checkpoint) => worker.resume(&fit, checkpoint, &mut Silent)?,
                None => worker.run(&fit, &mut Silent)?,
            };
            all.lock().unwrap()[worker.rank()] = Some(done);
            Ok(())
        })?;
        Ok(all.into_inner().unwrap().into_iter().map(Option::unwrap).collect())
    }
}

fn bits(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(name, view)| (name.to_string(), view.to_f32().iter().map(|v| v.to_bits()).collect())).collect()
}

fn difference(a: &Weights, b: &Weights) -> f32 {
    let pairs = a.iter().flat_map(|(name, view)| {
        let (a, b) = (view.to_f32().into_owned(), b.get(name).unwrap().to_f32().into_owned());
        a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
    });
    pairs.fold(0.0, f32::max)
}

#[test]
fn four_workers_learn_what_one_does_in_a_hundred_steps() {
    // Five steps an epoch, the last of 10 images.
    let augmentation = Augmentation { crop: 2, flip: false };
    let settings = |clip| Settings { batch: 30, epochs: 20, clip, augmentation, ..Settings::default() };
    let training = Training::new(small(), 130, settings(Some(Clip::Norm(2.0))));
    let one = training.alone();
    let unbounded = Training::new(small(), 130, settings(None)).alone();
    assert!(difference(&unbounded.weights, &one.weights) > 1e-2, "the bound is idle");
    let four = training.together(4, "none", None).unwrap();
    let plain = training.together_on(&Reference::new(), 4, Compression::default(), None).unwrap();
    for all in [four, plain] {
        assert!(all.iter().all(|worker| bits(&worker.weights) == bits(&all[0].weights)));
        let off = difference(&all[0].weights, &one.weights);
        assert!(off < 1e-5, "{off}");
        for (one, four) in one.record.epochs.iter().zip(&all[0].record.epochs) {
            assert!((one.train_loss - four.train_loss).abs() < 1e-5 && one.train_accuracy == four.train_accuracy);
        }
        assert!(all.iter().all(|worker| worker.record.epochs == all[0].record.epochs));
    }
}

#[test]
fn more_workers_than_samples_and_a_part_of_the_layers_learn_what_one_does() {
    let settings = Settings { batch: 8, epochs: 12, partial: Some(Partial { share: 0.5 }), ..Settings::default() };
    let training = Training::new(small(), 11, settings);
    let one = training.alone();
    for workers in [1, 3, 9] {
        let all = training.together(workers, "none", None).unwrap();
        let off = difference(&all[0].weights, &one.weights);
        assert!(off < 1e-5, "{workers} workers: {off}");
        assert!(all.iter().all(|worker| bits(&worker.weights) == bits(&all[0].weights)));
    }
}

#[test]
fn eight_bits_learn_as_well_and_a_resumed_training_has_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    let settings = |epochs| Settings { epochs, schedule: Schedule::Constant, ..Settings::default() };
    let training = Training::new(lenet(), 300, settings(6));
    let straight = training.together(4, "dynamic-tree", None).unwrap();
    assert_eq!(straight[0].record.epochs.len(), 6);
    let (one, four) = (training.alone().record.epochs[5], straight[0].record.epochs[5]);
    assert!(four.test_accuracy > one.test_accuracy - 0.03, "{four:?} {one:?}");
    assert!(straight.iter().all(|worker| bits(&worker.weights) == bits(&straight[0].weights)));

    let first = Training { save: Some(path.clone()), ..Training::new(lenet(), 300, settings(2)) };
    first.together(4, "dynamic-tree", None).unwrap();
    let resumed = training.together(4, "dynamic-tree", Some(&Checkpoint::read(&path).unwrap())).unwrap();
    assert_eq!(bits(&resumed[0].weights), bits(&straight[0].weights));
    assert_eq!(bits(&resumed[0].state), bits(&straight[0].state));
}

#[test]
fn batch_norms_know_their_own_samples_and_learn_what_all_do() {
    let mut net = Network::builder("normed", [1, 32, 32]);
    net.push("conv", Conv2d::new(3, 5).stride(4)).unwrap();
    net.push("norm", BatchNorm2d::default()).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(10)).unwrap();
    // The last batch has 2 images for 3 workers.
    let settings = Settings { batch: 30, epochs: 4, ..Settings::default() };
    let training = Training::new(net.finish().unwrap(), 122, settings);
    let all = training.together(3, "linear", None).unwrap();
    let losses = all[0].record.epochs.iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>();
    assert!(losses[3] < losses[0] / 1.5, "{losses:?}");
    let of = |worker: &Checkpoint, name: &str| worker.weights.get(name).unwrap().to_f32().into_owned();
    for worker in &all[1..] {
        for name in ["conv.weight", "norm.weight", "norm.bias", "fc.weight", "fc.bias"] {
            assert_eq!(of(worker, name), of(&all[0], name), "{name}");
        }
        assert_ne!(of(worker, "norm.running_mean"), of(&all[0], "norm.running_mean"));
    }
}

#[test]
fn every_codec_learns() {
    let settings = Settings { batch: 30, epochs: 4, ..Settings::default() };
    let training = Training::new(small(), 130, settings);
    for codec in cnn_train::codec::NAMES {
        let epochs = training.together(2, codec, None).unwrap().swap_remove(0).record.epochs;
        assert!(epochs[3].train_loss < epochs[0].train_loss / 1.5, "{codec}: {epochs:?}");
    }
}

#[test]
fn settings_that_cannot_be_shared_are_told() {
    let refused = |settings, codec, word: &str| {
        let result = Training::new(small(), 20, settings).together(2, codec, None);
        assert!(matches!(&result, Err(Error::Setting(reason)) if reason.contains(word)), "{word}");
    };
    refused(Settings { asynchronous: NonZeroUsize::new(4), ..Settings::default() }, "none", "asynchronous");
    refused(Settings { partial: Some(Partial { share: 0.5 }), ..Settings::default() }, "one-bit", "feedback");
    refused(Settings { batch: 0, ..Settings::default() }, "none", "batch");
}
