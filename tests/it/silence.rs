//! Every official client gets an answer that Ollama is silent on for long, through a proxy that cuts idle connections.
//!
//! The proxy cuts a connection on which no byte passed for `IDLE_CUT` seconds, Ollama is silent for 2.4 times as long, and
//! the gateway gives signs of life ten times as often. Ordinarily these are 5 s, 12 s and half a second;
//! `IDLE_CUT=100 cargo test --test it silence:: -- --nocapture` is four minutes behind a proxy that cuts at 100 s, with the
//! default of `heartbeat_after`, and takes as long.

use crate::clients::{Calls, ollama_library, run_within};
use crate::harness::reply::chunk_of;
use crate::harness::setup::clients;
use crate::harness::{Gateway, Ollama, Reply, Setup};
use crate::heartbeat::halves;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Path, the recordings of its stream and of its whole answer.
const ROUTES: [(&str, &str, &str); 3] = [
    ("/api/chat", "chat_stream", "chat_nostream"),
    ("/v1/chat/completions", "v1_chat_stream", "v1_chat_nostream"),
    ("/v1/messages", "v1_messages_stream", "v1_messages"),
];

/// Who asks, and whose clients it has.
const CLIENTS: [(&str, &[&str]); 3] = [
    ("python", &["ollama", "openai", "anthropic"]),
    ("javascript", &["ollama", "openai", "anthropic"]),
    ("go", &["ollama"]),
];

/// What is late, and what is the same without a silence.
const CALLS: [(&str, &str); 3] =
    [("late-stream", "prompt-stream"), ("gap-stream", "prompt-stream"), ("late-whole", "prompt-whole")];

/// When the proxy cuts.
fn idle() -> Duration {
    let seconds = std::env::var("IDLE_CUT").map_or(5.0, |text| text.parse().expect("IDLE_CUT is a number of seconds"));
    Duration::from_secs_f64(seconds)
}

/// A proxy that passes bytes on, and closes what has been idle for too long. It returns when the client's side ended.
async fn relay(mut client: TcpStream, to: SocketAddr, idle: Duration) {
    let mut server = TcpStream::connect(to).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let passed = tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(count) if count > 0 => server.write_all(&from_client[..count]).await,
                Ok(_) | Err(_) => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(count) if count > 0 => client.write_all(&from_server[..count]).await,
                Ok(_) | Err(_) => return,
            },
            () = tokio::time::sleep(idle) => return, // both sides are closed by the drop
        };
        if passed.is_err() {
            return;
        }
    }
}

async fn proxy(to: SocketAddr, idle: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, to, idle));
        }
    });
    address
}

/// An Ollama that answers `prompt-…` at once, `late-…` after the silence, and `gap-…` with the silence in its middle.
async fn silent(silence: Duration) -> Ollama {
    let ollama = Ollama::start().await;
    for (path, stream, whole) in ROUTES {
        let (kind, begun, rest) = halves(stream);
        let end = [chunk_of(rest.as_bytes()), b"0\r\n\r\n".to_vec()].concat();
        let gap = Reply::chunked_head(&kind).then_chunk(begun).then(end).paced(silence);
        ollama.on_model(path, "gap-stream:latest", gap);
        for (shape, name) in [("stream", stream), ("whole", whole)] {
            ollama.on_model(path, &format!("prompt-{shape}:latest"), Reply::recording(name));
            ollama.on_model(path, &format!("late-{shape}:latest"), Reply::recording(name).after(silence));
        }
    }
    ollama
}

/// One language's clients, which ask everything at once, through the proxy.
fn command(language: &str, program: &Path, gateway: &Gateway, proxy: SocketAddr) -> Command {
    let base = format!("https://localhost:{}", proxy.port());
    let mut command = match language {
        "python" => Command::new(clients(".venv/bin/python")),
        "javascript" => Command::new("node"),
        _ => Command::new(program),
    };
    match language {
        "python" => command.arg(clients("silence.py")).args([&base, &gateway.user]),
        "javascript" => command.arg(clients("silence.js")).args([&base, &gateway.user]),
        // By HTTP/1.1: the pings of HTTP/2 would keep a proxy awake that counts bytes only.
        _ => command.arg("silence").env("GODEBUG", "http2client=0").env("OLLAMA_AUTH", "0"),
    };
    command.env("OLLAMA_HOST", format!("{base}/k/{}", gateway.user)).env("HOME", program.parent().unwrap());
    command.env("SSL_CERT_FILE", gateway.certificate()).env("NODE_EXTRA_CA_CERTS", gateway.certificate());
    command
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heart {
    Beats,
    Stopped,
}

/// Asks by all clients at the same time.
async fn ask(heart: Heart, program: &Path) -> Vec<(&'static str, Calls)> {
    let idle = idle();
    let ollama = silent(idle.mul_f64(2.4)).await;
    let after = if heart == Heart::Beats { idle / 10 } else { Duration::from_secs(24 * 3_600) };
    let setup = Setup::before(&ollama).set("auth", "path_keys", "true");
    let setup = setup.set("upstream", "heartbeat_after", &format!("\"{}ms\"", after.as_millis()));
    let gateway = Box::pin(setup.start()).await;
    let proxy = proxy(gateway.https(), idle).await;
    let patience = idle.mul_f64(2.4) + Duration::from_secs(120);
    let runs = CLIENTS.map(|(language, _)| {
        let command = command(language, program, &gateway, proxy);
        async move { (language, Calls::parse(&run_within(patience, command).await)) }
    });
    futures_util::future::join_all(runs).await
}

#[expect(clippy::print_stderr, reason = "the figures of the long run are read by people")]
fn tell(text: &str) {
    eprintln!("{text}");
}

/// A call that is whole though Ollama was silent, and that is lost without signs of life: the proxy cuts, the client knows.
fn check(language: &str, (call, prompt): (&str, &str), alive: &Calls, cut: &Calls) {
    let expected = alive.of(prompt);
    assert!(expected["ok"] == true && !expected["result"].as_str().unwrap().is_empty(), "{language}: {expected}");
    assert_eq!(cut.of(prompt)["result"], expected["result"], "{language}");
    assert_eq!(alive.of(call)["ok"], true, "{language}: {}", alive.of(call));
    assert_eq!(alive.of(call)["result"], expected["result"], "{language} {call}");
    let lost = cut.of(call);
    assert!(lost["ok"] == false || lost["result"] != expected["result"], "{language}: {lost}");
    tell(&format!("{language} {call}: whole; without signs of life: {}", lost["kind"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_a_late_answer_through_a_proxy_that_cuts_what_is_idle() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = ollama_library(folder.path()).await;
    let began = Instant::now();
    let (alive, cut) = tokio::join!(Box::pin(ask(Heart::Beats, &program)), Box::pin(ask(Heart::Stopped, &program)));
    for ((language, alive), (_, cut)) in alive.iter().zip(&cut) {
        for client in CLIENTS.iter().find(|(name, _)| name == language).unwrap().1 {
            for (call, prompt) in CALLS {
                check(language, (&format!("{client} {call}"), &format!("{client} {prompt}")), alive, cut);
            }
        }
    }
    tell(&format!("idle connections cut after {:?}; {:.1?} in all", idle(), began.elapsed()));
}
