#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| accessd_fuzz::attempt(bytes));
