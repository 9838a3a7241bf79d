//! `cargo +nightly fuzz run weights --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::weights(bytes));
