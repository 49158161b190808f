//! libFuzzer's way into `sampan_fuzz::strategic`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sampan_fuzz::strategic(data));
