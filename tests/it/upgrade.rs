//! Reloads and upgrades under load: sockets that a service manager holds, a new process before the old one goes, and not
//! one stream cut or connection refused.
//!
//! `/bin/sh` stands in for systemd: the sockets come as its standard input and output, and go on as descriptors 3 and 4.

use crate::harness::process::Process;
use crate::harness::setup::START;
use crate::harness::stream::{Stream, Version};
use crate::harness::{DEADLINE, Gateway, Ollama, Reply, Request, Setup, Wire, within, within_time};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::Command;

const STREAMS: usize = 200;
const UPGRADES: usize = 10;
const RELOADS_BETWEEN: usize = 10;
const FRAMES: usize = 17;

/// What systemd holds.
struct Sockets {
    https: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    fn open() -> Self {
        Self { https: listener(), admin: listener() }
    }

    /// `serve`, started as systemd starts it: with both sockets, or the first alone.
    fn activate(&self, setup: &Setup, names: &str) -> Command {
        let serve = setup.command(&["serve"]);
        let serve = serve.as_std();
        let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(serve.get_program()).args(serve.get_args()).env_clear();
        let count = names.split(':').count().to_string();
        command.env("LISTEN_FDS", count).env("LISTEN_FDNAMES", names);
        let [https, admin] = [&self.https, &self.admin].map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        command.stdin(Stdio::from(https)).stdout(Stdio::from(admin)).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

fn listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

/// A CA whose certificates take turns; clients trust it alone.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(setup: &Setup) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let trusted = setup.state().join("self-signed/cert.pem");
        std::fs::create_dir_all(trusted.parent().unwrap()).unwrap();
        std::fs::write(trusted, authority.pem()).unwrap();
        Self(authority)
    }

    fn issue(&self, setup: &Setup) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(setup.file("chain.pem"), certificate.pem()).unwrap();
        std::fs::write(setup.file("key.pem"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(setup.file("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn chat(gateway: &Gateway) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/api/chat", &body).key(&gateway.user)
}

/// One stream after the other, each on a connection of its own, until the end is called; every one must be whole.
async fn stream_on(gateway: Arc<Gateway>, version: Version, ending: Arc<AtomicBool>) -> usize {
    let mut whole = 0;
    while !ending.load(Ordering::Acquire) {
        let mut stream = Stream::open(&gateway, version, &chat(&gateway)).await;
        let frames = stream.read_to_end().await;
        assert_eq!(stream.answer.status, 200, "{frames:?}");
        assert!(frames.len() == FRAMES && frames[FRAMES - 1].contains("\"done\":true"), "{frames:?}");
        whole += 1;
    }
    whole
}

/// Asks for so many reloads, each with other contents, and waits for each.
async fn reload(process: &Process, setup: &mut Setup, round: usize) {
    for turn in 0..RELOADS_BETWEEN {
        let burst = 9_000 - 100 * round - turn;
        setup.put("limits", "chat", &format!("{{ rate = \"100000/second\", burst = {burst} }}"));
        setup.write();
        process.signal("HUP");
        let done = async {
            while process.events("policy_reloaded").len() <= turn {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, done).await;
        assert!(done.is_ok(), "no reload {turn} in\n{}", process.log_text());
    }
}

async fn admin_status(address: SocketAddr) -> u16 {
    Wire::cleartext(address).await.exchange(&Request::get("/health")).await.status
}

fn setup(ollama: &Ollama) -> Setup {
    Setup::before(ollama)
        .set("limits", "connections_per_address", "2000")
        .set("server", "drain_timeout", "\"60s\"")
        .set("server", "handshake_timeout", "\"60s\"") // a busy machine is no fault of the upgrade
        .set("server", "head_timeout", "\"60s\"")
        .set("tls", "certificate", "{ chain = \"chain.pem\", key = \"key.pem\" }")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_and_ten_upgrades_cut_no_stream_and_refuse_no_connection() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream").paced(Duration::from_millis(120)));
    let (sockets, mut setup) = (Sockets::open(), setup(&ollama));
    let authority = Authority::new(&setup);
    authority.issue(&setup);
    setup.write();
    let first = sockets.activate(&setup, "https:admin");
    let gateway = Arc::new(Gateway::start_by(first, setup.clone()).await);
    let ending = Arc::new(AtomicBool::new(false));
    let streams: Vec<_> = (0..STREAMS)
        .map(|n| tokio::spawn(stream_on(Arc::clone(&gateway), Version::ALL[n % 2], Arc::clone(&ending))))
        .collect();
    within_time(3 * START, "all streams to run", ollama.wait_for(STREAMS)).await;
    let mut processes: Vec<Process> = Vec::new();
    for round in 0..UPGRADES {
        reload(processes.last().unwrap_or(&gateway), &mut setup, round).await;
        // So that every process has streams of its own when it goes.
        within_time(3 * START, "new streams", ollama.wait_for(STREAMS + (round + 1) * STREAMS / 4)).await;
        authority.issue(&setup);
        let successor = Process::start(sockets.activate(&setup, "https:admin"));
        successor.event("ready").await;
        processes.last().map_or(&**gateway, |process| process).signal("TERM");
        assert_eq!(admin_status(sockets.admin.local_addr().unwrap()).await, 200);
        processes.push(successor);
    }
    ending.store(true, Ordering::Release);
    let mut whole = 0;
    for stream in streams {
        whole += stream.await.expect("no stream is cut and no connection is refused");
    }
    assert!(whole >= STREAMS, "{whole}");
    processes.last().unwrap().signal("TERM");
    for process in &mut processes {
        assert_eq!(process.ended().await, 0);
        assert!(process.events("drain_deadline").is_empty(), "{}", process.log_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_takes_over_the_admin_address_where_it_was_not_passed() {
    let ollama = Ollama::start().await;
    let free = listener().local_addr().unwrap();
    let sockets = Sockets::open();
    let setup = Setup::before(&ollama).set("admin", "listen", &format!("\"{free}\""));
    setup.write();
    let mut before = Process::start(sockets.activate(&setup, "https"));
    before.event("ready").await;
    let after = Process::start(sockets.activate(&setup, "https"));
    after.event("ready").await;
    before.signal("TERM");
    assert_eq!(before.ended().await, 0);
    assert_eq!(admin_status(free).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_nobody_can_place_do_not_start() {
    let ollama = Ollama::start().await;
    let (setup, sockets) = (Setup::before(&ollama), Sockets::open());
    setup.write();
    for (names, says) in [("https:telnet", "unknown name"), ("http:admin", "no socket named https")] {
        let mut process = Process::start(sockets.activate(&setup, names));
        assert_eq!(process.ended().await, 1, "{names}");
        let told = process.whole_log().await;
        assert!(told.contains(says), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_happens_and_that_the_process_lives() {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama);
    let path = setup.file("notify");
    let told = tokio::net::UnixDatagram::bind(&path).unwrap();
    let setup = setup.environment("NOTIFY_SOCKET", path.to_str().unwrap()).environment("WATCHDOG_USEC", "200000");
    let mut gateway = setup.start().await;
    let mut buffer = [0; 256];
    let mut next = async || {
        let length = within("a notification", told.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(next().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(next().await, "WATCHDOG=1");
    }
    assert_eq!(gateway.stop().await, 0);
    let last = loop {
        match next().await.as_str() {
            "WATCHDOG=1" => {}
            other => break other.to_owned(),
        }
    };
    assert_eq!(last, "STOPPING=1");
}
