//! The listeners and the connections: from `accept` to a request in the pipeline.
//!
//! Guarantees: a connection that says nothing costs one slot for a few seconds and holds up nobody; every wait on a
//! socket has a deadline; a stop finishes what runs, up to a deadline, and then ends.
//! Does not: decide about requests.

mod accept;
mod accounted;
pub mod admin;
mod bind;
mod connection;
mod gauges;
mod http1;
mod inbound;
mod outbound;
mod proxy_protocol;
mod redirect;
mod run;
pub mod sandbox;
mod timed;
mod tls;
mod unparsed;
mod workers;

pub(crate) use accept::slot as connection_slot;
pub use bind::{Bound, Origin, ServeFault, SocketNames, Sockets, bind};
pub(crate) use connection::converse;
pub use run::{serve, tell_systemd};
