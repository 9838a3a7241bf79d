//! Several backends as one do what the reference does.

use std::sync::Arc;

use cnn::{Backend, Cpu, Ocl, Reference, Split, backend};
use cnn_testkit::conformance::{check_inference, shared_plan};

#[test]
fn cpu_and_ocl_conform_as_one() {
    let parts: Vec<Arc<dyn Backend>> = vec![Arc::new(Cpu::with_threads(1).unwrap()), Arc::new(Ocl::new("").unwrap())];
    let split = Split::with_speeds(parts, &[2.0, 1.0]).unwrap();
    check_inference(&split);
    shared_plan(&split);
}

#[test]
fn three_parts_conform_one_of_them_idle() {
    let cpu: Arc<dyn Backend> = Arc::new(Cpu::with_threads(1).unwrap());
    let parts = vec![cpu.clone(), Arc::new(Reference::new()), cpu];
    check_inference(&Split::with_speeds(parts, &[1.0, 0.0, 1.5]).unwrap());
}

#[test]
fn they_are_found_by_name_with_shares_by_their_speed() {
    let both = backend("cpu+reference").unwrap();
    assert_eq!(both.name(), "cpu+reference");
    assert!(backend("cpu+gpu").unwrap_err().to_string().contains("unknown backend `gpu`"));
    let parts: Vec<Arc<dyn Backend>> = vec![Arc::new(Cpu::with_threads(1).unwrap()), Arc::new(Reference::new())];
    let split = Split::new(parts.clone()).unwrap();
    assert!(split.shares()[0] > split.shares()[1] && (split.shares().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    for impossible in [&[1.0][..], &[0.0, 0.0], &[f64::NAN, 1.0], &[-1.0, 2.0]] {
        assert!(Split::with_speeds(parts.clone(), impossible).is_err(), "{impossible:?}");
    }
    assert!(Split::with_speeds(Vec::new(), &[]).is_err());
}
