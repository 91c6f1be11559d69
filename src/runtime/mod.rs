//! Builds the parts, starts the threads, stops them in order.
//!
//! Every thread has one owner and one way to end: the table is in `docs/architecture.md`, under "Threads", and a
//! test holds it against the sources.
//!
//! Stopping goes from the sources inwards: no new connections, streams end, replies in flight
//! finish or are parked, threads are joined, the workspace is unlocked.

mod core;
mod gateways;
mod host;
mod inbox;
mod logging;
pub mod options;
mod rest;
mod running;
mod scan;
mod secrets;
pub mod serve;
mod service_manager;
pub(crate) mod signals;
mod ticket_key;
pub mod version;
mod watchdog;
