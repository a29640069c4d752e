//! What the tests stand on: the stand-in upstream, the real gateway, and clients that show every byte.
//!
//! Nothing here sleeps to wait for something: every wait is for an event, with one deadline that fails the test.

pub(crate) mod calls;
pub(crate) mod clean;
pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod http2;
pub(crate) mod message;
pub(crate) mod ollama;
pub(crate) mod process;
pub(crate) mod recording;
pub(crate) mod reply;
pub(crate) mod routes;
mod serving;
pub(crate) mod setup;
pub(crate) mod stream;
pub(crate) mod wire;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use client::Request;
pub(crate) use gateway::Gateway;
pub(crate) use ollama::Ollama;
pub(crate) use reply::Reply;
pub(crate) use setup::Setup;
pub(crate) use wire::Wire;

/// What any single wait of a test may take. Generous: the machine that runs the tests may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`, and fails the test where that takes too long.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    within_time(DEADLINE, what, future).await
}

/// As [`within`], with a deadline of the caller.
pub(crate) async fn within_time<F: Future>(deadline: Duration, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting after {deadline:?}: {what}"),
    }
}

/// SHA-256, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of the package.
pub(crate) fn package_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}
