//! The OpenCL backend does what the reference does, on every device found. Where none is found these tests fail: install
//! PoCL to run them on the processor.

use cnn_ocl::Ocl;
use cnn_ocl::device;
use cnn_testkit::conformance::check_inference;

#[test]
fn every_device_conforms() {
    for found in device::devices().expect("an OpenCL device") {
        println!("{}", found.info.name);
        check_inference(&Ocl::new(&found.index.to_string()).unwrap());
    }
}
