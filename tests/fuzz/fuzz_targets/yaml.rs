//! libFuzzer's way into `sampan_fuzz::yaml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sampan_fuzz::yaml(data));
