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
fn what_workers_cannot_do_is_told() {
    let data = mnist();
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "100", "--epochs", "1"];
    let with = |more: &[&str]| refused(&[&train[..], more].concat());
    let data = ["--parallel", "data", "--workers"];
    assert!(with(&[&data[..], &["0"]].concat()).contains("--workers must be at least 1"));
    let asynchronous = with(&[&data[..], &["2", "--asynchronous"]].concat());
    assert!(asynchronous.contains("asynchronous updates have no gradients"), "{asynchronous}");
}
