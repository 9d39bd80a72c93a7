//! See `kun_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kun_fuzz::manifest(bytes));
