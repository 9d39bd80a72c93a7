//! See `kun_fuzz::rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::rows(bytes));
