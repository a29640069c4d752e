//! The official clients of Ollama, OpenAI and Anthropic, and curl, against the real binary over TLS.
//!
//! `tests/run` installs them, in the versions of `tests/clients/requirements.txt` and `package-lock.json`.

use crate::cli_login::{Identity, enrol};
use crate::harness::setup::clients;
use crate::harness::{Gateway, Ollama, Reply, Setup, routes, within_time};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Interpreters start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What models that can do more were recorded to answer.
const FEATURES: [(&str, &str, &str); 10] = [
    ("/api/chat", "tiny-tools", "chat_tools_ok"),
    ("/api/chat", "tiny-json", "chat_format_schema"),
    ("/api/chat", "tiny-think", "chat_think_ok"),
    ("/api/chat", "tiny-think-stream", "chat_think_ok_stream"),
    ("/api/chat", "tiny-probs", "chat_logprobs"),
    ("/v1/chat/completions", "tiny-tools", "v1_chat_tools"),
    ("/v1/chat/completions", "tiny-think-stream", "v1_chat_think_stream"),
    ("/v1/responses", "tiny-tools-stream", "v1_responses_tools_stream"),
    ("/v1/messages", "tiny-tools", "v1_messages_tools"),
    ("/v1/messages", "tiny-think-stream", "v1_messages_think_stream"),
];

/// What both languages' clients get of tools, schemas, thinking and images.
fn features_work(calls: &Calls, ollama: &Ollama) {
    let paris = json!({"city": "Paris"});
    calls.gave("ollama schema", &json!({"name": "value"}));
    calls.gave("ollama thinking", &json!("Let me ponder..."));
    calls.gave("openai tools", &paris);
    calls.gave("anthropic tools", &paris);
    calls.worked(&["ollama image", "openai image", "anthropic image"]);
    let city = "/properties/city/type";
    for (path, place, value) in [
        ("/api/chat", format!("/tools/0/function/parameters{city}"), "string"),
        ("/api/chat", "/format/properties/name/type".to_owned(), "string"),
        ("/api/chat", "/messages/0/images/0".to_owned(), PIXEL),
        ("/v1/chat/completions", format!("/tools/0/function/parameters{city}"), "string"),
        (
            "/v1/chat/completions",
            "/messages/0/content/1/image_url/url".to_owned(),
            &format!("data:image/png;base64,{PIXEL}"),
        ),
        ("/v1/messages", format!("/tools/0/input_schema{city}"), "string"),
        ("/v1/messages", "/messages/0/content/0/source/data".to_owned(), PIXEL),
    ] {
        assert!(got(ollama, path, &place, &json!(value)), "{path}: no {place}");
    }
}

/// What only the Python clients are asked for.
fn more_features_work(calls: &Calls, ollama: &Ollama) {
    calls.gave("ollama tools", &json!([{"city": "Paris"}, "assistant"]));
    calls.gave("ollama thinking stream", &json!("Let me ponder..."));
    calls.gave("ollama logprobs", &json!(" agree"));
    calls.gave("ollama many embeddings", &calls.of("ollama embed")["result"]);
    calls.gave("openai thinking stream", &json!("Let me ponder..."));
    calls.gave("openai responses tools stream", &json!(["get_weather"]));
    calls.gave("anthropic thinking stream", &json!("Let me ponder..."));
    calls.worked(&["openai schema", "openai logprobs", "openai responses schema"]);
    for (path, place, value) in [
        ("/api/chat", "/messages/1/tool_calls/0/function/arguments/city", json!("Paris")),
        ("/api/chat", "/messages/2/role", json!("tool")),
        ("/api/chat", "/think", json!(true)),
        ("/api/chat", "/top_logprobs", json!(2)),
        ("/api/embed", "/dimensions", json!(8)),
        ("/v1/chat/completions", "/response_format/json_schema/schema/required/0", json!("name")),
        ("/v1/chat/completions", "/reasoning_effort", json!("low")),
        ("/v1/chat/completions", "/top_logprobs", json!(2)),
        ("/v1/chat/completions", "/messages/2/role", json!("tool")),
        ("/v1/responses", "/tools/0/name", json!("get_weather")),
        ("/v1/responses", "/text/format/schema/required/0", json!("name")),
        ("/v1/messages", "/thinking/type", json!("enabled")),
        ("/v1/messages", "/messages/2/content/0/type", json!("tool_result")),
    ] {
        assert!(got(ollama, path, place, &value), "{path}: no {value} at {place}");
    }
}

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Whether a request to this path had this value at this place.
fn got(ollama: &Ollama, path: &str, place: &str, value: &Value) -> bool {
    let bodies = ollama.received().into_iter().filter(|received| received.path() == path);
    bodies
        .filter_map(|received| serde_json::from_slice::<Value>(&received.body).ok())
        .any(|b| b.pointer(place) == Some(value))
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    ollama.on("/api/embeddings", Reply::json(200, "{\"embedding\":[0.1,0.2,0.3]}"));
    ollama.on_model("/api/chat", "slow", Reply::recording("chat_stream").cut_after(4).then_stall());
    ollama.on_model("/api/chat", "slow:latest", Reply::recording("chat_stream").cut_after(4).then_stall());
    for (path, model, name) in FEATURES {
        ollama.on_model(path, &format!("{model}:latest"), Reply::recording(name));
    }
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

async fn run(command: Command) -> String {
    run_within(PATIENCE, command).await
}

/// Runs a client to its end, and gives what it printed.
pub(crate) async fn run_within(patience: Duration, mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within_time(patience, "a client to end", output).await.expect("installed by tests/run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What each call gave, by its name.
#[derive(Debug)]
pub(crate) struct Calls(Vec<Value>);

impl Calls {
    /// From what a client printed: a line a call.
    pub(crate) fn parse(output: &str) -> Self {
        Self(output.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
    }

    /// What one gave.
    #[track_caller]
    pub(crate) fn of(&self, name: &str) -> &Value {
        self.0.iter().find(|line| line["call"] == name).unwrap_or_else(|| panic!("no call {name:?} in {:?}", self.0))
    }

    #[track_caller]
    fn gave(&self, name: &str, result: &Value) {
        assert_eq!(&self.of(name)["result"], result, "{name}");
        assert_eq!(self.of(name)["ok"], true, "{name}");
    }

    #[track_caller]
    fn worked(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.of(name)["ok"], true, "{}", self.of(name));
        }
    }

    /// The client understood the refusal: its own error type, with our words in it.
    #[track_caller]
    fn failed(&self, name: &str, status: u16, words: &str) {
        let line = self.of(name);
        assert_eq!(line["ok"], false, "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["result"].as_str().unwrap().contains(words), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let (ollama, gateway) = ground().await;
    let mut command = Command::new(clients(".venv/bin/python"));
    command.arg(clients("run_python.py")).args([base(&gateway), gateway.user.clone()]);
    command.env("SSL_CERT_FILE", gateway.certificate());
    let calls = Calls::parse(&run(command).await);
    let words = " agree door produce health head place set hit name cause father number receive art level marble";
    calls.gave("ollama chat", &json!(words));
    calls.gave("ollama chat stream", &json!(17));
    calls.gave("ollama generate stream", &json!(2));
    calls.gave("ollama embeddings", &json!(3));
    calls.gave("openai model", &json!("tiny:latest"));
    calls.gave("openai responses stream", &json!("response.completed"));
    calls.worked(&[
        "ollama generate",
        "ollama embed",
        "ollama list",
        "ollama ps",
        "ollama show",
        "ollama async chat",
        "ollama abort",
        "openai chat",
        "openai chat stream",
        "openai embeddings",
        "openai models",
        "openai completions",
        "openai responses",
        "anthropic messages",
        "anthropic stream",
    ]);
    calls.failed("ollama missing model", 404, "not found");
    calls.failed("ollama forbidden", 403, "may not use");
    calls.failed("ollama no key", 401, "API key");
    calls.failed("openai missing model", 404, "not found");
    calls.failed("openai wrong key", 401, "API key");
    calls.failed("anthropic missing model", 404, "not found");
    features_work(&calls, &ollama);
    more_features_work(&calls, &ollama);
    aborted(&ollama).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    let (ollama, gateway) = ground().await;
    let mut command = Command::new("node");
    command.arg(clients("run_node.js")).args([base(&gateway), gateway.user.clone()]);
    command.env("NODE_EXTRA_CA_CERTS", gateway.certificate());
    let calls = Calls::parse(&run(command).await);
    calls.gave("ollama chat stream", &json!(17));
    calls.worked(&[
        "ollama chat",
        "ollama generate",
        "ollama embed",
        "ollama list",
        "ollama show",
        "openai chat",
        "openai chat stream",
        "openai embeddings",
        "openai models",
        "openai responses",
        "anthropic messages",
        "anthropic stream",
    ]);
    calls.failed("ollama missing model", 404, "not found");
    calls.failed("ollama no key", 401, "API key");
    calls.failed("openai missing model", 404, "not found");
    calls.failed("anthropic missing model", 404, "not found");
    features_work(&calls, &ollama);
    calls.gave("ollama tools", &json!({"city": "Paris"}));
    assert_eq!(calls.of("ollama abort")["kind"], "DOMException", "{}", calls.of("ollama abort"));
    aborted(&ollama).await;
}

/// Builds the program around the Go library in a folder.
pub(crate) async fn ollama_library(folder: &Path) -> PathBuf {
    let program = folder.join("ollama-client");
    let mut build = Command::new(clients(".venv/bin/go"));
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(clients("ollama_go")).env("GOTOOLCHAIN", "local");
    run(build).await;
    program
}

/// The library that the `ollama` command is made of: let in by its own signature, by a key in its address, and told in
/// words why not.
#[tokio::test(flavor = "multi_thread")]
async fn the_ollama_commands_own_library() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("auth", "path_keys", "true");
    let program = ollama_library(setup.config().parent().unwrap()).await;
    std::fs::create_dir(setup.file(".ollama")).unwrap();
    let identity = Identity::make(&setup, ".ollama/id_ed25519");
    enrol(&setup, &identity, "user", &[]).await;
    let gateway = setup.start().await;
    let ask = async |address: String, signs: &str| {
        let mut command = Command::new(&program);
        command.env("HOME", program.parent().unwrap()).env("SSL_CERT_FILE", gateway.certificate());
        command.env("OLLAMA_HOST", address).env("OLLAMA_AUTH", signs);
        Calls::parse(&run(command).await)
    };
    let by_key = format!("{}/k/{}", base(&gateway), gateway.user);
    for (address, signs) in [(base(&gateway), "1"), (by_key, "0")] {
        let calls = ask(address, signs).await;
        calls.worked(&["heartbeat", "list", "show"]);
        calls.gave("chat", &json!(17));
        assert!(calls.of("list")["result"].as_array().unwrap().contains(&json!("tiny:latest")), "{}", calls.of("list"));
        assert_eq!(calls.of("delete")["ok"], false);
    }
    let calls = ask(base(&gateway), "0").await;
    calls.worked(&["heartbeat"]);
    calls.failed("list", 401, "An API key is needed");
    calls.failed("show", 401, "An API key is needed");
    let calls = ask(format!("{}/k/ogw_wrong", base(&gateway)), "0").await;
    calls.failed("list", 401, "The API key or token is not valid.");
}

/// The request that the client left must end upstream.
async fn aborted(ollama: &Ollama) {
    let received = ollama.received();
    let is_slow = |body: &[u8]| String::from_utf8_lossy(body).contains("\"model\":\"slow");
    let slow = received.iter().find(|received| is_slow(&received.body));
    ollama.wait_closed(slow.expect("the request that was left").connection).await;
}

fn base(gateway: &Gateway) -> String {
    format!("https://localhost:{}", gateway.https().port())
}

fn curl(certificate: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(certificate).args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_with_both_versions_of_http() {
    let (_ollama, gateway) = ground().await;
    let (certificate, base) = (gateway.certificate(), base(&gateway));
    let key = format!("Authorization: Bearer {}", gateway.user);
    let chat = "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    for version in ["--http1.1", "--http2"] {
        let url = format!("{base}/api/chat");
        let json = ["-H", "Content-Type: application/json", "-H", &key, "-d", chat];
        let stream = run(curl(&certificate, &[&[version, "--no-buffer"], &json[..], &[&url]].concat())).await;
        assert_eq!(stream.lines().count(), 17, "{version}: {stream}");
        let version_url = format!("{base}/api/version");
        let written = ["-o", "/dev/null", "-w", "%{http_code} %{http_version} %{ssl_verify_result}"];
        let used = run(curl(&certificate, &[&[version, "-H", &key], &written[..], &[&version_url]].concat())).await;
        assert_eq!(used, if version == "--http2" { "200 2 0" } else { "200 1.1 0" });
    }
    let refused = run(curl(&certificate, &[&format!("{base}/api/tags")])).await;
    assert!(serde_json::from_str::<Value>(&refused).unwrap()["error"].is_string(), "{refused}");
}
