//! The row `clblast` really calls CLBlast, with its own parameters and with ours, and does what the reference does.
#![cfg(feature = "clblast")]

use cnn_core::layers::{Activation, Conv2d};
use cnn_core::{Backend, CompileOptions, Network, Reference};
use cnn_ocl::tuning::{Clblast, Tuning};
use cnn_ocl::{Ocl, clblast_calls};
use cnn_testkit::assert_close;
use cnn_testkit::conformance::{random_input, random_weights};

fn network() -> Network {
    let mut net = Network::builder("n", [5, 20, 17]);
    net.push("conv", Conv2d::new(12, 3).padding(1)).unwrap();
    net.push("tanh", Activation::Tanh).unwrap();
    net.push("strided", Conv2d::new(33, 5).stride(2)).unwrap();
    net.finish().unwrap()
}

#[test]
fn clblast_is_called_and_is_right() {
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
