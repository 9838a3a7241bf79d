//! The OpenCL backend does what the reference does, on every device found. Where none is found these tests fail: install
//! PoCL to run them on the processor.

use cnn_ocl::Ocl;
use cnn_ocl::device;
use cnn_ocl::tuning::Tuning;
use cnn_testkit::conformance::{check_inference, shared_plan, training, training_of_few};

#[test]
fn every_device_conforms() {
    for found in device::devices().expect("an OpenCL device") {
        println!("{}", found.info.name);
        check_inference(&Ocl::new(&found.index.to_string()).unwrap());
    }
}

#[test]
fn every_device_trains() {
    for found in device::devices().expect("an OpenCL device") {
        training(&Ocl::new(&found.index.to_string()).unwrap());
    }
}

/// The kernels of training once each, for a simulator to look at.
#[test]
fn few_networks_train() {
    training_of_few(&Ocl::new("").unwrap());
}

#[test]
fn threads_share_a_plan() {
    shared_plan(&Ocl::new("").unwrap());
}

/// Narrow vectors, groups of several work-items, shared sums: what GPUs get, on whatever device is here.
#[test]
fn the_parameters_of_unknown_devices_conform() {
    check_inference(&Ocl::builder().tuning(Tuning::fallback()).build("").unwrap());
    training_of_few(&Ocl::builder().tuning(Tuning::fallback()).build("").unwrap());
}
