#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gamekeeper::http::fuzz::texts(data));
