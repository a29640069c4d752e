//! HTTP/1.1 with clients, and the framing of bodies, which is the same with Ollama (RFC 9112).
//!
//! But for the splitting of a head into its lines (httparse) it is the gateway's own, since it is the path that the gateway
//! exists for: a head is read strictly and whole before anybody acts on it, and every byte after it belongs to one body or
//! to the next head.
//!
//! [`request`] reads a head, [`framing`] a body, [`response`] writes, with what is the same for Ollama in [`lines`]; none of
//! them knows a socket. [`wire`] is one connection's bytes in both directions, [`incoming`] the body of a request, of
//! HTTP/2 too. Who is served on it, and when it ends, is `server::http1`.

// Public for the fuzz targets and the benches alone, which read with them as `server::http1` does.
#[doc(hidden)]
pub mod framing;
pub mod incoming;
pub(crate) mod lines;
#[doc(hidden)]
pub mod request;
pub(crate) mod response;
#[doc(hidden)]
pub mod wire;
