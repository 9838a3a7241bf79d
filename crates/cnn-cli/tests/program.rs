//! The program, as a user meets it: its words, its JSON, and what it says of bad input.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{cnn, json, mnist, refused, repository, text};
use serde_json::Value;

#[test]
fn without_arguments_classify_reads_the_ten_digits() {
    let result = json(&["classify"]);
    let results = result["results"].as_array().unwrap();
    let labels: Vec<&str> = results.iter().map(|r| r["predictions"][0]["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let output = cnn(&["classify"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("digit 7"));
}

#[test]
fn every_backend_sees_the_same_digit() {
    let picture = repository().join("crates/cnn-models/assets/digits/4.png");
    let result = json(&["classify", text(&picture), "--backend", "all", "--top", "1"]);
    let results = result["results"].as_array().unwrap();
    let four = Value::from("4");
    let found: Vec<_> =
        results.iter().map(|r| (r["backend"].as_str().unwrap(), &r["predictions"][0]["label"])).collect();
    assert_eq!(found, ["cpu", "ocl", "reference"].map(|backend| (backend, &four)));
}

#[test]
fn devices_lists_every_backend() {
    let found = json(&["devices"]);
    let names: Vec<&str> = found["backends"].as_array().unwrap().iter().filter_map(|b| b["backend"].as_str()).collect();
    assert_eq!((names[0], names[1], names[names.len() - 1]), ("cpu", "ocl:0", "reference"));
}

#[test]
fn the_ladder_has_a_rung_for_every_row_that_takes_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let result = json(&["bench", "lenet5", "--backend", "ocl", "--ladder", "--figures", text(folder.path())]);
    let rungs: Vec<&str> =
        result["rungs"].as_array().unwrap().iter().filter_map(|rung| rung["name"].as_str()).collect();
    assert_eq!(rungs, ["reference", "direct", "work_group", "im2col", "depth_flattened", "auto", "cpu"]);
    assert_eq!(result["layers"].as_array().unwrap().len(), 5);
    for figure in ["ladder-times.svg", "ladder-speedups.svg"] {
        assert!(std::fs::read_to_string(folder.path().join(figure)).unwrap().contains("<polyline"), "{figure}");
    }
    assert!(refused(&["bench", "lenet5", "--backend", "cpu", "--ladder"]).contains("pass --backend ocl"));
}

#[test]
fn tuning_is_written_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cnn/ocl/tuning.toml");
    let result = json(&["tune", "--limit", "0", "--save", text(&file)]);
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(saved.contains(&format!("rows = {}", result["tuning"]["rows"])), "{saved}");
    assert!(refused(&["tune", "--backend", "cpu"]).contains("nothing to tune"));
    // Of a file that is garbage the user is warned, and the network runs.
    std::fs::write(&file, "garbage").unwrap();
    let run = cnn(&["bench", "lenet5", "--backend", "ocl"]).env("XDG_CACHE_HOME", folder.path()).output().unwrap();
    let warning = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && warning.contains("tuning.toml") && warning.contains("shipped"), "{warning}");
}

#[test]
fn what_is_missing_for_opencl_is_told() {
    let devices = |variable: &str, value: &str| {
        let output = cnn(&["devices"]).env(variable, value).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    // A loader without drivers.
    let told = devices("OCL_ICD_VENDORS", "/nowhere");
    assert!(told.contains("each driver needs a file in /etc/OpenCL/vendors") && !told.contains("ocl:0"), "{told}");
    let refusal = cnn(&["classify", "--backend", "ocl"]).env("OCL_ICD_VENDORS", "/nowhere").output().unwrap();
    assert_eq!(refusal.status.code(), Some(2));
    // Two devices of one platform.
    let both = devices("POCL_DEVICES", "pthread pthread");
    assert!(both.contains("ocl:0") && both.contains("ocl:1"), "{both}");
    let split = cnn(&["classify", "--backend", "ocl:0+ocl:1", "--top", "1", "--json"]);
    let split = { split }.env("POCL_DEVICES", "pthread pthread").output().unwrap();
    let results: Value = serde_json::from_slice(&split.stdout).unwrap();
    for (digit, result) in results["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(result["predictions"][0]["label"], digit.to_string());
        assert_eq!(result["backend"], "ocl+ocl");
    }
}

#[test]
fn inspect_counts_vgg16() {
    let result = json(&["inspect", "vgg16"]);
    assert_eq!(result["parameters"], 138_357_544);
    let printed = String::from_utf8(cnn(&["inspect", "vgg16"]).output().unwrap().stdout).unwrap();
    assert!(printed.contains("138,357,544 parameters") && printed.contains("features.28"), "{printed}");
    let weights = repository().join("crates/cnn-models/assets/lenet5.safetensors");
    assert_eq!(json(&["inspect", text(&weights)])["numbers"], 61_706);
}

#[test]
fn onnx_files_are_inspected_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.onnx");
    std::fs::copy(repository().join("fuzz/corpus/onnx/convolution"), &file).unwrap();
    let layers = json(&["inspect", text(&file)]);
    assert_eq!((&layers["parameters"], &layers["layers"][0]["name"]), (&96.into(), &"c".into()));
    let timed = json(&["bench", text(&file), "--backend", "cpu", "--reps", "1", "--batch", "2"]);
    assert_eq!((&timed["model"], &timed["batch"]), (&"convolution".into(), &2.into()));
    assert!(refused(&["classify", "--model", text(&file)]).contains("3 classes, but there are 1000 labels"));
    let shaped = |shape| ["inspect", text(&file), "--input-shape", shape];
    let other = |shape| refused(&shaped(shape));
    assert_eq!(json(&shaped("2,4,4"))["parameters"], 96);
    assert!(other("2,5").contains("takes no samples of shape [2, 5]"));
    assert!(refused(&["inspect", "vgg16", "--input-shape", "3,64,64"]).contains("--input-shape is for ONNX files"));
    std::fs::write(&file, b"none").unwrap();
    assert!(refused(&["bench", text(&file)]).contains("net.onnx: no ONNX file"));
}

#[test]
fn bench_reports_and_saves_its_output() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.npy");
    let result = json(&["bench", "lenet5", "--batch", "3", "--reps", "2", "--per-layer", "--save-output", text(&out)]);
    for field in [
        "model",
        "backend",
        "device",
        "threads",
        "batch",
        "median_ms",
        "min_ms",
        "images_per_s",
        "peak_rss_mib",
        "argmax",
        "algorithms",
    ] {
        assert!(!result[field].is_null(), "{field} is missing");
    }
    assert_eq!((&result["model"], &result["batch"]), (&Value::from("lenet5"), &Value::from(3)));
    assert_eq!(cnn::models::npy::read(&out).unwrap().shape()[..], [3, 10]);
    // Its own output is no input of the network.
    let error = refused(&["bench", "lenet5", "--input", text(&out)]);
    assert_eq!(error, "input of `lenet5`: expected shape [N, 1, 32, 32], got [3, 10]");
    let direct = json(&["bench", "lenet5", "--reps", "1", "--algorithm", "conv2d/direct"]);
    assert_eq!(direct["algorithms"][0]["algorithm"], "conv2d/direct");
}

#[test]
fn test_measures_accuracy() {
    let data = mnist();
    let result = json(&["test", "lenet5", "--data", text(data.path())]);
    assert_eq!(result["images"], 1000);
    assert!(result["test_accuracy"].as_f64().unwrap() >= 0.98, "{}", result["test_accuracy"]);
    assert!(result["test_images_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(json(&["test", "lenet5", "--data", text(data.path()), "--limit", "7"])["images"], 7);
}

#[test]
fn train_saves_resumes_and_survives_a_kill() {
    let data = mnist();
    let file = data.path().join("out.safetensors");
    let (data, file) = (text(data.path()), text(&file));
    let arguments = ["train", "lenet5", "--data", data, "--limit", "200", "--schedule", "constant", "--save", file];
    let mut child = cnn(&arguments).args(["--epochs", "100000"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    while !Path::new(file).exists() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "the training ended by itself");
    }
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();

    // The last checkpoint is whole: it classifies, and the training goes on from it.
    json(&["test", "lenet5", "--data", data, "--weights", file, "--limit", "50"]);
    let inspected = json(&["inspect", file])["metadata"]["cnn.training"].as_str().unwrap().to_string();
    let done = serde_json::from_str::<Value>(&inspected).unwrap()["epochs"].as_array().unwrap().len();
    let epochs = (done + 1).to_string();
    let result = json(&[&arguments[..], &["--epochs", &epochs, "--resume", file, "--weights-only"]].concat());
    for field in [
        "model",
        "backend",
        "threads",
        "batch",
        "train_images_per_s",
        "test_images_per_s",
        "test_accuracy",
        "train_loss",
        "peak_rss_mib",
    ] {
        assert!(!result[field].is_null(), "{field} is missing");
    }
    assert_eq!(result["epochs"], done + 1);
    assert!(refused(&[&arguments[..], &["--resume", file]].concat()).contains("no checkpoint"));
}

#[test]
fn train_takes_layers_by_turns_and_updates_without_waiting() {
    let data = mnist();
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "100", "--epochs", "1"];
    assert_eq!(json(&[&train[..], &["--partial", "0.4", "--asynchronous"]].concat())["epochs"], 1);
    assert!(
        refused(&[&train[..], &["--partial", "NaN"]].concat()).contains("share NaN of the layers is not in (0, 1]")
    );
    assert!(refused(&[&train[..], &["--asynchronous", "--optimizer", "adam"]].concat()).contains("not with adam"));
}

#[test]
fn unknown_names_are_told_the_known() {
    let error = refused(&["classify", "--model", "alexnet2"]);
    assert!(
        error.starts_with("unknown model `alexnet2`; known are lenet5, lenet5-original, alexnet, nin, "),
        "{error}"
    );
    assert!(refused(&["classify", "--model", "resnet18"]).contains("`resnet18` comes without weights; pass --weights"));
    assert_eq!(
        refused(&["classify", "--backend", "gpu"]),
        "unknown backend `gpu`; known are auto, cpu, ocl, reference"
    );
    assert!(
        refused(&["bench", "lenet5", "--algorithm", "karatsuba"])
            .contains("unknown algorithm `karatsuba`; known are conv2d/linear")
    );
    assert!(refused(&["bench", "net.onnx"]).contains("net.onnx: "));
    assert!(
        refused(&["train", "net.onnx", "--data", "."]).contains("only bench, classify and inspect take ONNX files")
    );
    assert!(refused(&["classify", "--model", "vgg16"]).contains("pass --weights"));
    assert!(refused(&["inspect", "nothing"]).contains("unknown model `nothing`"));
    let from_environment = cnn(&["classify"]).env("CNN_BACKEND", "gpu").output().unwrap();
    assert!(String::from_utf8(from_environment.stderr).unwrap().contains("unknown backend `gpu` (from CNN_BACKEND)"));
}

#[test]
fn bad_pictures_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let classify = |path: &Path| refused(&["classify", text(path)]);
    let digit = std::fs::read(repository().join("crates/cnn-models/assets/digits/4.png")).unwrap();
    let missing = directory.path().join("missing.png");
    assert_eq!(classify(&missing), format!("{}: No such file or directory (os error 2)", missing.display()));
    assert!(classify(&write("text.png", b"not a picture")).contains("text.png: no PNG or JPEG picture"));
    assert!(classify(&write("cut.png", &digit[..digit.len() / 2])).contains("cut.png: no PNG or JPEG picture"));
    for side in [1u32, 20_000] {
        // The digit's file with another size in its header, and the right checksum for that.
        let mut bytes = digit.clone();
        bytes[16..20].copy_from_slice(&side.to_be_bytes());
        bytes[20..24].copy_from_slice(&side.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = classify(&write("size.png", &bytes));
        assert!(error.contains(&format!("size.png: {side}x{side} pixels; sides of 8 to 10000")), "{error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

#[test]
fn bad_weights_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = std::fs::read(repository().join("crates/cnn-models/assets/lenet5.safetensors")).unwrap();
    let classify = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&["classify", "--weights", text(&path)])
    };
    assert!(
        refused(&["classify", "--weights", "missing.safetensors"]).starts_with("missing.safetensors: No such file")
    );
    assert!(classify("cut", &good[..good.len() - 9]).contains("it may be cut off"));
    assert!(classify("huge", &[&(1u64 << 60).to_le_bytes()[..], &good[8..]].concat()).contains("more than 100000000"));
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let renamed = |from: &str, to: &str| {
        let head = std::str::from_utf8(&good[8..header]).unwrap();
        assert!(head.contains(from) && from.len() == to.len());
        [&good[..8], head.replace(from, to).as_bytes(), &good[header..]].concat()
    };
    let error = classify("shape", &renamed("[84,120]", "[120,84]"));
    assert!(error.ends_with("shape: weight `classifier.0.weight`: expected shape [84, 120], got [120, 84]"), "{error}");
    let error = classify("name", &renamed("features.3.bias", "features.4.bias"));
    assert!(error.ends_with("name: weights for `lenet5` lack `features.3.bias` of shape [16]"), "{error}");
    let mut nan = good.clone();
    nan[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(classify("nan", &nan).contains("holds NaN at index 0"));
    // One tensor too many: VGG's weights hold names that LeNet-5 has no place for; here a copy under another name.
    let mut unknown = cnn::models::weights_file::from_bytes(good.clone()).unwrap();
    unknown.insert("features.9.bias", cnn::Tensor::zeros([3]).unwrap());
    let path = directory.path().join("unknown");
    cnn::models::weights_file::write(&path, &unknown, cnn::DType::F32).unwrap();
    let error = refused(&["classify", "--weights", text(&path)]);
    assert!(error.ends_with("weights hold `features.9.bias` of shape [3], which `lenet5` does not have"), "{error}");
}

#[test]
fn bad_data_are_named() {
    let data = mnist();
    let labels = data.path().join("t10k-labels-idx1-ubyte");
    std::fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 200, 1, 2, 3]).unwrap();
    let error = refused(&["test", "lenet5", "--data", text(data.path())]);
    assert!(error.ends_with("t10k-labels-idx1-ubyte: claims [200], which is 200 bytes, but holds 3"), "{error}");
    assert!(
        refused(&["test", "lenet5", "--data", "nowhere"])
            .starts_with("nowhere: no t10k-images-idx3-ubyte, plain or .gz")
    );
    assert!(refused(&["train", "lenet5", "--data", "nowhere"]).starts_with("nowhere: no train-images-idx3-ubyte"));
    assert!(refused(&["train", "lenet5", "--data", text(mnist().path()), "--batch", "0"]).contains("at least 1"));
    let error = refused(&["train", "lenet5", "--data", text(mnist().path()), "--save", "nowhere/out.safetensors"]);
    assert_eq!(error, "nowhere/out.safetensors: no file can be written there");
    assert!(refused(&["bench", "lenet5", "--reps", "0"]).contains("at least 1"));
    assert!(refused(&["bench", "lenet5", "--batch", "100000000000000"]).contains("not enough memory"));
    assert!(refused(&["classify", "--top", "0"]).contains("at least 1"));
    assert!(refused(&["bench", "lenet5", "--threads", "0"]).contains("at least 1"));
    assert!(refused(&["bench", "lenet5", "--input", "missing.npy"]).starts_with("missing.npy: "));
}

/// Two of the shipped digits as pictures in folders.
fn threes_and_fours(names: [&str; 2]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (digit, name) in [3, 4].into_iter().zip(names) {
        let picture = repository().join(format!("crates/cnn-models/assets/digits/{digit}.png"));
        for split in ["train", "test"] {
            let folder = directory.path().join(split).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for copy in 0..8 {
                std::fs::copy(&picture, folder.join(format!("{copy}.png"))).unwrap();
            }
        }
    }
    directory
}

#[test]
fn pictures_in_folders_are_learned_with_their_names() {
    let data = threes_and_fours(["three", "four"]);
    let file = data.path().join("out.safetensors");
    let (data, file) = (text(data.path()), text(&file));
    let train = ["train", "lenet5", "--data", data, "--batch", "4", "--normalize", "data", "--save", file];
    let result = json(&[&train[..], &["--crop", "2", "--epochs", "10"]].concat());
    assert_eq!(result["test_accuracy"], 1.0);
    assert_eq!(json(&["test", "lenet5", "--data", data, "--weights", file])["test_accuracy"], 1.0);
    let picture = repository().join("crates/cnn-models/assets/digits/3.png");
    let classified = json(&["classify", text(&picture), "--weights", file]);
    assert_eq!(classified["results"][0]["predictions"][0]["label"], "three");

    let resume = [&train[..], &["--epochs", "11", "--resume", file]].concat();
    assert!(refused(&[&resume[..], &["--crop", "3"]].concat()).contains("crop: 2"));
    assert!(refused(&[&resume[..], &["--crop", "2", "--flip"]].concat()).contains("flip: false"));
    json(&[&resume[..], &["--crop", "2"]].concat());
    let others = threes_and_fours(["drei", "vier"]);
    let error = refused(&["test", "lenet5", "--data", text(others.path()), "--weights", file]);
    assert!(error.starts_with(r#"the weights know the classes ["four", "three"]"#), "{error}");
    std::fs::write(others.path().join("train/vier/0.png"), "no picture").unwrap();
    let error = refused(&["train", "lenet5", "--data", text(others.path())]);
    assert!(error.contains("vier/0.png: no PNG or JPEG picture"), "{error}");
}

#[test]
fn data_that_the_network_does_not_take_are_told() {
    let directory = tempfile::tempdir().unwrap();
    for file in (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_string()]) {
        std::fs::write(directory.path().join(file), [3; 3073]).unwrap();
    }
    let cifar = text(directory.path());
    let error = refused(&["train", "lenet5", "--data", cifar, "--normalize", "data"]);
    assert_eq!(error, "data: images of 3 channels, `lenet5` takes 1 channel");
    assert_eq!(refused(&["test", "lenet5", "--data", cifar]), error);
    assert!(refused(&["test", "lenet5", "--data", cifar, "--variant", "coarse"]).contains("CIFAR-10 has none"));
    let mnist = mnist();
    assert!(
        refused(&["train", "lenet5", "--data", text(mnist.path()), "--crop", "28"]).contains("a crop of 28 pixels")
    );
}
