//! `cargo +nightly fuzz run onnx --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::onnx(bytes));
