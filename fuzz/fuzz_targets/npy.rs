//! `cargo +nightly fuzz run npy --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::npy(bytes));
