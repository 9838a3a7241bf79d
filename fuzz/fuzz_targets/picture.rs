//! `cargo +nightly fuzz run picture --features fuzzing`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnn_fuzz::picture(bytes));
