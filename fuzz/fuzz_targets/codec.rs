//! `cargo +nightly fuzz run codec --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::codec(bytes));
