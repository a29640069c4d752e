//! The gateway beside nginx, HAProxy and Caddy: processor time of the whole proxy for the same work, with the same duties.
//!
//! `cargo bench --bench compare [-- --rounds 9 --scale 10 --rate 3000]` prints the table and writes `target/compare.json`.
//! Those of the peers that are not installed are left out (`apt-get install nginx haproxy caddy`). `-- --growth yes`
//! measures instead how the gateway's cost grows with open connections and streams.
//!
//! Guarantees: rounds are interleaved, so that what else the machine does falls on all alike; the figure is the median;
//! the time is the processor's, not the clock's, except where a wait is what is measured (first byte, p99).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing)]
#![allow(clippy::wildcard_enum_match_arm, reason = "most work is a chat")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

mod growth;
mod load;
mod ours;
mod peers;
mod upstream;
mod usage;

use bytes::Bytes;
use http::StatusCode;
use load::{Ask, Dialer, Frames, Version};
use peers::{NAMES, Peer, Site};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What is measured, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    ChatOne,
    ChatTwo,
    Streamed,
    Handshake,
    UploadOne,
    UploadTwo,
    UploadFrames,
    UploadSmall,
    Image,
    FirstByte,
    P99,
    Idle,
    MemoryStart,
    MemoryLoaded,
}

impl Work {
    const ROUNDS: [Self; 11] = [
        Self::ChatOne,
        Self::ChatTwo,
        Self::Streamed,
        Self::Handshake,
        Self::UploadOne,
        Self::UploadTwo,
        Self::UploadFrames,
        Self::UploadSmall,
        Self::Image,
        Self::FirstByte,
        Self::P99,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::ChatOne => "chat, HTTP/1.1 kept connections, us/request",
            Self::ChatTwo => "chat, HTTP/2, us/request",
            Self::Streamed => "streamed chunks 5 ms apart, us/chunk",
            Self::Handshake => "full TLS 1.3 handshake, P-256, us",
            Self::UploadOne => "upload, HTTP/1.1, us/MiB",
            Self::UploadTwo => "upload, HTTP/2, us/MiB",
            Self::UploadFrames => "upload, HTTP/2 in frames of 16 KiB, us/MiB",
            Self::UploadSmall => "upload, HTTP/2, nginx with its own buffer, us/MiB",
            Self::Image => "chat with a 1 MB image, us",
            Self::FirstByte => "first byte, added us",
            Self::P99 => "p99 at a fixed rate, us",
            Self::Idle => "idle TLS connection, KiB",
            Self::MemoryStart => "memory after start, KiB",
            Self::MemoryLoaded => "memory after load, KiB",
        }
    }
}

/// Requests a second of the open loop, if `--rate` does not say.
const RATE: usize = 3_000;
const BLOB: &str = "/api/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// For which nginx has the buffer that it has unless it is told otherwise; to all others as any blob.
const SMALL: &str = "/api/blobs/sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct Bench {
    dialer: Dialer,
    upstream: std::net::SocketAddr,
    scale: usize,
    bodies: Bodies,
}

struct Bodies {
    chat: Bytes,
    stream: Bytes,
    image: Bytes,
    blob: Bytes,
}

type Figures = BTreeMap<Work, BTreeMap<&'static str, Vec<f64>>>;

fn main() {
    let (rounds, scale) = (argument("--rounds", 3), argument("--scale", 1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let dialer = Dialer::new(certificate(folder.path()));
        let upstream = upstream::start().await;
        let bench = Bench { dialer, upstream, scale, bodies: Bodies::new() };
        let site = Site { folder: folder.path(), upstream };
        if std::env::args().any(|argument| argument == "--growth") {
            return growth::measure(&site, &bench.dialer).await;
        }
        let wanted = |name: &&&str| chosen("--peers", name);
        let peers: Vec<Peer> = NAMES.iter().filter(wanted).filter_map(|name| site.start(name)).collect();
        let (mut figures, processors) = (Figures::new(), usage::Processors::now());
        for peer in &peers {
            bench.memory(peer, Work::MemoryStart, &mut figures).await;
            bench.check(peer).await;
        }
        for round in 0..rounds {
            for work in Work::ROUNDS.into_iter().filter(|work| chosen("--work", &format!("{work:?}"))) {
                for peer in &peers {
                    let figure = bench.measure(peer, work).await;
                    figures.entry(work).or_default().entry(peer.name).or_default().push(figure);
                }
            }
            eprintln!("round {} of {rounds}", round + 1);
        }
        for peer in &peers {
            bench.memory(peer, Work::MemoryLoaded, &mut figures).await;
        }
        let versions: Vec<(&str, String)> = peers.iter().map(|peer| (peer.name, peer.version.clone())).collect();
        drop(peers);
        // Fresh processes: what load left behind would hide what a connection costs.
        let idle = |_: &&&str| chosen("--work", "Idle");
        for peer in NAMES.iter().filter(wanted).filter(idle).filter_map(|name| site.start(name)) {
            let figure = bench.idle(&peer).await;
            figures.entry(Work::Idle).or_default().entry(peer.name).or_default().push(figure);
        }
        report(&figures, &versions, processors.stolen_since());
    });
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(default, |value| value.parse().unwrap())
}

fn rate() -> u32 {
    u32::try_from(argument("--rate", RATE)).unwrap()
}

/// Whether a list of names, separated by commas, holds this one, or is not given.
fn chosen(list: &str, name: &str) -> bool {
    let given = std::env::args().skip_while(|argument| argument != list).nth(1);
    given.is_none_or(|names| names.split(',').any(|one| one.eq_ignore_ascii_case(name)))
}

/// A P-256 certificate that signs itself.
fn certificate(folder: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(folder.join("chain.pem"), &chain).unwrap();
    std::fs::write(folder.join("key.pem"), &key).unwrap();
    std::fs::write(folder.join("both.pem"), chain + &key).unwrap();
    for name in ["key.pem", "both.pem"] {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join(name), private).unwrap();
    }
    // nginx drops its rights: its workers have to reach the folder.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    made.cert.der().clone()
}

impl Bodies {
    fn new() -> Self {
        use base64::Engine as _;
        let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x04\0\x08\x06\0\0\0".to_vec();
        image.resize(750_000, 0x5a); // a megabyte of base64
        let image = base64::engine::general_purpose::STANDARD.encode(image);
        let chat = |stream: bool, images: Vec<String>| {
            let message = match images.is_empty() {
                true => serde_json::json!({ "role": "user", "content": "Why is the sky blue?" }),
                false => serde_json::json!({ "role": "user", "content": "What is it?", "images": images }),
            };
            let body = serde_json::json!({ "model": "tiny", "messages": [message], "stream": stream });
            Bytes::from(serde_json::to_vec(&body).unwrap())
        };
        let blob = Bytes::from(vec![0x5a; 8 << 20]);
        Self { chat: chat(false, vec![]), stream: chat(true, vec![]), image: chat(false, vec![image]), blob }
    }
}

impl Bench {
    fn ask(&self, peer: &Peer, work: Work) -> Ask {
        let (path, body) = match work {
            Work::Streamed => ("/api/chat", &self.bodies.stream),
            Work::UploadOne | Work::UploadTwo | Work::UploadFrames => (BLOB, &self.bodies.blob),
            Work::UploadSmall => (SMALL, &self.bodies.blob),
            Work::Image => ("/api/chat", &self.bodies.image),
            _ => ("/api/chat", &self.bodies.chat),
        };
        let frames = match work {
            Work::UploadFrames => Frames::Small,
            _ => Frames::Allowed,
        };
        Ask { path, body: body.clone(), frames, key: peer.key.clone() }
    }

    /// The duties are equal: a wrong key gets 401, the headers are there, each request has its line.
    async fn check(&self, peer: &Peer) {
        let mut ask = self.ask(peer, Work::ChatOne);
        let mut line = self.dialer.open(peer.address, Version::One).await;
        let told = line.ask(&ask).await;
        assert_eq!(told.status, StatusCode::OK, "{}: {}", peer.name, String::from_utf8_lossy(&told.body));
        for name in ["strict-transport-security", "x-content-type-options", "cache-control"] {
            assert!(told.headers.contains_key(name), "{}: no {name}", peer.name);
        }
        ask.key = "wrong".to_owned();
        let refused = self.dialer.open(peer.address, Version::One).await.ask(&ask).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", peer.name);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let lines = std::fs::read_to_string(&peer.log).unwrap_or_default();
        assert!(lines.lines().filter(|line| line.contains("/api/chat")).count() >= 2, "{}: {lines}", peer.name);
    }

    async fn measure(&self, peer: &Peer, work: Work) -> f64 {
        let ask = self.ask(peer, work);
        let scale = self.scale;
        match work {
            Work::FirstByte => return self.first_byte(peer, &ask).await,
            Work::P99 => {
                let lines = load::users(&self.dialer, peer.address, Version::One, 64).await;
                return quantile(load::open_loop(lines, &ask, rate(), 4).await, 0.99);
            }
            Work::Handshake => {
                let count = 200 * scale;
                let before = usage::processor_time(peer.pid());
                for _ in 0..count {
                    drop(self.dialer.tls(peer.address, Version::One).await);
                }
                return (usage::processor_time(peer.pid()) - before) / count as f64;
            }
            _ => {}
        }
        let (version, users, requests, each, status) = match work {
            Work::ChatTwo => (Version::Two, 32, 5000 * scale, 1.0, StatusCode::OK),
            Work::Streamed => (Version::One, 64, 128 * scale, f64::from(upstream::CHUNKS), StatusCode::OK),
            Work::UploadOne => (Version::One, 2, 24 * scale, 8.0, StatusCode::CREATED),
            Work::UploadTwo | Work::UploadFrames | Work::UploadSmall => {
                (Version::Two, 2, 24 * scale, 8.0, StatusCode::CREATED)
            }
            Work::Image => (Version::One, 2, 200 * scale, 1.0, StatusCode::OK),
            _ => (Version::One, 32, 5000 * scale, 1.0, StatusCode::OK),
        };
        let lines = load::users(&self.dialer, peer.address, version, users).await;
        let before = usage::processor_time(peer.pid());
        load::run(lines, &ask, requests, status).await;
        (usage::processor_time(peer.pid()) - before) / (requests as f64 * each)
    }

    /// The median of the proxy's, less that of the upstream alone.
    async fn first_byte(&self, peer: &Peer, ask: &Ask) -> f64 {
        let mut line = self.dialer.open(peer.address, Version::One).await;
        let mut direct = Dialer::plain(self.upstream).await;
        let (mut through, mut without) = (Vec::new(), Vec::new());
        for _ in 0..300 * self.scale {
            through.push(line.ask(ask).await.first_byte.as_secs_f64() * 1e6);
            without.push(direct.ask(ask).await.first_byte.as_secs_f64() * 1e6);
        }
        quantile(through, 0.5) - quantile(without, 0.5)
    }

    async fn idle(&self, peer: &Peer) -> f64 {
        let count = 500;
        let warm = self.dialer.open(peer.address, Version::One).await.ask(&self.ask(peer, Work::ChatOne)).await;
        assert_eq!(warm.status, StatusCode::OK);
        let before = usage::memory(peer.pid());
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(self.dialer.tls(peer.address, Version::One).await);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        (usage::memory(peer.pid()) - before) / f64::from(count)
    }

    async fn memory(&self, peer: &Peer, work: Work, figures: &mut Figures) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        figures.entry(work).or_default().entry(peer.name).or_default().push(usage::memory(peer.pid()));
    }
}

fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}

fn report(figures: &Figures, versions: &[(&str, String)], stolen: f64) {
    for (name, version) in versions {
        println!("{name}: {version}");
    }
    let names: Vec<&str> = versions.iter().map(|(name, _)| *name).collect();
    println!("\n| work | {} |\n|--|{}", names.join(" | "), "--|".repeat(names.len()));
    let mut rows = Vec::new();
    for (work, peers) in figures {
        let medians: BTreeMap<&str, f64> =
            peers.iter().map(|(name, all)| (*name, quantile(all.clone(), 0.5))).collect();
        let nginx = medians.get("nginx").copied().unwrap_or(f64::NAN);
        let cell = |name: &&str| medians.get(*name).map_or("-".to_owned(), |m| format!("{m:.1} ({:.2})", m / nginx));
        println!("| {} | {} |", work.title(), names.iter().map(cell).collect::<Vec<_>>().join(" | "));
        rows.push(serde_json::json!({ "work": work.title(), "medians": medians, "rounds": peers }));
    }
    println!(
        "\nIn brackets: the ratio to nginx. The host gave {:.0} % of the time asked for to others.",
        stolen * 100.0
    );
    let versions: BTreeMap<&str, &str> = versions.iter().map(|(name, version)| (*name, version.as_str())).collect();
    let whole = serde_json::json!({ "versions": versions, "rate": rate(), "stolen": stolen, "figures": rows });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare.json");
    std::fs::write(path, serde_json::to_vec_pretty(&whole).unwrap()).unwrap();
}
