//! What the figures are made with.

pub mod bare_relay;
pub mod clock;
pub mod http;
pub mod memory_watch;
pub mod process;
pub mod provider;
pub mod report;
pub mod server;
pub mod strace;
pub mod streams;
pub mod timed_fs;

/// What the tests have, too.
#[path = "../../it/support"]
pub mod kit {
    pub mod bot_api;
}
