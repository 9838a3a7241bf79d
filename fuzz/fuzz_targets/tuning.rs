//! `cargo +nightly fuzz run tuning --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::tuning(bytes));
