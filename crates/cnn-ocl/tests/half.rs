//! Values and arithmetic in half precision: every row of the convolution table, every layer, and what a device without it does.

use std::sync::LazyLock;

use cnn_core::backend::Precision;
use cnn_core::layers::{Conv2d, Flatten, Linear};
use cnn_core::{Backend, CompileOptions, Error, Layer, Network, Reference, Tensor, Weights};
use cnn_ocl::Ocl;
use cnn_ocl::ops::conv2d::TABLE;
use cnn_ocl::tuning::Tuning;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::{cases, difference};

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));

fn storage() -> CompileOptions {
    CompileOptions::default().values(Precision::Half)
}

fn arithmetic() -> CompileOptions {
    CompileOptions::default().arithmetic(Precision::Half)
}

/// The error that an option may add on this device: a rounding or a few of each value, or of each step of a sum too.
fn options() -> Vec<(CompileOptions, f64)> {
    let mut options = vec![(storage(), 1.5e-3)];
    if run(&*OCL, &network(), 1, &arithmetic().strict()).is_ok() {
        options.push((arithmetic(), 1.5e-2));
    }
    options
}

fn run(backend: &dyn Backend, network: &Network, batch: usize, options: &CompileOptions) -> Result<Tensor, Error> {
    let (weights, input) = (random_weights(network, 5), random_input(network, batch, 6));
    backend.compile(network, &weights, options)?.session()?.run(&input)
}

fn apart(network: &Network, batch: usize, got: &Tensor) -> f64 {
    let want = run(&Reference::new(), network, batch, &CompileOptions::default()).unwrap();
    difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms)
}

fn every_layer_works(ocl: &Ocl) {
    for (options, tolerance) in options() {
        for case in cases() {
            let network = case.network().unwrap();
            let apart = apart(&network, case.batch, &run(ocl, &network, case.batch, &options).unwrap());
            assert!(apart <= tolerance, "{}: {apart:e} {options:?}", case.name);
        }
    }
}

#[test]
fn every_layer_works_with_values_in_half_precision() {
    every_layer_works(&OCL);
}

#[test]
fn the_parameters_of_unknown_devices_work_with_values_in_half_precision() {
    every_layer_works(&Ocl::builder().tuning(Tuning::fallback()).build("").unwrap());
}

#[test]
fn every_row_works_with_values_in_half_precision() {
    for (options, tolerance) in options() {
        for row in TABLE {
            // The geometry of all cases is checked in single precision.
            const ENOUGH: usize = 5;
            let mut accepted = 0;
            for case in cases().into_iter().filter(|case| matches!(case.layer, Layer::Conv2d(_))) {
                let network = case.network().unwrap();
                let options = options.clone().algorithm(row.name()).strict();
                let got = match run(&*OCL, &network, case.batch, &options) {
                    Err(Error::Backend { reason, .. }) if reason.contains("refuses") => continue,
                    got => got.unwrap(),
                };
                let apart = apart(&network, case.batch, &got);
                println!("{} by {}: {apart:e}", case.name, row.name());
                assert!(apart <= tolerance, "{} by {}: {apart:e}", case.name, row.name());
                accepted += 1;
                if accepted == ENOUGH {
                    break;
                }
            }
            assert!(accepted >= 2 || row.name() == "clblast", "{} takes only {accepted} cases", row.name());
        }
    }
}

fn network() -> Network {
    let mut net = Network::builder("n", [3, 20, 20]);
    net.push("conv", Conv2d::new(24, 3).padding(1)).unwrap();
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(50)).unwrap();
    net.finish().unwrap()
}

#[test]
fn halves_take_half_the_memory() {
    let network = network();
    let weights = random_weights(&network, 1);
    let report = |options| OCL.compile(&network, &weights, &options).unwrap().report().clone();
    let (single, half) = (report(CompileOptions::default()), report(storage()));
    assert!(half.arena_bytes <= single.arena_bytes / 2 + 64, "{} {}", half.arena_bytes, single.arena_bytes);
    // Biases stay single.
    assert!(half.weight_bytes <= single.weight_bytes / 2 + 1024, "{} {}", half.weight_bytes, single.weight_bytes);
}

/// Some devices do not have it, others say that they do and fail the test.
#[test]
fn a_device_without_half_arithmetic_keeps_to_single() {
    let network = network();
    let Err(error) = run(&*OCL, &network, 2, &arithmetic().strict()) else { return };
    assert!(matches!(&error, Error::Backend { reason, .. } if reason.contains("no arithmetic in half")), "{error}");
    let [fallen, stored] = [arithmetic(), storage()].map(|options| run(&*OCL, &network, 2, &options).unwrap());
    assert_eq!(fallen, stored);
}

#[test]
fn parameters_beyond_half_precision_keep_all_single() {
    let network = network();
    let mut weights: Weights = random_weights(&network, 5);
    let mut values = weights.get("conv.weight").unwrap().to_f32().into_owned();
    values[7] = 1e5;
    weights.insert("conv.weight", Tensor::new([24, 3, 3, 3], values).unwrap());
    let input = random_input(&network, 1, 6);
    let run = |options: CompileOptions| OCL.compile(&network, &weights, &options)?.session()?.run(&input);
    assert_eq!(run(storage()).unwrap(), run(CompileOptions::default()).unwrap());
    let error = run(storage().strict()).err().unwrap();
    assert!(matches!(&error, Error::Backend { reason, .. } if reason.contains("`conv`")), "{error}");
}
