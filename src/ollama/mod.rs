//! What is known of Ollama: its routes, names, request bodies, streams and errors.
//!
//! Sans-io: nothing here opens a socket, reads a clock or a file; bytes come in, decisions and bytes come out.

pub mod call;
pub mod content;
pub mod dialect;
pub mod endpoint;
pub mod fault;
pub mod model_list;
pub mod model_name;
pub mod response;
pub mod strict_json;
