//! Trainings of LeNet-5 on the thousand digits that come with the repository.

use std::path::{Path, PathBuf};

use cnn_core::{Backend, Weights};
use cnn_cpu::Cpu;
use cnn_train::data::{Dataset, Split};
use cnn_train::{Checkpoint, Error, Fit, Schedule, Settings, Silent};

fn digits(count: usize) -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::from_idx(&directory, Split::Test).unwrap();
    digits.truncate(count);
    digits
}

/// Does `work` with a training of LeNet-5 on 300 digits.
fn with_fit<R>(threads: usize, settings: Settings, save: Option<PathBuf>, work: impl FnOnce(&Fit<'_>) -> R) -> R {
    let backend = Cpu::with_threads(threads).unwrap();
    let model = cnn_models::find("lenet5").unwrap();
    let (data, network) = (digits(300), model.network().unwrap());
    let (preprocess, backend): (_, &dyn Backend) = (model.preprocess(), &backend);
    work(&Fit { backend, network: &network, preprocess, train: &data, test: &data, settings, save })
}

fn train(threads: usize, epochs: usize, from: Option<&Checkpoint>, save: Option<PathBuf>) -> Checkpoint {
    let settings = Settings { epochs, schedule: Schedule::Constant, ..Settings::default() };
    with_fit(threads, settings, save, |fit| match from {
        Some(checkpoint) => fit.resume(checkpoint, &mut Silent).unwrap(),
        None => fit.run(&mut Silent).unwrap(),
    })
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
    let settings = Settings { seed: 99, ..Settings::default() };
    let error = with_fit(1, settings, None, |fit| fit.resume(&done, &mut Silent).unwrap_err().to_string());
    assert!(error.starts_with("the checkpoint is of `lenet5` on 300 images with"), "{error}");
}

#[test]
fn a_training_that_diverges_says_so() {
    let settings = Settings { learning_rate: 1e30, ..Settings::default() };
    let error = with_fit(1, settings, None, |fit| fit.run(&mut Silent).unwrap_err().to_string());
    assert!(error.contains("lower learning rate"), "{error}");
}

#[test]
fn settings_out_of_range_are_told() {
    for settings in [
        Settings { batch: 0, ..Settings::default() },
        Settings { epochs: 0, ..Settings::default() },
        Settings { learning_rate: f32::NAN, ..Settings::default() },
        Settings { momentum: 1.0, ..Settings::default() },
        Settings { weight_decay: -1.0, ..Settings::default() },
    ] {
        let result = with_fit(1, settings.clone(), None, |fit| fit.run(&mut Silent));
        assert!(matches!(result, Err(Error::Setting(_))), "{settings:?}");
    }
}
