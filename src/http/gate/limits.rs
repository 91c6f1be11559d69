//! What a client may take of us.

use std::time::Duration;

use crate::domain::files::FILE_BYTES_MAX;

/// How much of memory, time and connections a client may take; each limit is one that an attack has
/// been tried against.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Connections at a time; fewer when the system gives us too few files.
    pub connections_max: usize,
    /// Of a request's head.
    pub head_bytes_max: usize,
    /// Of a request's body, without its coding.
    pub body_bytes_max: usize,
    /// The same of a body that is a file.
    pub file_bytes_max: usize,
    /// Of all bodies that are here at a time.
    pub buffered_bytes_max: usize,
    /// For a head to arrive whole.
    pub head_time: Duration,
    /// For a body to arrive whole.
    pub body_time: Duration,
    /// Between two requests of a connection.
    pub idle_time: Duration,
    /// For a client that takes nothing of its answer.
    pub stall_time: Duration,
    /// For a client to read our last words and hang up.
    pub linger_time: Duration,
    /// For the server behind the gate to answer the door.
    pub connect_time: Duration,
}

impl Default for GateLimits {
    fn default() -> GateLimits {
        GateLimits {
            connections_max: 1024,
            head_bytes_max: 16 << 10,
            body_bytes_max: 1 << 20,
            file_bytes_max: FILE_BYTES_MAX,
            // Two files.
            buffered_bytes_max: 2 * FILE_BYTES_MAX,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
            linger_time: Duration::from_secs(2),
            connect_time: Duration::from_secs(5),
        }
    }
}

impl GateLimits {
    /// The usual limits, but for bodies of at most `bytes` each: two of them fit in memory.
    pub fn with_body_max(bytes: usize) -> GateLimits {
        let usual = GateLimits::default();
        GateLimits {
            body_bytes_max: bytes,
            buffered_bytes_max: usual.buffered_bytes_max.max(bytes.saturating_mul(2)),
            ..usual
        }
    }
}
