//! The front door that makes it safe to put a stock Ollama server on the network.
//!
//! The promise: **nothing reaches Ollama that the policy did not read exactly as Ollama will read it.**
//!
//! # The path
//!
//! ```text
//!  accept ─► tls ─► connection ─► inspect ─► route ─► authenticate ─► authorize ─► limit ─► admit ─► queue ─► forward ─► sanitise ─► respond
//!  server/                        pipeline/  (one screen: pipeline/mod.rs)                                                          └ body: record, permits, Ollama's stream
//! ```
//!
//! Each stage takes the value of the stage before it and returns the next. A stage's value can be made in its own file
//! only (private fields, no `Clone`, no `Default`, no constructor), so a check that is deleted, reordered or forgotten does
//! not compile; each is pinned by a `compile_fail` example beside one that passes. `forward` takes nothing but a
//! [`pipeline::queue::Queued`]; only a [`pipeline::answer::Answer`] becomes a response.
//!
//! | stage | its value says |
//! |---|---|
//! | [`inspect`](pipeline::inspect) | one host, ours, the one TLS was opened for; a plain target; framing with one reading; the client's address; the origin |
//! | [`route`](pipeline::route) | one endpoint of a closed table, by exact bytes |
//! | [`authenticate`](pipeline::authenticate) | a principal, from exactly one credential |
//! | [`authorize`](pipeline::authorize) | the role names the endpoint, from this address |
//! | [`limit`](pipeline::limit) | one request has been taken from the caller's rate, before a byte of the body is read |
//! | [`admit`](pipeline::admit) | the body was read strictly into a typed call, permitted, bounded, and written anew |
//! | [`queue`](pipeline::queue) | a place among the requests in flight, given back on drop |
//! | [`forward`](pipeline::forward) | a new request: constant path, our headers, our bytes |
//! | [`sanitise`](pipeline::sanitise) | an answer of the expected shape, with Ollama's errors replaced by ours |
//!
//! One thing differs from a chain of values: the request's body waits in the [`Record`](pipeline::record) until `admit` takes
//! it. A refusal happens on the head alone, and the record knows whether bytes are left that would be read as a next request.
//!
//! # Threads
//!
//! Each processor has a thread with a runtime of its own (`server::workers`). A connection stays on the one that it was given
//! to, and so do its requests and the connections to Ollama that they use: a request's own task drives both, without a
//! channel or another task between. Only a client that falls behind gets a task that reads Ollama on (`upstream::pump`), and
//! one that is left waiting for a sign of life gets one for the rest of its path (`pipeline::heartbeat`). Everything that is
//! not on the path (certificates, store, console, sweeps) runs beside them on a runtime of its own.
//!
//! # Invariants, and the tests that hold them
//!
//! - **I1** Nothing reaches Ollama but from a `Queued` call, and every byte of it is ours. (`it::matrix`, `it::smuggling`)
//! - **I2** What Go reads from the forwarded body is what the policy read. (`it::differential`)
//! - **I3** No byte of Ollama's reaches a client but through an `Answer`. (`it::errors`, `it::hostile`)
//! - **I4** One record a request, whatever happens. (`it::audit`, `it::streaming`)
//! - **I5** Every wait has a deadline; every queue, map, buffer and line has a bound. (`it::slow`, `it::http2`)
//! - **I6** A refusal holds no client bytes and no upstream bytes: its text is `&'static str`. ([`rejection`])
//! - **I7** Secrets are never printed. (`it::audit`, [`config::secret`])
//! - **I8** A doubtful configuration does not start; a bad reload keeps the old policy. (`it::config`, `it::reload`)
//! - **I9** When a client leaves, in any phase, Ollama's work ends within 100 ms and every permit returns, while what Ollama
//!   still writes is read. (`it::leaving`, `it::leaks`, `it::streaming`)
//! - **I10** A limit that cannot fire is an error: `config::check` where the file alone shows it, `check --probe` where it
//!   takes a request. (`it::config`, `it::probe`)
//!
//! # The layers
//!
//! Bottom to top; a file uses only what is on its level or below (`it::house_rules`):
//! `ollama`, `http1`, `config::types` → `config`, `rejection`, `telemetry`, `store` → `identity`, `limits`, `upstream`,
//! `certificates` → `gateway`, `pipeline` → `server` → `cli` → `main`.
//! `ollama` is sans-io: no socket, no clock; bytes in, decisions and bytes out.

pub mod certificates;
pub mod cli;
pub mod config;
pub mod console;
pub mod demo;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod limits;
pub mod ollama;
pub mod pipeline;
pub mod rejection;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
