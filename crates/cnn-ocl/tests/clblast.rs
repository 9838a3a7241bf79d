//! The row `clblast` really calls CLBlast, with its own parameters and with ours, and does what the reference does.
#![cfg(feature = "clblast")]

use std::sync::{Mutex, PoisonError};

use cnn_core::backend::Precision;
use cnn_core::layers::{Activation, Conv2d};
use cnn_core::{Backend, CompileOptions, Error, Network, Reference};
use cnn_ocl::tuning::{Clblast, Tuning};
use cnn_ocl::{Ocl, clblast_calls};
use cnn_testkit::assert_close;
use cnn_testkit::conformance::{random_input, random_weights};

/// Calls are counted by the process: one test at a time.
static COUNTER: Mutex<()> = Mutex::new(());

fn network() -> Network {
    let mut net = Network::builder("n", [5, 20, 17]);
    net.push("conv", Conv2d::new(12, 3).padding(1)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("strided", Conv2d::new(33, 5).stride(2)).unwrap();
    net.finish().unwrap()
}

#[test]
fn clblast_is_called_and_is_right() {
    let _counting = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let network = network();
    let (weights, input) = (random_weights(&network, 1), random_input(&network, 3, 2));
    let run = |backend: &dyn Backend, options: &CompileOptions| {
        backend.compile(&network, &weights, options).unwrap().session().unwrap().run(&input).unwrap()
    };
    let want = run(&Reference::new(), &CompileOptions::default());
    // Two sets of parameters, which take turns from layer to layer.
    let small = [0, 1, 16, 2, 8, 8, 32, 8, 8, 32, 0, 0, 0, 0, 2, 2];
    let large = [0, 1, 32, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4];
    let told =
        [(200, small), (usize::MAX >> 1, large)].map(|(most_pixels, parameters)| Clblast { most_pixels, parameters });
    for clblast in [Vec::new(), told.to_vec()] {
        let ocl = Ocl::builder().tuning(Tuning { clblast, ..Tuning::fallback() }).build("").unwrap();
        let before = clblast_calls();
        let got = run(&ocl, &CompileOptions::default().algorithm("clblast").strict());
        // Two layers, three samples.
        assert_eq!(clblast_calls() - before, 6);
        assert_close("clblast", &got.to_f32(), &want.to_f32(), 1e-6);
    }
}

#[test]
fn clblast_multiplies_halves_where_the_device_does() {
    let _counting = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let network = network();
    let (weights, input) = (random_weights(&network, 1), random_input(&network, 3, 2));
    let run = |backend: &dyn Backend, options: &CompileOptions| {
        Ok::<_, Error>(backend.compile(&network, &weights, options)?.session()?.run(&input)?.to_f32().into_owned())
    };
    let ocl = Ocl::new("").unwrap();
    let options = CompileOptions::default().algorithm("clblast").strict();
    let stored = run(&ocl, &options.clone().values(Precision::Half)).err().unwrap().to_string();
    assert!(stored.contains("refuses"), "{stored}");
    let before = clblast_calls();
    match run(&ocl, &options.arithmetic(Precision::Half)) {
        Ok(got) => {
            assert_eq!(clblast_calls() - before, 6);
            assert_close("hgemm", &got, &run(&Reference::new(), &CompileOptions::default()).unwrap(), 1e-2);
        }
        Err(error) => assert!(error.to_string().contains("no arithmetic in half precision"), "{error}"),
    }
}
