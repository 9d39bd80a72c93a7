//! See `kun_fuzz::format`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::format(bytes));
