//! The files of the audit log: closed while others write, followed by the next, deleted when their time is over; and the
//! chain over all of them, whatever stops a process in the middle.

use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Request, Setup, routes, within};
use ollama_gateway::telemetry::audit::{Act, Audit, Entry, FILE, Files, Verified};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

async fn started(setup: impl FnOnce(Setup) -> Setup) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = setup(Setup::before(&ollama)).start().await;
    (ollama, gateway)
}

/// Requests whose records are in the log; their ids.
async fn served(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let answer = gateway.send(Request::get("/api/version").key(&gateway.user)).await.expect(200);
        gateway.record(answer.id()).await;
        ids.push(answer.id().to_owned());
    }
    ids
}

/// As it is: `Setup::run` writes the configuration first, which another command may be reading.
async fn run(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(arguments).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn rotated(setup: &Setup) -> PathBuf {
    let out = run(setup, &["audit", "rotate"]).await;
    out.lines().find_map(|line| line.strip_prefix("closed ")).unwrap_or_else(|| panic!("{out}")).into()
}

async fn verified(setup: &Setup, more: &[&str]) -> (i32, String) {
    let (code, out, err) = setup.run(&[&["audit", "verify"], more].concat()).await;
    (code, out + &err)
}

/// All records, by `audit export`.
async fn exported(setup: &Setup) -> Vec<Value> {
    let (code, out, error) = setup.run(&["audit", "export"]).await;
    assert_eq!(code, 0, "{error}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn are_in_order(records: &[Value]) -> bool {
    records.iter().zip(1..).all(|(record, number)| record["seq"] == number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_closes_the_file_under_a_gateway_that_goes_on_in_the_next_one() {
    let (_ollama, gateway) = started(|setup| setup).await;
    let mut ids = served(&gateway, 3).await;
    let first = rotated(&gateway.setup).await;
    let closed = std::fs::read(&first).unwrap();
    ids.extend(served(&gateway, 3).await);
    let second = rotated(&gateway.setup).await;
    ids.extend(served(&gateway, 2).await);
    assert_eq!(first, gateway.setup.state().join("audit-000000000001.jsonl"));
    assert_eq!(std::fs::read(&first).unwrap(), closed, "nobody writes to a closed file");
    assert_eq!(first.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let records = exported(&gateway.setup).await;
    assert!(are_in_order(&records));
    let found: Vec<_> = records.iter().filter_map(|record| record["request_id"].as_str()).collect();
    assert_eq!(found, ids);
    let told = |act: &str| records.iter().filter(|record| record["event"] == act || record["action"] == act).count();
    assert_eq!((told("continued"), told("audit rotate")), (2, 2));
    let (code, told) = verified(&gateway.setup, &[]).await;
    assert!(code == 0 && told.contains(&format!("{} records in 3 files, the chain is whole", records.len())), "{told}");
    // A file by itself says after which record it begins, and those of a row fit together.
    let (code, told) = verified(&gateway.setup, &[second.to_str().unwrap()]).await;
    let follows = format!("it begins after record {}", closed.iter().filter(|byte| **byte == b'\n').count());
    assert!(code == 0 && told.contains(&follows), "{told}");
    assert_eq!(verified(&gateway.setup, &[first.to_str().unwrap(), second.to_str().unwrap()]).await.0, 0);
    let last = records.last().unwrap()["hash"].as_str().unwrap();
    let old = records[1]["hash"].as_str().unwrap();
    for hash in [last, old] {
        assert_eq!(verified(&gateway.setup, &["--expect", hash]).await.0, 0, "it is in one of the files");
    }
    assert_eq!(verified(&gateway.setup, &["--expect", &"0".repeat(64)]).await.0, 1);
    what_is_done_to_the_files_is_seen(&gateway.setup, &first, &second).await;
}

async fn what_is_done_to_the_files_is_seen(setup: &Setup, first: &Path, second: &Path) {
    let good = std::fs::read_to_string(second).unwrap();
    std::fs::write(second, good.replacen("\"status\":200", "\"status\":201", 1)).unwrap();
    let (code, told) = verified(setup, &[]).await;
    assert!(
        code == 1 && told.contains(&format!("{}: line", second.display())) && told.contains("was changed"),
        "{told}"
    );
    std::fs::write(second, good.lines().next().unwrap().to_owned() + "\n").unwrap();
    let (code, told) = verified(setup, &[]).await;
    assert!(code == 1 && told.contains("audit.jsonl: before line 1, the records"), "{told}");
    std::fs::write(second, good.strip_suffix('\n').unwrap()).unwrap();
    let (code, told) = verified(setup, &[]).await;
    assert!(code == 1 && told.contains(&format!("{}: line", second.display())), "{told}");
    std::fs::write(second, &good).unwrap();
    assert_eq!(verified(setup, &[]).await.0, 0);
    std::fs::remove_file(first).unwrap();
    let (code, told) = verified(setup, &[]).await;
    assert!(code == 1 && told.contains("are missing, and no record says that their time was over"), "{told}");
    // A beginning that was made to fit is a change of its line.
    let forged = good.replacen("\"through\":", "\"through\":1", 1);
    std::fs::write(second, forged).unwrap();
    assert_eq!(verified(setup, &[]).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_closes_a_file_that_is_large_enough_and_keeps_as_many_as_it_may() {
    let files = |setup: Setup| setup.set("audit", "file_size", "\"4 KiB\"").set("audit", "max_files", "1");
    let (_ollama, mut gateway) = started(files).await;
    assert_eq!(field(&gateway.event("confinement").await, "files"), "on", "within its sandbox");
    let mut ids = served(&gateway, 16).await;
    gateway.event("audit_file_closed").await;
    ids.extend(served(&gateway, 16).await);
    let deleted = gateway.event("audit_file_deleted").await;
    assert!(field(&deleted, "audit_file").ends_with("audit-000000000001.jsonl"), "{deleted}");
    ids.extend(served(&gateway, 1).await);
    assert_eq!(gateway.stop().await, 0);
    let (code, told) = verified(&gateway.setup, &[]).await;
    assert!(code == 0 && told.contains("it begins after record"), "{told}");
    let records = exported(&gateway.setup).await;
    let found: Vec<_> = records.iter().filter_map(|record| record["request_id"].as_str()).collect();
    assert!(found.len() < ids.len() && ids.ends_with(&found.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()));
    let gone: Vec<_> = records.iter().filter(|record| record["event"] == "deleted").collect();
    assert_eq!(gone[0]["object"], "audit-000000000001.jsonl");
    let head = gone.last().unwrap()["head"].as_str().unwrap();
    assert_eq!(verified(&gateway.setup, &["--expect", head]).await.0, 0, "its end is known although it is gone");
}

/// Killed wherever it is, again and again, while files are closed all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_leaves_a_log_that_goes_on() {
    let (_ollama, mut gateway) = started(|setup| setup.set("audit", "file_size", "\"4 KiB\"")).await;
    let mut answered = Vec::new();
    for round in 1..=4 {
        let busy = async {
            loop {
                answered.extend(served(&gateway, 1).await);
                rotated(&gateway.setup).await;
            }
        };
        let cut = std::time::Duration::from_millis(150 * round);
        assert!(tokio::time::timeout(cut, busy).await.is_err());
        gateway.signal("KILL");
        within("its end", gateway.ended()).await;
        gateway = gateway.start_again().await;
        let (code, told) = verified(&gateway.setup, &[]).await;
        assert!(code == 0, "{told}");
    }
    let records = exported(&gateway.setup).await;
    assert!(are_in_order(&records));
    let of = |id: &String| records.iter().any(|record| record["request_id"] == id.as_str());
    assert!(!answered.is_empty() && answered.iter().all(of));
}

fn state() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn log(state: &Path) -> Audit {
    Audit::open(state, None).unwrap()
}

fn record(audit: &Audit, object: &str) {
    audit.record(&Entry { object: Some(object), ..Entry::act(Act::Request) }, UNIX_EPOCH);
}

/// Reads the log as `audit verify` does: its records, its files; it has to be whole.
fn whole(state: &Path) -> (u64, usize) {
    let (mut found, mut files) = (Verified::default(), 0);
    for (path, content) in Files::of(state).unwrap().contents() {
        found.read(&path, content.unwrap()).unwrap();
        files += 1;
    }
    found.explain_beginning(state);
    assert!(found.faults.is_empty() && !found.torn, "{found:?}");
    (found.lines, files)
}

#[test]
fn whatever_step_it_was_killed_at_the_next_one_goes_on() {
    let folder = state();
    let (path, draft) = (folder.path().join(FILE), folder.path().join("audit.jsonl.tmp"));
    let closed = folder.path().join("audit-000000000001.jsonl");
    record(&log(folder.path()), "one");
    // After the draft was begun.
    std::fs::write(&draft, "{\"hash\":\"01").unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).unwrap();
    record(&log(folder.path()), "two");
    assert_eq!(whole(folder.path()), (2, 1));
    // After the second name was given.
    std::fs::hard_link(&path, &closed).unwrap();
    assert_eq!(whole(folder.path()), (2, 1), "it is one file, whatever names it has");
    record(&log(folder.path()), "three");
    let audit = log(folder.path());
    assert_eq!(audit.close_file(UNIX_EPOCH).unwrap(), Some(closed.clone()));
    assert!(!draft.exists() && closed.metadata().unwrap().nlink() == 1);
    assert_eq!(whole(folder.path()), (4, 2));
    assert_eq!(audit.close_file(UNIX_EPOCH).unwrap(), None, "there is nothing in it that could be closed");
    record(&audit, "four");
    assert_eq!(whole(folder.path()), (5, 2));
    // A foreign file in the way of the name is not overwritten.
    let next = folder.path().join("audit-000000000004.jsonl");
    std::fs::write(&next, "mine").unwrap();
    assert!(audit.close_file(UNIX_EPOCH).is_err());
    assert_eq!(std::fs::read(&next).unwrap(), b"mine");
    std::fs::remove_file(&next).unwrap();
    record(&audit, "five");
    assert_eq!(whole(folder.path()), (6, 2));
}

/// What `logrotate` would do: the chain goes on, and what was taken away is missing.
#[test]
fn a_file_that_was_taken_away_from_outside_is_missing() {
    for empty_one_is_put_there in [false, true] {
        let folder = state();
        let path = folder.path().join(FILE);
        let (one, other) = (log(folder.path()), log(folder.path()));
        record(&one, "one");
        record(&other, "two");
        std::fs::rename(&path, folder.path().join("taken")).unwrap();
        if empty_one_is_put_there {
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        record(&one, "three");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"seq\":3,") && text.contains("continued") && text.contains("three"), "{text}");
        let mut found = Verified::default();
        found.read(&path, text.as_bytes()).unwrap();
        found.explain_beginning(&path);
        let told: Vec<_> = found.faults.iter().map(|(_, fault)| fault.to_string()).collect();
        assert_eq!(told, ["the records 1 to 2 are missing, and no record says that their time was over"]);
        // With what was taken it is whole: nothing is lost.
        let mut found = Verified::default();
        found.read(&path, std::fs::File::open(folder.path().join("taken")).unwrap()).unwrap();
        found.read(&path, text.as_bytes()).unwrap();
        found.explain_beginning(&path);
        assert!(found.faults.is_empty() && found.lines == 4, "{found:?}");
    }
}

/// Several processes, as the kernel sees them: a lock belongs to whoever opened the file.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_to_a_file_that_another_one_has_closed() {
    const WRITERS: usize = 3;
    const CLOSED: usize = 5;
    let folder = state();
    let keeper = Arc::new(log(folder.path()));
    let files = ollama_gateway::config::types::AuditFiles {
        size: 64 << 10,
        age: std::time::Duration::MAX,
        retention: std::time::Duration::MAX,
        most: None,
    };
    let kept = tokio::spawn(Arc::clone(&keeper).keep(move || files));
    let done = Arc::new(AtomicBool::new(false));
    let write = |audit: Arc<Audit>| {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            (0..)
                .take_while(|_| !done.load(Ordering::Acquire))
                .inspect(|n: &u64| record(&audit, &n.to_string()))
                .count()
        })
    };
    let others = (0..WRITERS).map(|_| Arc::new(log(folder.path())));
    let writers: Vec<_> = others.chain([keeper]).map(write).collect();
    let (closer, mut closed) = (log(folder.path()), BTreeMap::new());
    let given_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while closed.len() < CLOSED && std::time::Instant::now() < given_up {
        if let Some(file) = closer.close_file(UNIX_EPOCH).unwrap() {
            closed.insert(file.clone(), std::fs::read(file).unwrap());
        }
    }
    done.store(true, Ordering::Release);
    let written: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    kept.abort();
    let (records, files) = whole(folder.path());
    assert_eq!(records, (written + files - 1) as u64, "and one at the beginning of each file but the first");
    assert_eq!(closed.len(), CLOSED);
    for (file, content) in closed {
        assert!(std::fs::read(&file).unwrap() == content, "{} was written", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_all_files_and_the_chain_goes_on_after_a_restore() {
    let (_ollama, mut gateway) = started(|setup| setup).await;
    served(&gateway, 2).await;
    rotated(&gateway.setup).await;
    let ids = served(&gateway, 2).await;
    // While its files change: each backup is one chain, whenever it was made.
    let setup = gateway.setup.clone();
    let (busy, mut backups) = (
        tokio::spawn(async move {
            loop {
                rotated(&setup).await;
            }
        }),
        Vec::new(),
    );
    for number in 0..3 {
        let file = gateway.setup.file(&format!("{number}.tar")).display().to_string();
        run(&gateway.setup, &["backup", &file]).await;
        backups.push(file);
    }
    busy.abort();
    drop(busy.await);
    assert_eq!(gateway.stop().await, 0);
    for file in backups {
        std::fs::remove_dir_all(gateway.setup.state()).unwrap();
        let (code, _, said) = gateway.setup.run(&["restore", &file]).await;
        assert_eq!(code, 0, "{said}");
        let (code, told) = verified(&gateway.setup, &[]).await;
        assert!(code == 0 && told.contains(" files, the chain is whole"), "{told}");
        let records = exported(&gateway.setup).await;
        assert!(are_in_order(&records) && records.iter().any(|record| record["request_id"] == ids[1].as_str()));
        assert_eq!(records.last().unwrap()["action"], "restore");
    }
}
