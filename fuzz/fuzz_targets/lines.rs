//! See `kun_fuzz::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::lines(bytes));
