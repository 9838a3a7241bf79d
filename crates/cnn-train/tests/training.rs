//! Trainings of LeNet-5 on the thousand digits that come with the repository.

use std::path::{Path, PathBuf};

use cnn_core::{Backend, Weights};
use cnn_cpu::Cpu;
use cnn_train::data::{Dataset, Split};
use cnn_train::{Checkpoint, Fit, Settings, Silent};

fn digits(count: usize) -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::from_idx(&directory, Split::Test).unwrap();
    digits.truncate(count);
    digits
}

fn train(threads: usize, epochs: usize, from: Option<&Checkpoint>, save: Option<PathBuf>) -> Checkpoint {
    let backend = Cpu::with_threads(threads).unwrap();
    let model = cnn_models::find("lenet5").unwrap();
    let (data, network) = (digits(300), model.network().unwrap());
    let fit = Fit {
        backend: &backend,
        network: &network,
        preprocess: model.preprocess(),
        train: &data,
        test: &data,
        settings: Settings { epochs, schedule: cnn_train::Schedule::Constant, ..Settings::default() },
        save,
    };
    match from {
        Some(checkpoint) => fit.resume(checkpoint, &mut Silent).unwrap(),
        None => fit.run(&mut Silent).unwrap(),
    }
}

fn bits(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(name, view)| (name.to_string(), view.to_f32().iter().map(|v| v.to_bits()).collect())).collect()
}

#[test]
fn it_learns() {
    let done = train(2, 6, None, None);
    let (first, last) = (done.record.epochs[0], done.record.epochs[5]);
    assert!(last.train_loss < first.train_loss / 2.0, "{first:?} {last:?}");
    assert!(last.test_accuracy > 0.8, "{last:?}");
}

#[test]
fn any_number_of_threads_and_a_resumed_training_give_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    let straight = train(1, 3, None, None);
    train(2, 2, None, Some(path.clone()));
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_eq!(checkpoint.record.epochs.len(), 2);
    let resumed = train(3, 3, Some(&checkpoint), None);
    assert_eq!(bits(&straight.weights), bits(&resumed.weights));
    assert_eq!(bits(&straight.state), bits(&resumed.state));
    assert_eq!(straight.state.metadata(), resumed.state.metadata());
}

#[test]
fn a_checkpoint_is_a_weights_file_and_says_how_it_was_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    let done = train(2, 1, None, Some(path.clone()));
    let network = cnn_models::find("lenet5").unwrap().network().unwrap();
    let weights = cnn_models::weights_file::map(&path).unwrap();
    weights.check(&network).unwrap();
    assert!(weights.metadata()["cnn.training"].contains("\"model\":\"lenet5\""));
    let record = Checkpoint::read(&path).unwrap().record;
    assert_eq!((record.settings, record.images), (done.record.settings.clone(), 300));

    done.write_weights(&path).unwrap();
    let error = Checkpoint::read(&path).unwrap_err().to_string();
    assert!(error.contains("no checkpoint"), "{error}");
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let done = train(1, 1, None, None);
    let model = cnn_models::find("lenet5").unwrap();
    let (backend, data, network) = (Cpu::with_threads(1).unwrap(), digits(300), model.network().unwrap());
    let backend: &dyn Backend = &backend;
    let settings = Settings { seed: 99, ..Settings::default() };
    let fit = Fit {
        backend,
        network: &network,
        preprocess: model.preprocess(),
        train: &data,
        test: &data,
        settings,
        save: None,
    };
    let error = fit.resume(&done, &mut Silent).unwrap_err().to_string();
    assert!(error.starts_with("the checkpoint is of `lenet5` on 300 images with"), "{error}");
}

#[test]
fn a_training_that_diverges_says_so() {
    let model = cnn_models::find("lenet5").unwrap();
    let (backend, data, network) = (Cpu::with_threads(1).unwrap(), digits(300), model.network().unwrap());
    let settings = Settings { learning_rate: 1e30, ..Settings::default() };
    let fit = Fit {
        backend: &backend,
        network: &network,
        preprocess: model.preprocess(),
        train: &data,
        test: &data,
        settings,
        save: None,
    };
    let error = fit.run(&mut Silent).unwrap_err().to_string();
    assert!(error.contains("lower learning rate"), "{error}");
}
