//! How many instructions each stage of the path is, against what it may be: a gate that does not depend on how fast or how
//! busy a machine is.
//!
//! `cargo bench --bench instructions`: counts by callgrind (Debian: `valgrind`), and fails where a stage has become a
//! tenth dearer than `allowed.toml` says. `-- --write` writes that file anew: after a change that is meant to be so.
//! `tests/run` counts with `--profile dev`, for which everything is built by then. Not counted: what leads to the stage,
//! the kernel, and waiting.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that meets something unexpected must fail at once"
)]

#[path = "../walk/mod.rs"]
mod walk;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use walk::{Ground, Meter, stand_in};

/// Requests that take a stage.
const TIMES: u64 = 50;
/// Counts of a stage, of which the least holds: in one of them the allocator may put together what was let go of before.
const ROUNDS: usize = 3;
/// How many times as many a stage may be: libraries choose other code on other processors, and hashes are seeded.
const TOLERANCE: f64 = 1.1;
/// What the build is optimised for: one that is not has counts of its own.
const BUILD: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// What callgrind writes its counts at, and begins anew: nobody else calls it.
const MARK: &str = "getppid";

fn mark() {
    assert_ne!(std::os::unix::process::parent_id(), 0);
}

/// Takes requests through every stage, and says what it is called.
struct Run;

impl Meter for Run {
    fn stage<I, O>(&mut self, name: &str, mut begin: impl FnMut() -> I, mut stage: impl FnMut(I) -> O) {
        drop(stage(begin())); // what is done once in a process is no request's
        for _ in 0..ROUNDS {
            let begun: Vec<I> = (0..TIMES).map(|_| begin()).collect();
            let mut ended = Vec::with_capacity(begun.len());
            mark();
            ended.extend(begun.into_iter().map(&mut stage));
            mark();
        }
        let mut out = std::io::stdout();
        writeln!(out, "{name}").unwrap();
    }
}

/// Instructions of each stage.
type Counted = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        _ if stand_in::is_wanted() => stand_in::serve(),
        Some("--run") => walk::stages(&Ground::prepare(), &mut Run),
        Some("--write") => write(&count()),
        Some(_) | None => return judge(&count()),
    }
    ExitCode::SUCCESS
}

fn count() -> Counted {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("counted");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).arg(format!("--dump-before={MARK}"));
    command.arg(format!("--callgrind-out-file={}", out.display()));
    let ran = command.arg(std::env::current_exe().unwrap()).arg("--run").output().expect("valgrind is not installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let names = String::from_utf8(ran.stdout).unwrap();
    // Two dumps a round: of what is before it, and of itself.
    let least = |at: usize| (0..ROUNDS).map(|round| total(&out, 2 * (ROUNDS * at + round) + 2)).min().unwrap();
    names.lines().enumerate().map(|(at, name)| (name.to_owned(), least(at) / TIMES)).collect()
}

fn total(out: &Path, dump: usize) -> u64 {
    let dump = std::fs::read_to_string(out.with_extension(dump.to_string())).unwrap();
    let (_, total) = dump.split_once("\ntotals: ").unwrap();
    total.trim().parse().unwrap()
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/allowed.toml")
}

fn allowed() -> BTreeMap<String, Counted> {
    toml::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

fn write(counted: &Counted) {
    let mut all = allowed();
    all.insert(BUILD.to_owned(), counted.clone());
    let mut text =
        "# Instructions a request: `cargo bench [--profile dev] --bench instructions -- --write`.\n".to_owned();
    for (build, counted) in all {
        write!(text, "\n[{build}]\n").unwrap();
        for (name, count) in counted {
            writeln!(text, "\"{name}\" = {count}").unwrap();
        }
    }
    std::fs::write(file(), text).unwrap();
}

fn judge(counted: &Counted) -> ExitCode {
    let allowed = allowed().remove(BUILD).unwrap_or_default();
    assert!(counted.keys().eq(allowed.keys()), "allowed.toml has other rows than these: {:?}", counted.keys());
    let (mut out, mut verdict) = (std::io::stdout(), ExitCode::SUCCESS);
    for ((name, count), may) in counted.iter().zip(allowed.values()) {
        let ratio = *count as f64 / *may as f64;
        let dear = if ratio > TOLERANCE { "  too dear" } else { "" };
        writeln!(out, "{count:>8} of {may:>8} ({ratio:.2})  {name}{dear}").unwrap();
        if ratio > TOLERANCE {
            verdict = ExitCode::FAILURE;
        }
    }
    verdict
}
