//! Networks that packages for reading text on pictures come with, against ONNX Runtime: `scripts/fetch-onnx-packages` gets them,
//! `scripts/golden-packages` made the files to compare with. Their networks leave rows and columns of the input open.

mod common;

use std::path::{Path, PathBuf};

use cnn::models::npy;
use cnn::models::onnx::{self, ImportOptions};
use cnn::{CompileOptions, Tensor};
use common::numbers;

/// Largest difference, relative to the largest output.
const TOLERANCE: f32 = 1e-4;

fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/onnx-packages");
    assert!(folder.exists(), "{} is missing; run scripts/fetch-onnx-packages", folder.display());
    folder.join(format!("{name}.onnx"))
}

/// Runs a network on noise of `shape` and compares it with its file.
fn check(golden: &str, (name, options): (&str, ImportOptions), shape: [usize; 3], on: &[&str]) {
    let imported = onnx::read(&file(name), &options.input_shape(shape)).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/packages/{golden}.npy"));
    let golden = npy::read(&golden).unwrap().to_f32().into_owned();
    let (largest, want) = golden.split_first().unwrap();
    let picture = Tensor::new([1, shape[0], shape[1], shape[2]], numbers(0, shape.iter().product(), 1.0)).unwrap();
    let input = imported.pack(&[picture]).unwrap();
    for backend in on {
        let backend = cnn::backend(backend).unwrap();
        let plan = backend.compile(&imported.network, &imported.weights, &CompileOptions::default()).unwrap();
        let output = plan.session().unwrap().run(&input).unwrap().to_f32().into_owned();
        let got = (0..want.len()).map(|place| output[place * output.len() / want.len()]);
        let own_largest = output.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        let apart = got.zip(want).fold((own_largest - largest).abs(), |apart, (a, b)| apart.max((a - b).abs()));
        println!("{name} on {}: {:.1e} of the largest output apart", backend.name(), apart / largest);
        assert!(apart <= TOLERANCE * largest, "{name} on {}: {apart:e} of {largest}", backend.name());
    }
}

#[test]
fn the_direction_of_text_agrees_with_onnx_runtime() {
    let import = ("ch_ppocr_mobile_v2.0_cls_infer", ImportOptions::default());
    check("direction", import, [3, 48, 96], &["reference", "cpu", "ocl"]);
}

#[test]
fn read_text_agrees_with_onnx_runtime() {
    check("recognition", ("ch_PP-OCRv4_rec_infer", ImportOptions::default()), [3, 48, 96], &["reference", "cpu"]);
}

/// Compared before the last sigmoid, which makes almost nothing of noise.
#[test]
fn found_text_agrees_with_onnx_runtime() {
    let import = ("ch_PP-OCRv4_det_infer", ImportOptions::default().output("p2o.Add.281"));
    check("detection", import, [3, 64, 96], &["reference", "cpu"]);
}

/// Of an input whose extents the file fixes; the plain loops would take long.
#[test]
fn found_objects_agree_with_onnx_runtime() {
    check("objects", ("common_det", ImportOptions::default()), [3, 416, 416], &["cpu"]);
}

#[test]
fn recurrent_networks_are_refused_with_all_that_is_not_read() {
    let refusal = |name| onnx::read(&file(name), &ImportOptions::default()).unwrap_err().to_string();
    assert!(refusal("common").ends_with("operators that are not supported: LSTM"), "{}", refusal("common"));
    let old = refusal("common_old");
    assert!(
        old.ends_with(
            "operators that are not supported: DynamicQuantizeLinear (22), com.microsoft.DynamicQuantizeLSTM"
        ),
        "{old}"
    );
}

#[test]
fn open_extents_and_shapes_that_do_not_fit_are_errors() {
    let read = |options| onnx::read(&file("ch_PP-OCRv4_rec_infer"), &options).map(drop).unwrap_err().to_string();
    let open = read(ImportOptions::default());
    assert!(open.contains("leaves its extent `?` open; give the input's shape"), "{open}");
    for shape in [vec![1, 48, 96], vec![3, 0, 96], vec![48, 96], vec![1, 1, 3, 48, 96], vec![], vec![3, 48, usize::MAX]]
    {
        let error = read(ImportOptions::default().input_shape(shape));
        assert!(error.contains("input `x` takes no samples of shape"), "{error}");
    }
}
