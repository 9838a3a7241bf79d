//! `cargo +nightly fuzz run message --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::message(bytes));
