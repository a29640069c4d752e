//! The gateway and its peers, each as a fresh process with duties as equal as their stock packages allow.
//!
//! Guarantees: all of them end TLS 1.3 with the same P-256 certificate, speak HTTP/1.1 and HTTP/2, compare one key (401
//! for any other), keep connections to the upstream, set the headers that `main` checks and write a line for each
//! request to a file. nginx's body buffer is large enough that it writes no body to disk; for blobs that begin with
//! `b` it is nginx's own of 16 KiB, by which it lets an HTTP/2 client send less at a time. Blobs it passes on as they come.
//!
//! Does not: make Caddy limit rates or send a request id; its stock package cannot do the first. nginx and HAProxy do both.
//! None of the peers reads a body; ours reads it strictly, writes it anew and keeps its audit log.

use super::ours;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A proxy that runs; dropping it ends it.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) log: PathBuf,
    child: Child,
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM lets a master process end its workers.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// The names of all.
pub(crate) const NAMES: [&str; 4] = ["ours", "nginx", "haproxy", "caddy"];
const KEY: &str = "bench-0123456789abcdef0123456789abcdef0123456789";

/// Where they live: `chain.pem`, `key.pem` and `both.pem` are there.
pub(crate) struct Site<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) upstream: SocketAddr,
}

impl Site<'_> {
    /// Starts one, if it is installed.
    pub(crate) fn start(&self, name: &'static str) -> Option<Peer> {
        let version = version(name)?;
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let address = free_address();
        let log = folder.join("access.log");
        let mut key = KEY.to_owned();
        let mut command = match name {
            "nginx" => self.nginx(&folder, address),
            "haproxy" => self.haproxy(&folder, address),
            "caddy" => self.caddy(&folder, address),
            _ => {
                let config = self.gateway(&folder, address);
                key = ours::key(&config, "admin", "compare");
                let mut command = Command::new(ours::program());
                command.args(["serve", "--config"]).arg(config);
                command
            }
        };
        let out = File::options()
            .create(true)
            .append(true)
            .open(if name == "nginx" || name == "caddy" { folder.join("out") } else { log.clone() })
            .unwrap();
        command.stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let peer = Peer { name, version, address, key, log, child };
        let answers = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            std::net::TcpStream::connect(address).is_ok()
        });
        let said =
            ["out", "error.log", "access.log"].map(|file| fs::read_to_string(folder.join(file)).unwrap_or_default());
        assert!(answers, "{name} does not start: {}", said.concat());
        Some(peer)
    }

    fn gateway(&self, folder: &Path, address: SocketAddr) -> PathBuf {
        let state = ours::state(folder);
        let (state, site, upstream, rate) = (state.display(), self.folder.display(), self.upstream, ours::RATE);
        let text = format!(
            r#"
[server]
names = ["localhost"]
https = ["{address}"]
http = []
state = "{state}"
max_connections = 12000
[admin]
listen = "off"
[tls]
certificate = {{ chain = "{site}/chain.pem", key = "{site}/key.pem" }}
min_version = "1.3"
[upstream]
url = "http://{upstream}"
max_connections = 6000
[limits]
general = {rate}
chat = {rate}
authentication_failures = {rate}
connections_per_address = 12000
[queue]
slots = 6000
[roles.admin]
endpoints = ["inference", "catalogue", "management"]
models = ["*"]
"#
        );
        write(folder, "gateway.toml", &text)
    }

    fn nginx(&self, folder: &Path, address: SocketAddr) -> Command {
        let (here, site, upstream) = (folder.display(), self.folder.display(), self.upstream);
        let pass = "proxy_pass http://ollama; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host localhost; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https; proxy_set_header Authorization \"\"; proxy_buffering off; proxy_read_timeout 600s;";
        let text = format!(
            r#"
daemon off; worker_processes 2; worker_rlimit_nofile 20000; pid {here}/pid; error_log {here}/error.log;
events {{ worker_connections 8192; }}
http {{
  log_format line escape=json '{{"time":"$time_iso8601","client":"$remote_addr","request":"$request","status":$status,"bytes":$bytes_sent,"seconds":$request_time,"id":"$request_id"}}';
  access_log {here}/access.log line;
  client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  map_hash_bucket_size 256;
  map $http_authorization $known {{ default 0; "Bearer {KEY}" 1; }}
  limit_req_zone $http_authorization zone=rate:10m rate=100000r/s;
  limit_conn_zone $binary_remote_addr zone=connections:10m;
  keepalive_requests 1000000000; keepalive_timeout 60s;
  upstream ollama {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {address} ssl http2; server_name localhost; http2_max_concurrent_streams 64;
    ssl_certificate {site}/chain.pem; ssl_certificate_key {site}/key.pem; ssl_protocols TLSv1.3;
    client_max_body_size 64m; client_body_buffer_size 16m;
    add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always; add_header X-Content-Type-Options nosniff always;
    add_header X-Request-Id $request_id always; add_header Cache-Control no-store always; server_tokens off;
    limit_req zone=rate burst=100000 nodelay; limit_conn connections 8000;
    if ($known = 0) {{ return 401 '{{"error":"unauthorized"}}'; }}
    location / {{ {pass} }}
    location /api/blobs/ {{ proxy_request_buffering off; {pass} }}
    location /api/blobs/sha256:b {{ client_body_buffer_size 16k; proxy_request_buffering off; {pass} }}
  }}
}}
"#
        );
        let mut command = Command::new("nginx");
        command.arg("-c").arg(write(folder, "nginx.conf", &text));
        command
    }

    fn haproxy(&self, folder: &Path, address: SocketAddr) -> Command {
        let (site, upstream) = (self.folder.display(), self.upstream);
        let text = format!(
            r#"
global
  log stdout format raw local0
  maxconn 8000
  nbthread 2
defaults
  mode http
  log global
  option httplog
  timeout client 60s
  timeout server 600s
  timeout connect 5s
  timeout http-request 10s
  http-reuse always
frontend f
  bind {address} ssl crt {site}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3
  stick-table type string len 80 size 100k expire 60s store http_req_rate(1s)
  http-request track-sc0 req.hdr(authorization)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000 }}
  http-request return status 401 content-type application/json string "{{\"error\":\"unauthorized\"}}" unless {{ req.hdr(authorization) -m str "Bearer {KEY}" }}
  http-request set-header Host localhost
  http-request del-header Authorization
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto https
  unique-id-format %[uuid()]
  http-response set-header Strict-Transport-Security "max-age=31536000; includeSubDomains"
  http-response set-header X-Content-Type-Options nosniff
  http-response set-header Cache-Control no-store
  http-response set-header X-Request-Id %[unique-id]
  default_backend b
backend b
  server s {upstream} maxconn 256
"#
        );
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f"]).arg(write(folder, "haproxy.cfg", &text));
        command
    }

    fn caddy(&self, folder: &Path, address: SocketAddr) -> Command {
        let (here, site, upstream, port) = (folder.display(), self.folder.display(), self.upstream, address.port());
        let text = format!(
            r#"
{{
  admin off
  auto_https off
  storage file_system {here}/storage
}}
:{port} {{
  tls {site}/chain.pem {site}/key.pem {{
    protocols tls1.3
  }}
  log {{
    output file {here}/access.log
  }}
  @stranger not header Authorization "Bearer {KEY}"
  header Strict-Transport-Security "max-age=31536000; includeSubDomains"
  header X-Content-Type-Options nosniff
  header Cache-Control no-store
  respond @stranger `{{"error":"unauthorized"}}` 401
  reverse_proxy {upstream} {{
    flush_interval -1
    header_up -Authorization
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"#
        );
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(write(folder, "Caddyfile", &text));
        command.env("HOME", folder);
        command
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn version(name: &str) -> Option<String> {
    let gateway = ours::program();
    let (program, argument) = match name {
        "nginx" => ("nginx", "-v"),
        "haproxy" => ("haproxy", "-v"),
        "caddy" => ("caddy", "version"),
        _ => (gateway.as_str(), "--version"),
    };
    let told = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    Some(text.lines().next().unwrap_or("").to_owned())
}
