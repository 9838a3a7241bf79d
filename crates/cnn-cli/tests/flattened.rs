//! `cnn bench flattened`: the files and numbers of each part.

mod common;

use std::path::Path;

use cnn::models::weights_file;
use cnn::{DType, Weights};
use common::{json, mnist, refused, text};
use serde_json::Value;

fn part(name: &str, folder: &Path, more: &[&str]) -> Value {
    json(&[&["bench", "flattened", "--part", name, "--output", text(folder)], more].concat())
}

fn file(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn layers_have_the_papers_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let layers = &part("table1", folder.path(), &[])["layers"];
    for (column, expected) in [
        ("dense", [7_200, 307_200, 819_200]),
        ("lateral_first", [7_200, 31_232, 103_424]),
        ("lateral_last", [7_200, 30_912, 102_144]),
        ("paper", [7_200, 30_912, 102_144]),
    ] {
        assert_eq!([0, 1, 2].map(|layer: usize| layers[layer][column].as_u64().unwrap()), expected, "{column}");
    }
    let csv = file(folder.path(), "table1.csv");
    assert_eq!(csv.lines().last().unwrap(), "conv3,819200,103424,87.4,102144,87.5,102144,87.5");
}

#[test]
fn the_share_of_parameters_grows_with_the_channels() {
    let folder = tempfile::tempdir().unwrap();
    let result = part("figure5", folder.path(), &[]);
    let numbers = |key: &str| result[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    for (ratio, share) in numbers("ratio").into_iter().zip(numbers("share")) {
        assert!((share - (128.0 * ratio + 128.0 + 20.0) / 3200.0).abs() < 1e-12, "{ratio}: {share}");
    }
    assert_eq!(file(folder.path(), "figure5.csv").lines().nth(1).unwrap(), "1,128,409600,35328,0.0862");
    assert!(file(folder.path(), "figure5.svg").contains("<polyline"));
}

#[test]
fn speed_is_told_by_size() {
    let folder = tempfile::tempdir().unwrap();
    for (backend, sizes) in [("ocl", "8"), ("cpu", "8,12")] {
        let small = ["--batch", "2", "--sizes", sizes, "--backend", backend];
        let result = part("figure7", folder.path(), &small);
        assert_eq!((&result["backend"], &result["batch"]), (&Value::from(backend), &Value::from(2)));
        let count = sizes.split(',').count();
        assert_eq!(result["image_size"].as_array().unwrap().len(), count);
        assert!(result["threads"].as_u64().unwrap() > 0);
        for column in ["forward_speedup", "dense_forward_ms", "flattened_forward_ms", "dense_gradients_ms"] {
            assert!(result[column].as_array().unwrap().iter().all(|v| v.as_f64().unwrap() > 0.0), "{column}: {result}");
        }
        for column in ["backward_speedup", "dense_algorithm", "dense_backward_ms", "flattened_backward_ms"] {
            assert_eq!(result[column].as_array().unwrap().len(), count, "{column}");
        }
        assert!(result["dense_algorithm"][0].as_str().unwrap().starts_with("conv2d/"));
    }
    assert_eq!(file(folder.path(), "figure7.csv").lines().count(), 3);
    assert!(file(folder.path(), "figure7.svg").contains("<polyline"));
}

#[test]
fn memory_is_reckoned_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let result = part("figure6", folder.path(), &["--batch", "2", "--sizes", "16", "--backend", "cpu"]);
    // Weights, and two sets of 128 planes for each image.
    let dense = 4.0 * (409_600.0 + 2.0 * 2.0 * 128.0 * 256.0) / f64::from(1 << 20);
    assert_eq!(result["dense_naive_mib"], serde_json::json!([dense]));
    for column in ["flattened_naive_mib", "dense_blas_mib", "dense_measured_mib", "flattened_measured_mib"] {
        assert!(result[column][0].as_f64().unwrap() > 1.0, "{column}: {result}");
    }
    assert_eq!(file(folder.path(), "figure6.csv").lines().count(), 2);
    assert!(file(folder.path(), "figure6.svg").contains("<polyline"));
}

#[test]
fn filters_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    for (model, stages, size, channels) in [
        ("flattened-all-cifar", "1", 5, 3),
        ("flattened-all-mnist", "2", 9, 1),
        ("flattened-cifar", "2", 5, 3),
        ("lenet5", "1", 5, 1),
    ] {
        let network = cnn::models::find(model).unwrap().network().unwrap();
        weights_file::write(&weights, &Weights::random(&network, 1).unwrap(), DType::F32).unwrap();
        let result = part("figure4", folder.path(), &["--weights", text(&weights), "--stages", stages]);
        assert_eq!(result["size"], serde_json::json!([size, size]), "{model}");
        let (across, down, count) = if model == "lenet5" { (3, 2, 6) } else { (12, 8, 96) };
        let pixels = [across, down].map(|filters| filters * (60 / size * size + 4) + 4);
        assert_eq!((&result["filters"], &result["channels"]), (&Value::from(count), &Value::from(channels)));
        assert_eq!(result["picture"], serde_json::json!(pixels));
        // A PNG's first bytes end with its width and height.
        let png = std::fs::read(folder.path().join("figure4.png")).unwrap();
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((&png[1..4], [side(16), side(20)]), (&b"PNG"[..], pixels));
        let csv = file(folder.path(), "figure4.csv");
        let variances: Vec<f64> = csv.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().parse().unwrap()).collect();
        assert!(variances.len() == count && variances.is_sorted_by(|a, b| a >= b), "{csv}");
    }
}

#[test]
fn both_networks_are_trained_alike() {
    let (data, folder) = (mnist(), tempfile::tempdir().unwrap());
    let settings = ["--data", text(data.path()), "--epochs", "1", "--limit", "64", "--backend", "cpu"];
    let result = part("table2", folder.path(), &settings);
    for (model, name) in ["baseline-mnist", "flattened-mnist"].into_iter().enumerate() {
        let row = &result["models"][model];
        assert_eq!(row["model"], name);
        for number in ["test_accuracy", "train_images_per_s", "peak_rss_mib"] {
            assert!(row[number].as_f64().unwrap() > 0.0, "{number}: {row}");
        }
    }
    assert!(result["images_per_s_ratio"].as_f64().unwrap() > 0.0);
    assert_eq!(file(folder.path(), "table2.csv").lines().count(), 4);
}

#[test]
fn what_is_wrong_is_one_line() {
    let (data, folder) = (mnist(), tempfile::tempdir().unwrap());
    let folder = text(folder.path());
    let refused = |more: &[&str]| refused(&[&["bench", "flattened", "--output", folder], more].concat());
    assert!(refused(&["--part", "figure4"]).contains("pass --weights"));
    assert!(refused(&["--part", "figure4", "--weights", "missing"]).starts_with("missing: No such file"));
    assert!(refused(&["--part", "table2"]).contains("pass --data"));
    assert!(refused(&["--part", "table2", "--data", "nowhere"]).starts_with("nowhere: no train-images"));
    // Of a process of its own the error is told once.
    let rate = ["--part", "table2", "--data", text(data.path()), "--learning-rate=-1"];
    assert!(refused(&rate).contains("learning rate -1 is not a positive number"));
    assert!(refused(&["--batch", "0"]).contains("at least 1"));
    assert!(refused(&["--sizes", "0"]).contains("at least 1"));
    assert!(refused(&["--sizes", "1000000000"]).contains("[128, 1000000000, 1000000000]"));
    assert!(refused(&["--backend", "gpu"]).contains("unknown backend `gpu`"));
    let nowhere = common::refused(&["bench", "flattened", "--output", "/dev/null/nowhere"]);
    assert!(nowhere.starts_with("/dev/null/nowhere: "), "{nowhere}");
}
