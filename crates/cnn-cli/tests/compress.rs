//! `cnn compress`, and the commands that read what it saves.

mod common;

use common::{cnn, json, mnist, refused, text};

#[test]
fn compress_flattens_and_its_file_is_read_by_every_command() {
    let data = mnist();
    let file = data.path().join("flat.safetensors");
    let (data, file) = (text(data.path()), text(&file));
    let flatten = ["compress", "lenet5", "flatten"];
    let result = json(&[&flatten[..], &["--error", "0.3", "--save", file, "--data", data]].concat());
    let layers = result["layers"].as_array().unwrap();
    assert_eq!(
        layers.iter().map(|layer| &layer["layer"]).collect::<Vec<_>>(),
        ["features.0", "features.3", "features.6"]
    );
    assert!(layers[1]["outcome"]["flattened"]["error"].as_f64().unwrap() <= 0.3, "{layers:?}");
    assert!(layers[2]["outcome"]["left"]["reason"].as_str().unwrap().contains("as many multiply-adds"));
    assert!(layers[1]["flat_ms"].as_f64().unwrap() > 0.0 && result["ms"][0].as_f64().unwrap() > 0.0);
    assert!(result["flops"][1].as_u64() < result["flops"][0].as_u64());
    let accuracy = &result["test_accuracy"];
    assert!(accuracy["flat"].as_f64().unwrap() > accuracy["dense"].as_f64().unwrap() - 0.02, "{accuracy}");

    assert_eq!(json(&["test", "lenet5", "--data", data, "--weights", file])["test_accuracy"], accuracy["flat"]);
    let classified = json(&["classify", "--weights", file, "--top", "1"]);
    assert_eq!(classified["results"][7]["predictions"][0]["label"], "7");
    let bench = json(&["bench", "lenet5", "--weights", file, "--reps", "1"]);
    assert!(bench["algorithms"].as_array().unwrap().iter().any(|step| step["layer"] == "features.3.0.vertical"));
    // What is flat already is left, and may be trained on.
    let again = ["--weights", file, "--save", file, "--data", data, "--epochs", "1", "--limit", "200"];
    let tuned = json(&[&flatten[..], &again].concat());
    assert!(tuned["test_accuracy"]["tuned"].as_f64().unwrap() > 0.95, "{tuned}");
    assert_eq!(
        json(&["test", "lenet5", "--data", data, "--weights", file])["test_accuracy"],
        tuned["test_accuracy"]["tuned"]
    );
    let printed = String::from_utf8(cnn(&flatten).args(["--rank", "3"]).output().unwrap().stdout).unwrap();
    assert!(printed.contains("features.0") && printed.contains("-> "), "{printed}");
}

#[test]
fn compress_names_what_it_cannot_do() {
    let flatten = |arguments: &[&str]| refused(&[&["compress", "lenet5", "flatten"], arguments].concat());
    assert_eq!(flatten(&["--error", "2"]), "error bound 2 is not between 0 and 1");
    assert_eq!(flatten(&["--rank", "0"]), "a rank must be at least 1");
    let error = flatten(&["--layers", "features.3,relu"]);
    assert_eq!(error, "`lenet5` has no convolution `relu`; it has features.0, features.3, features.6");
    assert!(flatten(&["--data", "nowhere"]).starts_with("nowhere: no t10k-images-idx3-ubyte"));
    assert!(refused(&["compress", "vgg16", "flatten"]).contains("pass --weights"));
    assert!(flatten(&["--rank", "2", "--save", "nowhere/flat.safetensors"]).starts_with("nowhere/flat.safetensors: "));
}
