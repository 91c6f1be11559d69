//! HTTP: requests into engine calls, notices into bytes; no decisions.
//!
//! ```text
//! client ─TCP─► gate (one thread, epoll) ─unix socket─► tiny_http ─► handler threads ─► Handler
//! ```

pub mod access;
pub mod front;
pub mod gate;
pub mod problem;
pub mod server;
