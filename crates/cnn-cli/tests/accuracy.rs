//! `cnn bench accuracy`: the trainings that it compares.

mod common;

use common::{json, mnist, refused, text};
use serde_json::Value;

#[test]
fn codecs_are_compared_by_seed_with_what_is_not_compressed() {
    let (data, folder) = (mnist(), tempfile::tempdir().unwrap());
    let small =
        ["--types", "dynamic-tree", "--parallel", "data,model", "--workers", "2", "--seeds", "2", "--epochs", "1"];
    let more = ["--backend", "cpu", "--limit", "300", "--batch", "60"];
    let place = ["--data", text(data.path()), "--figures", text(folder.path())];
    let result = json(&[&["bench", "accuracy"], &small[..], &more, &place].concat());
    let rows = result["trainings"].as_array().unwrap();
    let kinds: Vec<_> =
        rows.iter().map(|row| [&row["parallel"], &row["compress"]].map(|v| v.as_str().unwrap())).collect();
    let (plain, tree) = ("none", "dynamic-tree");
    assert_eq!(kinds, [["data", plain], ["data", tree], ["model", plain], ["model", tree]]);
    for (row, baseline) in rows.iter().zip([0, 0, 2, 2]) {
        let number = |key: &str| row[key].as_f64().unwrap();
        let errors: Vec<f64> =
            row["test_error_percent"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(errors.len() == 2 && errors.iter().all(|error| (0.0..90.0).contains(error)), "{row}");
        assert!((number("mean") - (errors[0] + errors[1]) / 2.0).abs() < 1e-9);
        assert_eq!([number("lowest"), number("highest")], [errors[0].min(errors[1]), errors[0].max(errors[1])]);
        let difference = number("mean") - rows[baseline]["mean"].as_f64().unwrap();
        assert!((number("difference") - difference).abs() < 1e-9);
    }
    let seeds_differ = |row: &Value| row["test_error_percent"][0] != row["test_error_percent"][1];
    assert!(rows.iter().any(seeds_differ), "{result}");
    // The same seed and number of workers: nothing but the codec differs.
    assert_ne!(rows[0]["test_error_percent"], rows[1]["test_error_percent"]);
    let csv = std::fs::read_to_string(folder.path().join("accuracy.csv")).unwrap();
    assert!(csv.starts_with("parallel,codec,mean error %") && csv.lines().count() == 5, "{csv}");
}

#[test]
fn what_cannot_be_trained_is_an_error() {
    let data = mnist();
    let bench = ["bench", "accuracy", "--data", text(data.path())];
    let no_seeds = refused(&[&bench[..], &["--seeds", "0"]].concat());
    assert!(no_seeds.contains("--seeds"), "{no_seeds}");
    let no_model = refused(&[&bench[..], &["resnet-9000"]].concat());
    assert!(no_model.contains("resnet-9000"), "{no_model}");
}
