#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gamekeeper::protocol::fuzz::file_messages(data));
