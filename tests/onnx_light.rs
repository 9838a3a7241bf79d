//! The whole networks among ONNX's official cases on the plain loops and on the backends that `cnn-models` does not know; they run on
//! `cpu` in `crates/cnn-models/tests/onnx_cases.rs`. `scripts/fetch-onnx-cases` gets them. `scripts/test-plain-loops` runs those for
//! which the plain loops take long.

use std::path::Path;

use cnn::models::onnx::{self, Array, ImportOptions};
use cnn::{CompileOptions, Tensor};

fn check(name: &str, backend: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/onnx/light");
    assert!(folder.exists(), "{} is missing; run scripts/fetch-onnx-cases", folder.display());
    let imported = onnx::read(&folder.join(format!("light_{name}.onnx")), &ImportOptions::default()).unwrap();
    let want = std::fs::read(folder.join(format!("light_{name}_output_0.pb"))).unwrap();
    let want = Array::from_tensor_file(want).unwrap();
    let shape = imported.network.input_shape().with_batch(1);
    let count = shape.elements();
    let values = (0..count).map(|i| (i as f64 / count as f64) as f32).collect();
    let input = imported.pack(&[Tensor::new(shape, values).unwrap()]).unwrap();
    let backend = cnn::backend(backend).unwrap();
    let plan = backend.compile(&imported.network, &imported.weights, &CompileOptions::default()).unwrap();
    let output = plan.session().unwrap().run(&input).unwrap();
    let (got, want) = (output.to_f32(), want.to_f32());
    assert_eq!(got.len(), want.len(), "{name}");
    let largest = want.iter().fold(0f32, |largest, v| largest.max(v.abs()));
    let apart = got.iter().zip(want.iter()).fold(0f32, |apart, (a, b)| apart.max((a - b).abs()));
    assert!(apart <= 1e-4 * largest, "{name} on {}: {apart:e} of {largest}", backend.name());
}

#[test]
fn squeezenet_passes() {
    check("squeezenet", "reference");
    check("squeezenet", "ocl");
}

#[test]
fn shufflenet_passes() {
    check("shufflenet", "reference");
    check("shufflenet", "ocl");
}

#[test]
fn alexnet_and_zfnet_pass() {
    for name in ["bvlc_alexnet", "zfnet512"] {
        check(name, "reference");
        check(name, "ocl");
    }
}

#[test]
fn inception_passes() {
    check("inception_v1", "reference");
    check("inception_v1", "ocl");
    check("inception_v2", "ocl");
}

#[test]
fn densenet_passes() {
    check("densenet121", "ocl");
}

#[test]
fn resnet_passes() {
    check("resnet50", "ocl");
}

#[test]
fn vgg_passes() {
    check("vgg19", "ocl");
}

#[test]
#[ignore = "the plain loops take minutes"]
fn the_largest_pass_on_the_plain_loops() {
    for name in ["inception_v2", "densenet121", "resnet50"] {
        check(name, "reference");
    }
}

#[test]
#[ignore = "the plain loops take minutes"]
fn vgg_passes_on_the_plain_loops() {
    check("vgg19", "reference");
}
