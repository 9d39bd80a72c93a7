//! See `kun_fuzz::pieces`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::pieces(bytes));
