//! `cnn bench codec`: what it tells of each codec.

mod common;

use common::{json, mnist, refused, text};

const SMALL: [&str; 10] = ["bench", "codec", "--numbers", "50000", "--timed", "70000", "--reps", "1", "--threads", "2"];

#[test]
fn times_and_errors_of_every_codec() {
    let result = json(&SMALL);
    let types = result["types"].as_array().unwrap();
    let names: Vec<&str> = types.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dynamic-tree", "linear", "mantissa", "static-tree", "one-bit", "fp16", "none"]);
    assert_eq!((&result["threads"], &result["numbers"]), (&2.into(), &50_000.into()));
    assert!(result["bandwidth_gb_per_s"].as_f64().unwrap() > 0.0);
    for row in types {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(["encode_ns", "decode_ns", "bandwidth_fraction"].iter().all(|key| number(key) > 0.0), "{row}");
        let lower = number("encode_bandwidth_fraction").min(number("decode_bandwidth_fraction"));
        assert_eq!(number("bandwidth_fraction"), lower);
    }
    // With few numbers the largest is smaller than among many, so errors are.
    let error = |row: usize, of: &str| types[row]["relative_error_percent"][of].as_f64().unwrap();
    for (row, expected) in [
        (0, [0.99, 1.78, 1.78, 1.78]),
        (1, [1.5, 4.2, 4.2, 4.2]),
        (2, [4.97, 4.97, 4.97, 5.96]),
        (3, [3.44, 5.01, 5.01, 5.40]),
        (5, [0.018, 0.018, 0.018, 0.018]),
        (6, [0.0; 4]),
    ] {
        for (of, expected) in ["U(0,1)", "N(0,1)", "N(0,10^2)", "N(0,0.2^2)"].into_iter().zip(expected) {
            assert!((error(row, of) - expected).abs() <= 0.1 * expected, "{of}: {}, {}", names[row], error(row, of));
        }
    }
    assert!(types[0]["mean_absolute_error"]["U(0,1)"].as_f64().unwrap() < 0.004);
}

#[test]
fn one_type_with_another_scaling() {
    let only = [&SMALL[..], &["--types", "linear,one-bit", "--scaling", "block"]].concat();
    let result = json(&only);
    let error = |row: usize| result["types"][row]["relative_error_percent"]["N(0,1)"].as_f64().unwrap();
    // The largest of 2,048 numbers is smaller than the largest of all.
    assert!(error(0) < 3.9, "{}", error(0));
    assert_eq!(result["types"].as_array().unwrap().len(), 2);
}

#[test]
fn errors_on_what_a_training_sends() {
    let data = mnist();
    let tiny = ["bench", "codec", "--numbers", "9", "--timed", "9", "--reps", "1", "--types", "none", "--threads", "2"];
    let result = json(&[&tiny[..], &["--data", text(data.path())]].concat());
    let rows = result["training"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 3 * 4);
    for what in ["gradients", "activations"] {
        for layer in ["classifier.1", "classifier.4", "classifier.7"] {
            let of = |name: &str| {
                let mut rows = rows.iter();
                let row = rows.find(|row| row["what"] == what && row["layer"] == layer && row["name"] == name).unwrap();
                (row["mean_absolute_error"].as_f64().unwrap(), row["relative_error_percent"].as_f64().unwrap())
            };
            let (tree, linear) = (of("dynamic-tree"), of("linear"));
            // Most numbers are far below the largest, where the tree's codes lie closer.
            assert!(tree.0 > 0.0 && tree.1 < linear.1 && linear.1 < 100.0, "{what} {layer}: {tree:?} {linear:?}");
        }
    }
}

#[test]
fn an_opencl_device_makes_the_same_errors() {
    let device = json(&[&SMALL[..], &["--backend", "ocl"]].concat());
    let host = json(&[&SMALL[..], &["--types", "dynamic-tree,linear,mantissa,static-tree"]].concat());
    assert_eq!(device["types"].as_array().unwrap().len(), 4);
    for (device, host) in device["types"].as_array().unwrap().iter().zip(host["types"].as_array().unwrap()) {
        assert_eq!(device["relative_error_percent"], host["relative_error_percent"], "{device}");
    }
}

#[test]
fn bad_options_are_refused() {
    let with = |more: &[&'static str]| refused(&[&["bench", "codec"][..], more].concat());
    assert!(with(&["--types", "linear,zip"]).contains("no codec \"zip\"; there are dynamic-tree, linear"));
    assert!(with(&["--types", "fp16", "--backend", "ocl"]).contains("fp16"));
    assert!(with(&["--backend", "gpu"]).contains("not on \"gpu\""));
    assert!(with(&["--numbers", "0"]).contains("at least 1"));
}
