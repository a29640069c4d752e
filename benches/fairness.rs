//! One flooder and nine light users before the running gateway: how long the light ones wait, and how even the shares are.
//!
//! `cargo bench --bench fairness [-- --seconds 60]` prints both runs, without the flooder and with it. The waits and the
//! times are those of the gateway's own records.
//!
//! Guarantees: the program is the one that was built with this bench (or `GATEWAY`), with its real queue, over TLS; Ollama
//! is a stand-in with four places, whose answers take half to one and a half of 200 ms. Does not: measure what the gateway
//! costs (`compare`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

#[path = "compare/load.rs"]
#[expect(dead_code, reason = "its other loads are for the comparison")]
mod load;
#[path = "compare/ours.rs"]
mod ours;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use load::{Ask, Dialer, Frames, Version};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const SLOTS: usize = 4;
const LIGHT: usize = 9;
/// Requests that the flooder has under way at any time.
const FLOOD: usize = 200;
const SERVICE: Duration = Duration::from_millis(200);
/// What a light user does between an answer and the next question, on average.
const PAUSE: Duration = Duration::from_millis(10);

const ANSWER: &str = "{\"model\":\"tiny\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\",\"content\":\"word\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":1000,\"load_duration\":1,\"prompt_eval_count\":3,\"prompt_eval_duration\":10,\"eval_count\":5,\"eval_duration\":900}";

/// Half to one and a half of a time.
fn around(time: Duration) -> Duration {
    static DRAWN: AtomicU64 = AtomicU64::new(42);
    let next = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let drawn = DRAWN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(next(x))).unwrap();
    time.mul_f64(0.5 + (drawn >> 33) as f64 / f64::from(1_u32 << 31))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    tokio::time::sleep(around(SERVICE)).await;
    let answer = Response::builder().header("content-type", "application/json; charset=utf-8");
    Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).unwrap())
}

async fn ollama() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)));
        }
    });
    address
}

/// The gateway, running. Killed when dropped.
struct Gateway {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    keys: Vec<String>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn config(folder: &Path, upstream: SocketAddr) -> PathBuf {
    let state = ours::state(folder);
    let (state, rate) = (state.display(), ours::RATE);
    let text = format!(
        r#"
[server]
names = ["localhost"]
https = ["127.0.0.1:0"]
http = []
state = "{state}"
[admin]
listen = "off"
[tls]
certificate = "self-signed"
[upstream]
url = "http://{upstream}"
[limits]
general = {rate}
chat = {rate}
connections_per_address = 1000
[queue]
slots = {SLOTS}
length = 100
[roles.user]
endpoints = ["inference"]
models = ["*"]
"#
    );
    let path = folder.join("gateway.toml");
    fs::write(&path, text).unwrap();
    path
}

impl Gateway {
    fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), upstream);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(ours::program());
        command.args(["serve", "--config"]).arg(&config).stdin(Stdio::null()).stderr(log);
        // Keys that are made while it runs are known to it a little later.
        let keys = (0..=LIGHT).map(|number| ours::key(&config, "user", &format!("user-{number}"))).collect();
        let address = SocketAddr::from(([0; 4], 0));
        let mut gateway = Self { child: command.spawn().unwrap(), folder, address, keys };
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(50));
            let mut listening = gateway.lines("listening").into_iter();
            let listening = listening.find(|line| text(line, "scheme").as_deref() == Some("https"));
            if let Some(address) = listening.and_then(|line| text(&line, "address")?.parse().ok()) {
                gateway.address = address;
                return gateway;
            }
        }
        panic!("it does not start: {}", fs::read_to_string(gateway.folder.path().join("log")).unwrap());
    }

    /// The lines of its log that tell of this event.
    fn lines(&self, event: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line| text(line, "event").as_deref() == Some(event)).collect()
    }

    fn dialer(&self) -> Dialer {
        let path = self.folder.path().join("state/self-signed/cert.pem");
        Dialer::new(CertificateDer::pem_file_iter(path).unwrap().next().unwrap().unwrap())
    }
}

fn text(line: &Value, name: &str) -> Option<String> {
    let value = line.get(name).or_else(|| line.get("fields")?.get(name))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Asks again and again; who is told that too many wait tries again a little later.
async fn ask(dialer: Dialer, to: SocketAddr, ask: Ask, pause: Duration) {
    let mut line = dialer.open(to, Version::One).await;
    loop {
        let told = line.ask(&ask).await;
        let rest = match told.status {
            StatusCode::OK => around(pause),
            StatusCode::TOO_MANY_REQUESTS => around(Duration::from_secs(1)),
            other => panic!("{other}: {}", String::from_utf8_lossy(&told.body)),
        };
        tokio::time::sleep(rest).await;
    }
}

/// What one caller met.
#[derive(Default)]
struct Caller {
    waits: Vec<f64>,
    served: f64,
}

struct Run {
    light: Vec<Caller>,
    flooder: Caller,
}

/// Lets them ask for so long.
async fn run(seconds: u64, flood: usize) -> Run {
    let gateway = Gateway::start(ollama().await);
    let body = serde_json::json!({"model": "tiny", "stream": false, "messages": [{"role": "user", "content": "hi"}]});
    let body = Bytes::from(body.to_string());
    let keys = &gateway.keys;
    let (dialer, until) = (gateway.dialer(), Instant::now() + Duration::from_secs(seconds));
    let users = keys.iter().enumerate().flat_map(|(number, key)| {
        let (lines, pause) = if number == LIGHT { (flood, Duration::ZERO) } else { (1, PAUSE) };
        let question = Ask { path: "/api/chat", body: body.clone(), frames: Frames::Allowed, key: key.clone() };
        let (dialer, address) = (&dialer, gateway.address);
        let user = move || ask(dialer.clone(), address, question.clone(), pause);
        std::iter::repeat_with(user).take(lines).collect::<Vec<_>>()
    });
    let users: Vec<_> = users.map(tokio::spawn).collect();
    tokio::time::sleep_until(until.into()).await;
    let records = gateway.lines("request"); // what is served when nobody asks any more says nothing
    for user in &users {
        assert!(!user.is_finished(), "a user broke off");
        user.abort();
    }
    let mut callers: BTreeMap<String, Caller> = BTreeMap::new();
    for record in records.iter().filter(|record| text(record, "status").as_deref() == Some("200")) {
        let number = |name| text(record, name).unwrap().parse::<f64>().unwrap();
        let caller = callers.entry(text(record, "principal").unwrap()).or_default();
        caller.waits.push(number("queue_ms"));
        caller.served += number("duration_ms") - number("queue_ms");
    }
    let mut of = |key: &String| callers.remove(key.split('_').nth(1).unwrap()).unwrap_or_default();
    let flooder = of(&keys[LIGHT]);
    Run { light: keys[..LIGHT].iter().map(of).collect(), flooder }
}

fn quantile(mut waits: Vec<f64>, at: f64) -> f64 {
    waits.sort_by(f64::total_cmp);
    waits[((waits.len() - 1) as f64 * at).round() as usize]
}

impl Run {
    fn waits(&self) -> Vec<f64> {
        self.light.iter().flat_map(|caller| caller.waits.iter().copied()).collect()
    }

    /// 1: all callers had the same of Ollama's time.
    fn jain(&self) -> f64 {
        let all = self.light.iter().chain((self.flooder.served > 0.0).then_some(&self.flooder));
        let shares: Vec<f64> = all.map(|caller| caller.served).collect();
        shares.iter().sum::<f64>().powi(2)
            / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
    }

    fn row(&self, name: &str) {
        let [half, most] = [0.5, 0.95].map(|at| quantile(self.waits(), at));
        let (count, jain) = (self.waits().len(), self.jain());
        println!("| {name} | {count} | {half:.0} | {most:.0} | {} | {jain:.4} |", self.flooder.waits.len());
    }
}

fn seconds() -> u64 {
    let given = std::env::args().skip_while(|argument| argument != "--seconds").nth(1);
    given.map_or(60, |text| text.parse().unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (calm, flooded) = runtime.block_on(async { (run(seconds(), 0).await, run(seconds(), FLOOD).await) });
    println!(
        "| {SLOTS} slots, {LIGHT} light users | their answers | wait, p50, ms | wait, p95, ms | the flooder's answers | Jain |"
    );
    println!("|--|--|--|--|--|--|");
    calm.row("alone");
    flooded.row(&format!("and one with {FLOOD} requests at any time"));
    let ratio = quantile(flooded.waits(), 0.95) / quantile(calm.waits(), 0.95);
    println!("\np95 with the flooder / without: {ratio:.3} (at most 1.2); Jain {:.4} (at least 0.95)", flooded.jain());
}
