//! libFuzzer's way into `sampan_fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sampan_fuzz::json(data));
