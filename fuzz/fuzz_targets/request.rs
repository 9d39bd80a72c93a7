//! See `kun_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::request(bytes));
