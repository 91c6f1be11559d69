//! The gate: it owns the port, and lets nothing but whole, well-formed, permitted requests through.
//!
//! tiny_http is safe with well-meant requests only: an announced length makes it allocate, a reset
//! makes it panic, a failed `accept` ends it, and it never times out. So no stranger reaches it: the
//! gate reads one request at a time from each client, with limits on everything, and gives it to
//! tiny_http over a Unix socket in a private folder, whole. With it goes the client's socket: answers
//! take no way back.
//!
//! Invariants:
//! - what a client can make us hold is bounded: connections, heads, bodies, and answers not taken;
//! - a client that is slow, or gone, costs the others nothing;
//! - the gate never waits for one connection.
//!
//! Elsewhere: who may ask for what (`http::access`), the server behind it (`http::server`).

mod accounts;
mod admission;
mod body;
mod carriers;
mod conn;
mod dechunk;
mod event_loop;
mod exchange;
mod files;
mod handle;
mod head;
mod lent;
mod limits;
mod outbound;
mod phase;
mod reply;
mod sys;
mod upstream;

pub use exchange::{Exchange, Exchanges};
pub use files::{TooFewFiles, refuse_too_few_files};
pub use handle::{Gate, GateSettings};
pub use lent::LentSocket;
pub use limits::GateLimits;
pub(in crate::http) use sys::connect_unix as connect_inner;
pub use sys::listen;
pub use upstream::Upstream;
