#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inlet_fuzz::trigger(data));
