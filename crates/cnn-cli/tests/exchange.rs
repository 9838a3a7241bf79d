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
fn steps_that_are_measured_beside_what_is_predicted_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["bench", "scaling", "lenet5", "--batch", "12", "--types", "none,linear", "--measure=3,2", "--reps", "2"];
    let result = json(&[&arguments[..], &["--figures", text(folder.path())]].concat());
    let measured = &result["measured"];
    assert_eq!((&measured["workers"], &measured["transport"]), (&serde_json::json!([1, 2, 3]), &"threads".into()));
    let types = measured["types"].as_array().unwrap();
    for row in types {
        let ms = |key: &str| row[key].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect::<Vec<_>>();
        let (predicted, measured) = (ms("predicted_ms"), ms("measured_ms"));
        assert!(predicted.len() == 3 && measured.len() == 3);
        assert!(predicted.iter().chain(&measured).all(|&ms| ms > 0.0), "{row}");
    }
    // A worker's speed is that of the steps that one makes, unless told otherwise.
    let alone = types.iter().map(|row| row["measured_ms"][0].as_f64().unwrap()).sum::<f64>() / 2.0;
    let close = |ms: &serde_json::Value| (ms.as_f64().unwrap() / alone - 1.0).abs() < 1e-6;
    assert!(types.len() == 2 && types.iter().all(|row| close(&row["predicted_ms"][0])), "{measured}");
    assert!(close(&result["types"][1]["step_ms"][0]), "{result}");
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let csv = file("scaling-measured.csv");
    assert_eq!(csv.lines().next(), Some("workers,type,predicted_ms,measured_ms,measured_by_predicted"));
    assert_eq!(csv.lines().count(), 1 + 3 * 2);
    for name in ["scaling.svg", "scaling-measured.svg"] {
        assert!(file(name).starts_with("<svg") && file(name).contains("linear"), "{name}");
    }
    assert!(
        file("scaling-measured.svg").matches("<circle").count()
            > file("scaling-measured.svg").matches("r=\"3\"").count()
    );
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(refused(&["bench", "exchange", "--sizes", "0"]).contains("--sizes"));
    assert!(refused(&["bench", "exchange", "--workers", "0"]).contains("--workers"));
    assert!(refused(&["bench", "exchange", "--types", "two-bit"]).contains("two-bit"));
    assert!(refused(&["bench", "scaling", "lenet5", "--gflops", "0"]).contains("--gflops"));
    let scaling = |more: &[&'static str]| refused(&[&["bench", "scaling", "lenet5"][..], more].concat());
    assert!(scaling(&["--measure=0"]).contains("--measure takes from 1 up to 96"));
    assert!(scaling(&["--measure=5", "--batch", "4"]).contains("up to 4 workers"));
    assert!(scaling(&["--measure", "--threads", "0"]).contains("--threads"));
    assert!(scaling(&["--measure", "--reps", "18446744073709551615"]).contains("too large"));
    assert!(scaling(&["--measure", "--batch", "1000000000000000"]).contains("no memory"));
    assert!(scaling(&["--measure", "--types", "two-bit"]).contains("two-bit"));
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
