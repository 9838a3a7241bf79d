//! `cnn bench exchange` and `cnn bench scaling`: what they print and write.

mod common;

use common::{cnn, json, refused, text};

#[test]
fn exchanges_of_every_size_and_codec() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "exchange", "--sizes", "1000,30000", "--reps", "2", "--workers", "3", "--figures"];
    let result = json(&[&arguments[..], &[text(folder.path())]].concat());
    let types = result["types"].as_array().unwrap();
    assert_eq!((types.len(), &result["workers"], &result["transport"]), (7, &3.into(), &"threads".into()));
    for row in types {
        let times = ["median_ms", "min_ms"].map(|key| row[key].as_array().unwrap());
        assert!(
            times.iter().all(|times| times.len() == 2 && times.iter().all(|ms| ms.as_f64().unwrap() > 0.0)),
            "{row}"
        );
    }
    assert_eq!(types[6]["bytes"], serde_json::json!([4000, 120_000]));
    let csv = std::fs::read_to_string(folder.path().join("figure2.csv")).unwrap();
    assert_eq!(csv.lines().next(), Some("numbers,type,bytes,median_ms,min_ms,predicted_ms"));
    assert_eq!(csv.lines().count(), 1 + 2 * 7);
    let svg = std::fs::read_to_string(folder.path().join("figure2.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("dynamic-tree"));
}

#[test]
fn steps_on_up_to_96_workers() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "scaling", "vgg16", "--batch", "96", "--gflops", "1000", "--types", "none,one-bit"];
    let result = json(&[&arguments[..], &["--bandwidth", "1", "--figures", text(folder.path())]].concat());
    assert_eq!((&result["parameters"], &result["workers"][9]), (&138_357_544.0.into(), &96.into()));
    let step = |row: usize, workers: usize| result["types"][row]["step_ms"][workers].as_f64().unwrap();
    // One worker exchanges nothing: 3 times the operations of 96 images at 10^12 a second.
    let alone = result["flops"].as_f64().unwrap() / 1e9;
    assert!((step(0, 0) / alone - 1.0).abs() < 1e-9 && step(0, 0) == step(1, 0));
    // At 10^6 bytes a second, 4 bytes of each number cross a link in each direction, half of them in each phase.
    assert!((step(0, 1) / 553.4e3 - 1.0).abs() < 0.05, "{}", step(0, 1));
    assert!(step(1, 1) < step(0, 1) / 10.0);
    assert_eq!(std::fs::read_to_string(folder.path().join("scaling.csv")).unwrap().lines().count(), 1 + 10 * 2);
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(refused(&["bench", "exchange", "--sizes", "0"]).contains("--sizes"));
    assert!(refused(&["bench", "exchange", "--workers", "0"]).contains("--workers"));
    assert!(refused(&["bench", "exchange", "--types", "two-bit"]).contains("two-bit"));
    assert!(refused(&["bench", "scaling", "lenet5", "--gflops", "0"]).contains("--gflops"));
    let figures = ["bench", "exchange", "--sizes", "10", "--reps", "1", "--figures", "/nowhere/at/all"];
    assert!(refused(&figures).contains("/nowhere/at/all"));
}

/// Told apart by what mpirun leaves in the environment.
#[cfg(not(feature = "mpi"))]
#[test]
fn without_mpi_it_says_how_to_get_it() {
    let mut command = cnn(&["bench", "exchange", "--sizes", "10"]);
    let output = command.env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("--features mpi"), "{text}");
}

#[test]
fn a_number_of_processes_that_is_none() {
    let output = cnn(&["bench", "exchange", "--sizes", "10"]).env("OMPI_COMM_WORLD_SIZE", "many").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("OMPI_COMM_WORLD_SIZE"), "{text}");
}
