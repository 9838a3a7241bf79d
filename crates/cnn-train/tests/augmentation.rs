//! Trainings on images that change from epoch to epoch, and on colour pictures in folders.

use std::path::Path;

use cnn_core::layers::{Conv2d, Flatten, GlobalAvgPool, Linear, Softmax};
use cnn_core::{Backend, Network, Weights};
use cnn_cpu::Cpu;
use cnn_models::{Interpolation, Normalization, Photo, Preprocess, weights_file};
use cnn_train::data::{Augmentation, Dataset, Split};
use cnn_train::metrics::evaluate;
use cnn_train::{Checkpoint, Error, Fit, Result, Schedule, Settings, Silent, TrainedOn};

fn digits() -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::open(&directory, Split::Test).unwrap();
    digits.truncate(200);
    digits
}

fn augmented(epochs: usize) -> Settings {
    let normalization = digits().normalization(&Preprocess::MNIST).unwrap();
    let augmentation = Augmentation { crop: 2, flip: true };
    let schedule = Schedule::Constant;
    Settings { epochs, schedule, augmentation, normalization: Some(normalization), ..Settings::default() }
}

fn train(threads: usize, settings: Settings, from: Option<&Checkpoint>, save: Option<&Path>) -> Result<Checkpoint> {
    let backend = Cpu::with_threads(threads).unwrap();
    let model = cnn_models::find("lenet5").unwrap();
    let (data, network) = (digits(), model.network().unwrap());
    let (preprocess, save) = (model.preprocess(), save.map(Path::to_path_buf));
    let fit = Fit { backend: &backend, network: &network, preprocess, train: &data, test: &data, settings, save };
    match from {
        Some(checkpoint) => fit.resume(checkpoint, &mut Silent),
        None => fit.run(&mut Silent),
    }
}

fn bits(weights: &Weights) -> Vec<Vec<u32>> {
    weights.iter().map(|(_, view)| view.to_f32().iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn a_resumed_training_changes_the_same_images_alike() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    let straight = train(1, augmented(3), None, None).unwrap();
    train(2, augmented(2), None, Some(&path)).unwrap();
    let checkpoint = Checkpoint::read(&path).unwrap();
    let resumed = train(3, augmented(3), Some(&checkpoint), None).unwrap();
    assert_eq!(bits(&straight.weights), bits(&resumed.weights));
    assert_eq!(bits(&straight.state), bits(&resumed.state));
    let plain = train(1, Settings { augmentation: Augmentation::default(), ..augmented(3) }, None, None).unwrap();
    assert_ne!(bits(&straight.weights), bits(&plain.weights));
}

#[test]
fn another_augmentation_is_another_training() {
    let done = train(1, augmented(1), None, None).unwrap();
    for settings in [
        Settings { augmentation: Augmentation { crop: 3, flip: true }, ..augmented(2) },
        Settings { augmentation: Augmentation { crop: 2, flip: false }, ..augmented(2) },
        Settings { normalization: None, ..augmented(2) },
    ] {
        let error = train(1, settings, Some(&done), None).unwrap_err().to_string();
        assert!(error.starts_with("the checkpoint is of `lenet5` on 200 images with"), "{error}");
    }
}

#[test]
fn the_test_sees_images_as_they_are() {
    let done = train(2, augmented(4), None, None).unwrap();
    let network = cnn_models::find("lenet5").unwrap().network().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lenet5.safetensors");
    done.write_weights(&path).unwrap();
    let weights = weights_file::map(&path).unwrap();
    let preprocess = TrainedOn::of(&weights).unwrap().preprocess(&Preprocess::MNIST).unwrap();
    assert_ne!(preprocess, Preprocess::MNIST);
    let backend = Cpu::with_threads(1).unwrap();
    let confusion = evaluate(&backend, (&network, &weights), &preprocess, &digits(), 64, |_| {}).unwrap();
    assert_eq!(confusion.accuracy(), done.record.epochs[3].test_accuracy);
}

#[test]
fn what_does_not_fit_the_images_is_told_before_the_first_epoch() {
    let of =
        |mean: &[f32], deviation: &[f32]| Some(Normalization { mean: mean.to_vec(), deviation: deviation.to_vec() });
    let crop = Settings { augmentation: Augmentation { crop: 28, flip: false }, ..augmented(1) };
    let error = train(1, crop, None, None).unwrap_err().to_string();
    assert_eq!(error, "a crop of 28 pixels from images of 28x28");
    let flat = Settings { normalization: of(&[0.5], &[0.0]), ..augmented(1) };
    assert!(matches!(train(1, flat, None, None), Err(Error::Setting(_))));
    let colours = Settings { normalization: of(&[0.5; 3], &[0.5; 3]), ..augmented(1) };
    assert!(
        train(1, colours, None, None)
            .unwrap_err()
            .to_string()
            .contains("3 means and deviations for pictures of 1x28x28")
    );
}

/// Pictures of two colours and of many sizes.
fn write_pictures(directory: &Path) {
    for (class, colour) in [("blue", [20, 30, 200]), ("red", [210, 40, 10])] {
        for split in ["train", "val"] {
            let folder = directory.join(split).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..20u8 {
                let shade = image::Rgb(colour.map(|level: u8| level.saturating_add(2 * i)));
                let picture = image::RgbImage::from_pixel(9 + u32::from(i), 30 - u32::from(i), shade);
                picture.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn a_network_learns_from_folders_of_pictures() {
    let directory = tempfile::tempdir().unwrap();
    write_pictures(directory.path());
    let [data, test] = [Split::Train, Split::Test].map(|split| Dataset::open(directory.path(), split).unwrap());
    let preprocess = Preprocess::Photo(Photo {
        shorter_side: 8,
        interpolation: Interpolation::Bilinear,
        crop: 8,
        mean: [0.0; 3],
        deviation: [1.0; 3],
    });
    let mut net = Network::builder("colours", [3, 8, 8]);
    net.push("features.0", Conv2d::new(4, 3)).unwrap();
    net.push("pool", GlobalAvgPool).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("classifier", Linear::new(2)).unwrap();
    net.push("softmax", Softmax).unwrap();
    let network = net.finish().unwrap();
    let settings = Settings {
        batch: 8,
        epochs: 8,
        augmentation: Augmentation { crop: 1, flip: true },
        normalization: Some(data.normalization(&preprocess).unwrap()),
        ..Settings::default()
    };
    let backend: &dyn Backend = &Cpu::with_threads(2).unwrap();
    let fit =
        Fit { backend, network: &network, preprocess: &preprocess, train: &data, test: &test, settings, save: None };
    let done = fit.run(&mut Silent).unwrap();
    assert_eq!(done.record.epochs[7].test_accuracy, 1.0, "{:?}", done.record.epochs);
    assert_eq!(done.record.classes, ["blue", "red"]);
    assert_eq!(bits(&done.weights), bits(&fit.run(&mut Silent).unwrap().weights));

    let renamed = data.clone().with_classes(["azure", "red"]).unwrap();
    let error = Fit { train: &renamed, ..fit }.resume(&done, &mut Silent).unwrap_err().to_string();
    assert!(error.contains(r#"classes ["blue", "red"] are not ["azure", "red"]"#), "{error}");
}
