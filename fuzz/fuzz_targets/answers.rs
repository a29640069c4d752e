//! See `fuzz_entries::answers`.
#![no_main]
#![expect(dead_code, reason = "the entries of all targets are in one file")]

#[path = "../../tests/it/fuzz_entries.rs"]
mod fuzz_entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::answers::answers(data));
