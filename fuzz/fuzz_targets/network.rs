//! `cargo +nightly fuzz run network --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::network(bytes));
