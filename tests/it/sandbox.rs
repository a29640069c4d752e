//! What the process gives up once it listens: asked of the kernel, thread by thread; and what still works.

use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Request, Setup, routes};
use ollama_gateway::config::{self, Environment};
use ollama_gateway::server::sandbox::{Wanted, confine};
use serde_json::json;
use std::path::{Path, PathBuf};

fn chat(key: &str) -> Request {
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
    Request::post("/api/chat", &chat).key(key)
}

async fn started(more: impl FnOnce(Setup) -> Setup) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = more(Setup::before(&ollama)).start().await;
    (ollama, gateway)
}

/// A line of each thread's status.
fn of_threads(gateway: &Gateway, name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let line = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    };
    status.map(line).collect()
}

/// A folder that no gateway of these tests is told about.
fn elsewhere(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_has_given_up_all_and_serves() {
    let (_ollama, gateway) = started(|setup| setup).await;
    gateway.send(chat(&gateway.user)).await.expect(200);
    for (name, wanted) in [
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let found = of_threads(&gateway, name);
        assert!(found.len() > 1 && found.iter().all(|value| value == wanted), "{name}: {found:?}");
    }
    let event = gateway.event("confinement").await;
    let said = ["level", "capabilities", "files"].map(|name| event["fields"][name].to_string());
    assert_eq!(said, ["\"full\"", "\"none\"", "\"on\""], "{event}");
    let listen = format!("\"{}\"", gateway.admin_listener());
    let (_, findings, _) = gateway.setup.clone().set("admin", "listen", &listen).run(&["doctor", "--json"]).await;
    assert!(findings.contains("the running gateway gave up files, system calls and capabilities"), "{findings}");
    gateway.reload();
    gateway.event("policy_reloaded").await;
    gateway.send(chat(&gateway.user)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_wants_a_file_elsewhere_says_so_and_a_restart_takes_it() {
    let (_ollama, mut gateway) = started(|setup| setup).await;
    let folder = elsewhere("secret");
    let secret = folder.join("jwt");
    std::fs::write(&secret, "x".repeat(48)).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let near = gateway.setup.file("near");
    std::fs::copy(&secret, &near).unwrap();
    let refers = |path: &Path| format!("\"file:{}\"", path.display());
    gateway.setup.put("auth.jwt", "secret", &refers(&secret));
    gateway.reload();
    let event = gateway.event("policy_reload_failed").await;
    let detail = field(&event, "detail");
    assert!(detail.contains(secret.to_str().unwrap()) && detail.contains("hint: restart it"), "{detail}");
    gateway.send(chat(&gateway.user)).await.expect(200);
    gateway.setup.put("auth.jwt", "secret", "\"command:/bin/cat /etc/hostname\"");
    gateway.reload();
    gateway.event_where("policy_reload_failed", |event| event.to_string().contains("/bin/cat may not be run")).await;
    gateway.setup.put("auth.jwt", "secret", &refers(&near));
    gateway.reload();
    gateway.event("policy_reloaded").await;
    gateway.setup.put("auth.jwt", "secret", &refers(&secret));
    gateway.setup.write();
    assert_eq!(gateway.stop().await, 0);
    let gateway = gateway.start_again().await;
    gateway.reload();
    gateway.event("policy_reloaded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_configuration_run_and_the_level_says_what_that_costs() {
    let script = elsewhere("command").join("secret.sh");
    let marks = elsewhere("command").join("marks");
    std::fs::write(&marks, "").unwrap();
    std::fs::write(&script, format!("echo run >> {}\nprintf %048d 1\n", marks.display())).unwrap();
    let command = format!("\"command:/bin/sh {}\"", script.display());
    let (_ollama, gateway) = started(|setup| setup.set("auth.jwt", "secret", &command)).await;
    let event = gateway.event("confinement").await;
    let said = ["level", "files", "system_calls_filtered"].map(|name| event["fields"][name].to_string());
    assert_eq!(said, ["\"full\"", "\"off: commands\"", "true"], "{event}");
    let before = std::fs::read_to_string(&marks).unwrap().lines().count();
    gateway.reload();
    gateway.event("policy_reloaded").await;
    assert!(std::fs::read_to_string(&marks).unwrap().lines().count() > before, "the command ran again");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_off() {
    let (_ollama, gateway) = started(|setup| setup.set("server", "sandbox", "false")).await;
    let event = gateway.event("confinement").await;
    assert_eq!((field(&event, "files").as_str(), of_threads(&gateway, "Seccomp")[0].as_str()), ("off", "0"), "{event}");
    let (_, findings, _) = gateway.setup.run(&["doctor", "--json"]).await;
    assert!(findings.contains("server.sandbox is false"), "{findings}");
}

fn denied<T: std::fmt::Debug>(what: &str, result: std::io::Result<T>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{what}: {error}");
}

/// Confines a thread of its own, which is what the kernel confines, and tries there.
fn confined(text: &str, tries: impl FnOnce(&Path) + Send + 'static) {
    let folder = tempfile::TempDir::new().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let file = folder.path().join("gateway.toml");
    let text = format!("[server]\nnames = [\"ai.example.org\"]\nstate = {state:?}\n{text}");
    std::fs::write(&file, &text).unwrap();
    let environment = Environment::default();
    let config = config::parse(file.to_str().unwrap(), &text, &environment).unwrap_or_else(|faults| panic!("{faults}"));
    let thread = std::thread::spawn(move || {
        let wanted = Wanted::of_text(&file, &text, &environment).with(&config);
        drop(confine(&config, &wanted));
        tries(folder.path());
    });
    thread.join().unwrap();
}

#[test]
fn the_kernel_refuses_foreign_files_programs_and_odd_sockets() {
    confined("", |folder| {
        denied("/etc/shadow", std::fs::read("/etc/shadow"));
        denied("/etc/passwd", std::fs::read("/etc/passwd"));
        denied("a folder", std::fs::read_dir("/root"));
        denied("another process", std::fs::read("/proc/1/environ"));
        denied("a file beside", std::fs::write(folder.join("beside"), "x"));
        denied("a file of the system", std::fs::write("/etc/hosts", "x"));
        denied("a program", std::process::Command::new("/bin/true").status());
        std::fs::read(folder.join("gateway.toml")).unwrap();
        let state = folder.join("state");
        std::fs::write(state.join("one"), "x").unwrap();
        std::fs::rename(state.join("one"), state.join("two")).unwrap();
        std::fs::remove_file(state.join("two")).unwrap();
        std::fs::read("/etc/hosts").unwrap();
        std::fs::read_to_string("/proc/self/status").unwrap();
        let (packet, raw) = (socket2::Domain::from(17), socket2::Type::RAW);
        denied("raw frames", socket2::Socket::new(packet, raw, None));
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        denied("a low port", std::net::TcpListener::bind("127.0.0.1:1"));
    });
}

#[test]
fn where_there_are_commands_programs_run_and_files_are_free() {
    confined("[auth.jwt]\nsecret = \"command:/usr/bin/printf %048d 1\"\n", |_| {
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
        std::fs::read("/etc/passwd").unwrap();
        let mount = std::process::Command::new("/bin/mount").args(["-t", "tmpfs", "none", "/mnt"]).output().unwrap();
        assert!(!mount.status.success(), "what is started is confined too");
    });
}
