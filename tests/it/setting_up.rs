//! From nothing to a gateway that serves: `init`, and what is made from the commands themselves.

use super::harness::{Ollama, Setup, package_file, within};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs the binary without any configuration around it.
async fn run(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ollama-gateway"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    let output = within("a command", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn init_writes_a_file_that_serves_and_a_key_that_opens() {
    let ollama = Ollama::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, state) = (folder.path().join("etc/gateway.toml"), folder.path().join("state"));
    let (file, state) = (file.to_str().unwrap(), state.to_str().unwrap());
    let upstream = format!("http://{}", ollama.address);
    let init = ["init", "--config", file, "--yes", "--name", "localhost", "--upstream", &upstream, "--state", state];
    let (code, key, stderr) = run(&init, folder.path()).await;
    assert!(code == 0 && key.starts_with("ogw_") && key.lines().count() == 1, "{code} {key:?} {stderr}");
    assert!(stderr.contains("doctor") && !stderr.contains(key.trim()), "{stderr}");
    assert_eq!(Path::new(file).metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(Path::new(state).metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("names = [\"localhost\"]") && text.contains("# Ollama."), "{text}");
    let (code, checked, _) = run(&["check", "--config", file], folder.path()).await;
    assert!(code == 0 && checked.contains("self-signed"), "{checked}");
    let (_, keys, _) = run(&["key", "list", "--json", "--config", file], folder.path()).await;
    assert!(keys.contains("first admin") && keys.contains(key.split('_').nth(1).unwrap()), "{keys}");

    let (code, again, stderr) = run(&init, folder.path()).await;
    assert!(code == 1 && again.is_empty() && stderr.contains("is there already"), "{stderr}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}

#[tokio::test]
async fn init_that_cannot_ask_or_is_told_nonsense_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let state = folder.path().join("state");
    let common = ["init", "--config", file.to_str().unwrap(), "--state", state.to_str().unwrap()];
    for (more, said) in [
        (vec![], "no terminal to ask on"),
        (vec!["--yes"], "server.names: is empty"),
        (vec!["--yes", "--name", "*.example.org"], "is a wildcard"),
        (vec!["--yes", "--name", "ai.example.org", "--email", "nobody"], "is no contact"),
    ] {
        let (code, stdout, stderr) = run(&[&common[..], &more].concat(), folder.path()).await;
        assert!(code == 2 && stdout.is_empty() && stderr.contains(said), "{more:?}: {code} {stderr}");
        assert!(!file.exists() && !state.exists(), "{more:?}");
    }
}

/// `script`, of util-linux, gives it a terminal.
#[tokio::test]
async fn init_asks_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_ollama-gateway");
    let line = format!("{binary} init --config gateway.toml --state {}/state", folder.path().display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"ai.example.org\nops@example.org\n\n").await.unwrap();
    let output = within("init", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Where Ollama is [http://127.0.0.1:11434]"), "{said}");
    let text = std::fs::read_to_string(folder.path().join("gateway.toml")).unwrap();
    assert!(text.contains("certificate = \"acme\"") && text.contains("[\"mailto:ops@example.org\"]"), "{text}");
}

#[tokio::test]
async fn shells_and_man_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let (_, help, _) = run(&["--help"], folder.path()).await;
    let commands: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<_> = commands.into_iter().filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
    assert!(commands.contains(&"doctor") && commands.contains(&"init") && !commands.contains(&"man"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell], folder.path()).await;
        assert_eq!(code, 0);
        let missing = commands.iter().filter(|command| !command.is_empty() && !script.contains(**command));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "{shell}");
    }
    let (_, script, _) = run(&["completions", "bash"], folder.path()).await;
    std::fs::write(folder.path().join("complete.bash"), script).unwrap();
    let sound = std::process::Command::new("bash").arg("-n").arg(folder.path().join("complete.bash")).status();
    assert!(sound.unwrap().success());
    let (code, page, _) = run(&["man"], folder.path()).await;
    assert!(code == 0 && page.contains(".TH ollama-gateway 1") && page.contains(".SH \"KEY CREATE\""), "{page}");
    assert!(page.contains("\\-\\-overlap"), "{page}");
}

/// Python's `jsonschema` reads the schema as an editor does.
const VALIDATE: &str = r#"
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    errors = [f"{path}: {e.json_path}: {e.message}" for e in validator.iter_errors(tomllib.load(open(path, "rb")))]
    print("\n".join(errors) or f"{path}: valid")
"#;

async fn validate(schema: &Path, files: &[std::path::PathBuf]) -> String {
    let python = package_file("tests/clients/.venv/bin/python");
    let mut command = Command::new(python);
    command.args(["-c", VALIDATE]).arg(schema).args(files).stderr(Stdio::piped());
    let output = within("python", command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn the_schema_accepts_what_the_checker_accepts_and_no_unknown_key() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text, _) = run(&["config", "schema"], folder.path()).await;
    assert_eq!(code, 0);
    let schema = folder.path().join("schema.json");
    std::fs::write(&schema, text).unwrap();
    let valid = std::fs::read_dir(package_file("tests/cases/config/valid")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = valid.chain([package_file("gateway.toml.example")]).collect();
    let setup = Setup::before_address(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    setup.write();
    files.push(setup.config());
    let said = validate(&schema, &files).await;
    assert!(said.lines().all(|line| line.ends_with(": valid")), "{said}");
    let unknown = ["unknown_key", "unknown_key_far", "unknown_key_in_role", "unknown_key_in_options", "unknown_table"];
    for name in unknown.into_iter().chain(["wrong_types", "tls_certificate_unknown"]) {
        let file = package_file(&format!("tests/cases/config/invalid/{name}.toml"));
        assert!(file.exists(), "{name}");
        let said = validate(&schema, &[file]).await;
        assert!(!said.contains(": valid"), "{name}: {said}");
    }
}
