//! Builds the parts, starts the threads, stops them in order.
//!
//! Every thread has one owner and one way to end:
//!
//! | thread | owner | blocks on | ends when |
//! |---|---|---|---|
//! | `main` | the process | the stop signal | all the others are joined |
//! | `gate` | `http::Front` | epoll | stop, by its wake-up descriptor |
//! | `accounts` | `http::Front`, where the kernel does not answer | connections, a list of sockets | the gate's end |
//! | `http-0…n` | `http::Front` | the server's queue | one `unblock()` for each of them |
//! | `s-7QW3FZ` | `engine::Sessions` | a model's socket, a tool | nothing left to do, or stop |
//! | `tool-7QW3FZ` | a session's worker, for each of several calls that read | its tool | the tool's end, which cancel and stop force |
//! | `model-rest` | `llm`, before a next call | what follows the last answer | its end, or 0.1 s |
//! | `tool-web` | a session's worker, per run of `web` | a stranger's server | its answer, or cancel; left behind where nothing can end it |
//! | `streams` | `http::Api`, from the first stream on | epoll, for all streams | stop, by its doorbell |
//! | `sse-7QW3FZ` | `http::Api`, for a stream's beginning, and when it has fallen behind | the log, its client | all is shown, client gone, or stop |
//! | `wait-7QW3FZ` | `http::Api` | its session, its client | the answer's end, client gone, or stop |
//! | `send` | `http::Front`, per large answer | its client | the answer's end, client gone, or stop |
//! | `flusher` | `engine::Sessions` | syncs of replies in flight | stop |
//! | `notify` | `policy::Policies`, from the first webhook on | its queue, a socket | stop |
//! | `timer`, `reaper` | `engine::Sessions` | what is due; a join | stop |
//! | `sweep` | `engine::Sessions` | the disk | every session seen, or stop |
//! | `watchdog` | [`serve`](serve::serve), where a service manager wants signs of life | a pause; its own server's answer | stop |
//! | `scan` | [`serve`](serve::serve) | the disk | every session seen, or stop |
//! | `ctrl-c` | the ctrlc crate | SIGINT, SIGTERM | the process |
//! | `signals` | [`serve`](serve::serve) | SIGHUP, SIGCHLD | the process |
//!
//! Stopping goes from the sources inwards: no new connections, streams end, replies in flight
//! finish or are parked, threads are joined, the workspace is unlocked.

mod host;
mod logging;
pub mod options;
mod rest;
mod secrets;
pub mod serve;
mod service_manager;
pub(crate) mod signals;
mod ticket_key;
pub mod version;
mod watchdog;
