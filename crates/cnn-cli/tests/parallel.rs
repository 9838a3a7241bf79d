//! `cnn train` with several workers.

mod common;

use common::{json, mnist, refused, text};

#[test]
fn several_workers_train_and_go_on_from_where_they_stopped() {
    let (data, directory) = (mnist(), tempfile::tempdir().unwrap());
    let file = directory.path().join("lenet5.safetensors");
    let (data, file) = (text(data.path()), text(&file));
    let train = ["train", "lenet5", "--data", data, "--limit", "150", "--schedule", "constant", "--threads", "2"];
    let parallel = ["--parallel", "data", "--workers", "2", "--compress", "dynamic-tree", "--error-feedback"];
    let together = |more: &[&str]| json(&[&train[..], &parallel, more].concat());
    let whole = together(&["--epochs", "2"]);
    assert_eq!((&whole["workers"], &whole["compress"]), (&2.into(), &"dynamic-tree".into()));
    assert_eq!((&whole["threads"], &whole["epochs"]), (&2.into(), &2.into()));
    together(&["--epochs", "1", "--save", file]);
    let resumed = together(&["--epochs", "2", "--resume", file]);
    for key in ["train_loss", "test_accuracy"] {
        assert_eq!(whole[key], resumed[key], "{key}");
    }
}

#[test]
fn workers_that_share_layers_train_as_one_does() {
    let (data, directory) = (mnist(), tempfile::tempdir().unwrap());
    let data = text(data.path());
    let train = ["train", "lenet5", "--data", data, "--limit", "100", "--schedule", "constant", "--threads", "1"];
    let loss = |more: &[&str]| json(&[&train[..], more].concat())["train_loss"].as_f64().unwrap();
    let alone = loss(&["--epochs", "2"]);
    for how in ["model", "hybrid"] {
        let file = directory.path().join(format!("{how}.safetensors"));
        let parallel = ["--parallel", how, "--workers", "3"];
        let together = |more: &[&str]| loss(&[&parallel[..], more].concat());
        let whole = together(&["--epochs", "2"]);
        assert!((whole - alone).abs() < 1e-4 * alone, "{how}: {whole} {alone}");
        together(&["--epochs", "1", "--save", text(&file)]);
        assert_eq!(together(&["--epochs", "2", "--resume", text(&file)]), whole, "{how}");
        let coded = together(&["--epochs", "2", "--compress", "linear"]);
        assert!((coded - alone).abs() < 0.2 * alone, "{how}: {coded} {alone}");
    }
}

#[test]
fn what_workers_cannot_do_is_told() {
    let data = mnist();
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "100", "--epochs", "1"];
    let with = |more: &[&str]| refused(&[&train[..], more].concat());
    let data = ["--parallel", "data", "--workers"];
    assert!(with(&[&data[..], &["0"]].concat()).contains("--workers must be at least 1"));
    let asynchronous = with(&[&data[..], &["2", "--asynchronous"]].concat());
    assert!(asynchronous.contains("asynchronous updates have no gradients"), "{asynchronous}");
    let feedback = with(&["--parallel", "model", "--workers", "2", "--compress", "linear", "--error-feedback"]);
    assert!(feedback.contains("--error-feedback is for --parallel data"), "{feedback}");
    let one_bit = with(&["--parallel", "hybrid", "--workers", "2", "--compress", "one-bit"]);
    assert!(one_bit.contains("error feedback"), "{one_bit}");
}
