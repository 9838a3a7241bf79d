//! `cargo +nightly fuzz run idx --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::idx(bytes));
