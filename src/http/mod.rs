//! HTTP: requests into engine calls, notices into bytes; no decisions.
//!
//! ```text
//! client ─TCP─► gate (one thread, epoll) ─unix socket─► tiny_http ─► handler threads ─► Handler
//!
//! Handler = Api: route ─► handlers ─► an answer at once
//!                                 └─► a stream, or an answer that waits: whoever has news sends it
//! ```

pub mod access;
pub mod answer;
pub mod api;
mod callers;
pub mod context;
pub mod failure;
pub mod front;
pub mod gate;
pub mod handlers;
pub mod headers;
mod inner_folder;
pub mod jobs;
mod poll;
pub mod problem;
pub mod query;
pub mod requester;
pub mod route;
pub mod server;
pub mod sse;
pub mod streams;
pub mod ticket;
pub mod turn;
pub mod wire;

#[cfg(test)]
mod testing;
