//! The corpora of the fuzz targets as ordinary tests: every file, and variants of it.

use crate::differential::bodies::body;
use crate::differential::dice::Dice;
use crate::differential::grammar::damage;
use crate::fuzz_entries;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Variants of a file.
const VARIANTS: u64 = 30;

fn run(target: &str, entry: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} files of {target}", files.len());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        for seed in 0..=VARIANTS {
            let variant = variant(&data, seed);
            let passed = catch_unwind(|| entry(&variant)).is_ok();
            assert!(passed, "{} variant {seed}: {:?}", file.display(), String::from_utf8_lossy(&variant));
        }
    }
}

/// The file itself, and then the file with some damage.
fn variant(data: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut variant = data.to_vec();
    let times = if seed == 0 { 0 } else { 1 + dice.below(3) };
    for _ in 0..times {
        damage(&mut variant, &mut dice);
    }
    variant
}

#[test]
fn strict_json() {
    run("strict_json", fuzz_entries::strict_json);
}

#[test]
fn call() {
    run("call", fuzz_entries::call);
}

/// What the corpus begins with, the grammar of the differential test has more of.
#[test]
fn call_with_generated_bodies() {
    let mut dice = Dice::new(5);
    for round in 0..6_000 {
        let at = round % fuzz_entries::ROUTES.len();
        let case = [b'a', b'A', b'!', 1][dice.below(4)];
        let mut data = vec![case + u8::try_from(at).unwrap()];
        data.extend(body(fuzz_entries::ROUTES[at], &mut dice));
        let passed = catch_unwind(|| fuzz_entries::call(&data)).is_ok();
        assert!(passed, "{:?}", String::from_utf8_lossy(&data));
    }
}

#[test]
fn frames() {
    run("frames", fuzz_entries::frames);
}

#[test]
fn multipart() {
    run("multipart", fuzz_entries::multipart);
}

#[test]
fn model_name() {
    run("model_name", fuzz_entries::model_name);
}
