//! Trainings of LeNet-5 on the thousand digits that come with the repository.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cnn_core::layers::{Flatten, Linear, LocalContrastNorm, LocallyConnected2d, Rrelu, SpectralPool2d};
use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Initialization, Network, Optimizer, Weights};
use cnn_cpu::Cpu;
use cnn_train::data::{Dataset, Split};
use cnn_train::{Checkpoint, Error, Fit, Schedule, Settings, Silent};

fn digits(count: usize) -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::open(&directory, Split::Test).unwrap();
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
fn a_training_goes_on_from_given_weights() {
    let trained = train(2, 2, None, None);
    let settings = Settings { epochs: 1, learning_rate: 1e-4, ..Settings::default() };
    let tuned = with_fit(2, settings.clone(), None, |fit| fit.run_from(&trained.weights, &mut Silent).unwrap());
    let (before, after) = (trained.record.epochs[1], tuned.record.epochs[0]);
    assert!(after.train_loss < before.train_loss && tuned.record.epochs.len() == 1, "{before:?} {after:?}");
    with_fit(2, settings.clone(), None, |fit| {
        let initial = Weights::initial(fit.network, settings.seed, settings.initialization).unwrap();
        assert_eq!(
            bits(&fit.run(&mut Silent).unwrap().weights),
            bits(&fit.run_from(&initial, &mut Silent).unwrap().weights)
        );
        assert!(fit.run_from(&Weights::new(), &mut Silent).is_err());
    });
    with_fit(2, Settings { batch: 0, ..settings }, None, |fit| assert!(fit.run(&mut Silent).is_err()));
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
    assert!(error.contains("lower learning rate") && error.contains("after layer `"), "{error}");
}

#[test]
fn every_optimizer_learns() {
    for optimizer in Optimizer::all() {
        let learning_rate = match optimizer {
            Optimizer::AdaDelta { .. } => 1.0,
            Optimizer::Sgd { .. } | Optimizer::Nesterov { .. } | Optimizer::AdaGrad { .. } => 0.02,
            _ => 0.002,
        };
        let (clip, warm_up) = (Some(Clip::Norm(5.0)), 0.5);
        let settings =
            Settings { optimizer, learning_rate, clip, warm_up, batch: 32, epochs: 6, ..Settings::default() };
        let epochs = with_fit(2, settings, None, |fit| fit.run(&mut Silent).unwrap()).record.epochs;
        assert!(epochs[5].train_loss < epochs[0].train_loss / 1.5, "{optimizer:?} {epochs:?}");
    }
}

/// Contrast normalised, pooled by frequencies, seen by filters that no two places share, with slopes drawn by chance.
#[test]
fn layers_on_plain_loops_learn_on_any_number_of_threads_and_are_saved() {
    let mut net = Network::builder("plain", [1, 32, 32]);
    net.push("norm", LocalContrastNorm::new(5)).unwrap();
    net.push("pool", SpectralPool2d::new(12)).unwrap();
    net.push("local", LocallyConnected2d::new(4, 5).stride(2).padding(1)).unwrap();
    net.push("rrelu", Rrelu::default()).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("classifier", Linear::new(10)).unwrap();
    let network = net.finish().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plain.safetensors");
    let data = digits(200);
    let train = |threads: usize| {
        let backend = Cpu::with_threads(threads).unwrap();
        let preprocess = cnn_models::find("lenet5").unwrap().preprocess();
        let settings = Settings { epochs: 5, learning_rate: 0.05, batch: 16, ..Settings::default() };
        let save = Some(path.clone());
        let fit = Fit { backend: &backend, network: &network, preprocess, train: &data, test: &data, settings, save };
        fit.run(&mut Silent).unwrap()
    };
    let done = train(1);
    let epochs = &done.record.epochs;
    assert!(epochs[4].train_loss < epochs[0].train_loss / 2.0, "{epochs:?}");
    assert_eq!(bits(&done.weights), bits(&train(3).weights));
    let saved = cnn_models::weights_file::map(&path).unwrap();
    saved.check(&network).unwrap();
    assert_eq!(bits(&saved), bits(&done.weights));
}

#[test]
fn a_part_of_the_layers_at_a_time_learns_and_resumes_with_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    let settings = |epochs| {
        let (partial, schedule) = (Some(Partial { share: 0.4 }), Schedule::Constant);
        Settings {
            epochs,
            partial,
            optimizer: Optimizer::sgd(0.5),
            batch: 16,
            learning_rate: 0.05,
            schedule,
            ..Settings::default()
        }
    };
    let straight = with_fit(1, settings(12), None, |fit| fit.run(&mut Silent).unwrap());
    let last = straight.record.epochs[11];
    assert!(last.test_accuracy > 0.8, "{last:?}");
    with_fit(2, settings(7), Some(path.clone()), |fit| fit.run(&mut Silent).unwrap());
    let checkpoint = Checkpoint::read(&path).unwrap();
    let resumed = with_fit(3, settings(12), None, |fit| fit.resume(&checkpoint, &mut Silent).unwrap());
    assert_eq!(bits(&straight.weights), bits(&resumed.weights));
    assert_eq!(bits(&straight.state), bits(&resumed.state));
}

#[test]
fn threads_that_do_not_wait_for_one_another_learn_as_well() {
    let asynchronous = NonZeroUsize::new(16);
    let settings =
        Settings { asynchronous, batch: 300, epochs: 10, optimizer: Optimizer::sgd(0.5), ..Settings::default() };
    let epochs = with_fit(3, settings.clone(), None, |fit| fit.run(&mut Silent).unwrap()).record.epochs;
    assert!(epochs[9].test_accuracy > 0.8, "{epochs:?}");
    let alone = || with_fit(1, settings.clone(), None, |fit| fit.run(&mut Silent).unwrap());
    assert_eq!(bits(&alone().weights), bits(&alone().weights));
}

#[test]
fn settings_from_before_an_option_have_it_off() {
    let mut old = serde_json::to_value(Settings::default()).unwrap();
    for name in ["augmentation", "normalization", "partial", "asynchronous"] {
        old.as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(serde_json::from_value::<Settings>(old).unwrap(), Settings::default());
}

#[test]
fn a_training_that_gets_no_better_is_over() {
    let settings = Settings { learning_rate: 1e-12, patience: Some(2), ..Settings::default() };
    let epochs = with_fit(1, settings, None, |fit| fit.run(&mut Silent).unwrap()).record.epochs;
    assert_eq!(epochs.len(), 3, "{epochs:?}");
}

#[test]
fn weights_begin_as_far_apart_as_asked() {
    let network = cnn_models::find("lenet5").unwrap().network().unwrap();
    let [he, glorot, lecun] = [Initialization::He, Initialization::Glorot, Initialization::LeCun].map(|spread| {
        let weights = Weights::initial(&network, 3, spread).unwrap();
        let values = weights.get("features.6.weight").unwrap().to_f32().into_owned();
        values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64
    });
    // 16 channels of 5 x 5 in, 120 out.
    for (got, want) in [(he, 2.0 / 400.0), (glorot, 2.0 / 3400.0), (lecun, 1.0 / 400.0)] {
        assert!((got / want - 1.0).abs() < 0.05, "{got} {want}");
    }
}

#[test]
fn settings_out_of_range_are_told() {
    for settings in [
        Settings { batch: 0, ..Settings::default() },
        Settings { epochs: 0, ..Settings::default() },
        Settings { learning_rate: f32::NAN, ..Settings::default() },
        Settings { optimizer: Optimizer::sgd(1.0), ..Settings::default() },
        Settings { optimizer: Optimizer::default().with_weight_decay(-1.0), ..Settings::default() },
        Settings { clip: Some(Clip::Norm(0.0)), ..Settings::default() },
        Settings { warm_up: f64::NAN, ..Settings::default() },
        Settings { schedule: Schedule::Step { every: 0, factor: 0.5 }, ..Settings::default() },
        Settings { partial: Some(Partial { share: 0.0 }), ..Settings::default() },
        Settings { partial: Some(Partial { share: 1.5 }), ..Settings::default() },
        Settings { partial: Some(Partial { share: f64::NAN }), ..Settings::default() },
    ] {
        let result = with_fit(1, settings.clone(), None, |fit| fit.run(&mut Silent));
        assert!(matches!(result, Err(Error::Setting(_))), "{settings:?}");
    }
}
