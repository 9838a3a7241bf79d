//! What the compile options ask of the OpenCL backend.

use cnn_core::backend::Precision;
use cnn_core::layers::{Activation, Conv2d, Flatten, Linear, MaxPool2d};
use cnn_core::{Backend, CompileOptions, Error, Network, Tensor, Weights};
use cnn_ocl::Ocl;
use cnn_ocl::tuning::Tuning;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;

fn network() -> Network {
    let mut net = Network::builder("n", [3, 20, 20]);
    net.push("conv", Conv2d::new(24, 3).padding(1)).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    net.push("pool", MaxPool2d::new(2)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(50)).unwrap();
    net.finish().unwrap()
}

fn run(ocl: &Ocl, weights: &Weights, batch: usize, options: &CompileOptions) -> (Tensor, usize) {
    let network = network();
    let plan = ocl.compile(&network, weights, options).unwrap();
    let output = plan.session().unwrap().run(&random_input(&network, batch, 3)).unwrap();
    (output, plan.report().weight_bytes)
}

#[test]
fn half_precision_weights_take_half_the_memory_and_little_accuracy() {
    let weights = random_weights(&network(), 1);
    // The parameters of this device, and shared sums.
    for ocl in [Ocl::new("").unwrap(), Ocl::builder().tuning(Tuning::fallback()).build("").unwrap()] {
        for batch in [1, 3] {
            let (single, all) = run(&ocl, &weights, batch, &CompileOptions::default());
            let half = CompileOptions::default().linear_weights(Precision::Half);
            let (half, less) = run(&ocl, &weights, batch, &half);
            assert!(all - less > 2 * 2400 * 50 - 1, "{all} {less}");
            let apart = difference(&half.to_f32(), &single.to_f32()).unwrap().relative_rms;
            assert!(apart > 0.0 && apart < 5e-4, "{apart:e}");
        }
    }
}

#[test]
fn weights_too_large_for_half_precision_stay_or_are_refused() {
    let ocl = Ocl::new("").unwrap();
    let mut weights = random_weights(&network(), 1);
    let mut values = weights.get("fc.weight").unwrap().to_f32().into_owned();
    values[7] = 1e5;
    weights.insert("fc.weight", Tensor::new([50, 2400], values).unwrap());
    let half = CompileOptions::default().linear_weights(Precision::Half);
    let (kept, _) = run(&ocl, &weights, 1, &half);
    assert_eq!(kept, run(&ocl, &weights, 1, &CompileOptions::default()).0);
    let error = ocl.compile(&network(), &weights, &half.strict()).err().unwrap();
    assert!(matches!(&error, Error::Backend { reason, .. } if reason.contains("`fc`")), "{error}");
}

#[test]
fn candidates_are_timed_on_request() {
    let options = CompileOptions::default().timed();
    let network = network();
    let plan = Ocl::new("").unwrap().compile(&network, &random_weights(&network, 1), &options).unwrap();
    let step = plan.report().steps.iter().find(|step| step.kind == "Conv2d").unwrap();
    let fastest = step.considered.iter().min_by_key(|candidate| candidate.time).unwrap();
    assert_eq!(fastest.algorithm, step.algorithm);
}

#[test]
fn compiled_programs_are_kept_and_garbage_among_them_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let weights = random_weights(&network(), 1);
    let cached = || {
        let ocl = Ocl::builder().cache(folder.path()).build("").unwrap();
        run(&ocl, &weights, 1, &CompileOptions::default()).0
    };
    let files = || {
        let mut found = Vec::new();
        let mut folders = vec![folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    };
    let first = cached();
    let kept = files();
    assert!(kept.len() >= 2, "{kept:?}");
    assert_eq!(cached(), first);
    for (i, path) in kept.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        // Cut off in the middle, empty, or with another program behind the key.
        let garbage =
            [&bytes[..bytes.len() / 2], &[], &[&bytes[..bytes.len() - 100], &[7; 100]].concat()][i % 3].to_vec();
        std::fs::write(path, garbage).unwrap();
    }
    assert_eq!(cached(), first);
    // A folder that cannot be made fails no run.
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let ocl = Ocl::builder().cache(blocked.join("cache")).build("").unwrap();
    assert_eq!(run(&ocl, &weights, 1, &CompileOptions::default()).0, first);
}

#[test]
fn what_does_not_fit_the_device_is_an_error_and_the_next_run_works() {
    let ocl = Ocl::new("").unwrap();
    let network = network();
    let plan = ocl.compile(&network, &random_weights(&network, 1), &CompileOptions::default()).unwrap();
    let mut session = plan.session().unwrap();
    let small = random_input(&network, 1, 3);
    let before = session.run(&small).unwrap();
    // 1,200 floats a sample: beyond what kernels can count before the host's memory is.
    let batch = (1 << 31) / 9600 + 1;
    if let Ok(huge) = Tensor::zeros([batch, 3, 20, 20]) {
        assert!(matches!(session.run(&huge), Err(Error::OutOfMemory { .. })));
    }
    assert_eq!(session.run(&small).unwrap(), before);
}

#[test]
fn parameters_that_no_kernel_can_have_are_refused() {
    let good = Tuning::fallback();
    for impossible in [
        Tuning { lanes: 5, ..good.clone() },
        Tuning { rows: 0, ..good.clone() },
        Tuning { work_group: Some([0, 1]), ..good.clone() },
        Tuning { linear_parts: usize::MAX, ..good.clone() },
        Tuning { macs_per_byte: f64::NAN, ..good.clone() },
    ] {
        let error = Ocl::builder().tuning(impossible).build("").err().unwrap().to_string();
        assert!(error.contains("no kernels can be made"), "{error}");
    }
}
