//! `cargo +nightly fuzz run cifar --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::cifar(bytes));
