//! The gate: it owns the port, and lets nothing but whole, well-formed, permitted requests through.
//!
//! tiny_http is safe with well-meant requests only: an announced length makes it allocate, a reset
//! makes it panic, a failed `accept` ends it, and it never times out. So no stranger reaches it: the
//! gate reads one request at a time from each client, with limits on everything, and gives it to
//! tiny_http over a Unix socket in a private folder, whole, on a connection of its own.
//!
//! Invariants:
//! - what a client can make us hold is bounded: connections, heads, bodies, and answers not taken;
//! - a client that is slow, or gone, costs the others nothing;
//! - the gate never waits for one connection.
//!
//! Elsewhere: who may ask for what (`http::access`), the server behind it (`http::server`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::stop::{self, Stop};
use crate::base::thread::{self, Joined};
use crate::http::access::AccessSettings;
use crate::http::poll::Waker;

mod accounts;
mod admission;
mod body;
mod conn;
mod dechunk;
mod event_loop;
mod framing;
mod head;
mod lent;
mod outbound;
mod presence;
pub(in crate::http) mod reply;
mod sys;

use accounts::Accounts;
use conn::Env;
use event_loop::EventLoop;
pub use lent::LentSocket;
pub use presence::Presence;
use reply::DateLine;
pub(in crate::http) use sys::connect_unix as connect_inner;

/// One read of an answer, and so the most that a connection buffers of it.
const SCRATCH_BYTES: usize = 16 << 10;
/// Files that are no connection: the log, the sessions being written, the tools' pipes.
const OTHER_FILES: u64 = 32;
/// A client's socket, which may be lent, the gate's to the server, and two that tiny_http makes of the
/// other end.
const FILES_PER_CONNECTION: u64 = 5;

/// What a client may take of us.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Connections at a time; fewer when the system gives us too few files.
    pub connections_max: usize,
    /// Of a request's head.
    pub head_bytes_max: usize,
    /// Of a request's body, without its coding.
    pub body_bytes_max: usize,
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
            buffered_bytes_max: 16 << 20,
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

/// The server behind the gate.
pub trait Upstream: Send {
    /// The socket it listens on now.
    fn address(&self) -> PathBuf;
    /// Nobody listens on `address`: the server has to be made anew. Does not wait for it.
    fn report_down(&self, address: &Path);
}

/// What the gate works with.
pub struct GateSettings {
    /// What a client may take of us.
    pub limits: GateLimits,
    /// Who may ask for what.
    pub access: AccessSettings,
    /// The secret that the server knows a request of the gate by.
    pub key: String,
    /// The server.
    pub upstream: Box<dyn Upstream>,
    /// Where the server learns whether a client is still there.
    pub presence: Presence,
}

/// The running gate. Dropping it closes every connection and waits for its thread.
#[derive(Debug)]
pub struct Gate {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    waker: Waker,
    drained: Stop,
    // Held for its drop, which waits; `Gate::drop` has given the signal by then.
    _thread: Joined,
}

/// What the thread and its owner tell one another.
#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    open: AtomicUsize,
    wakes: AtomicU64,
}

/// How far the gate is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    Stopped,
}

impl Gate {
    /// Takes over `listener` and starts the thread `gate`.
    ///
    /// Raises the process's limit of open files to what the system allows.
    pub fn start(settings: GateSettings, listener: TcpListener) -> io::Result<Gate> {
        sys::prepare_listener(&listener)?;
        let local_addr = listener.local_addr()?;
        let connections_max = connections_max(settings.limits.connections_max);
        let waker = Waker::new()?;
        let shared = Arc::new(Shared::default());
        let (drained_source, drained) = stop::pair();
        let event_loop = EventLoop::new(
            listener,
            waker.clone(),
            connections_max,
            env(settings, Accounts::new(local_addr, waker.clone())),
            Arc::clone(&shared),
            drained_source,
        )?;
        let thread = thread::spawn("gate", thread::STACK_WORK, move || event_loop.run())?;
        Ok(Gate {
            local_addr,
            shared,
            waker,
            drained,
            _thread: thread,
        })
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How often the thread has woken: for an idle gate, it stands still.
    pub fn wakes(&self) -> u64 {
        self.shared.wakes.load(Ordering::Relaxed)
    }

    /// Stops accepting and ends idle connections; requests in progress go on to their end.
    pub fn drain(&self) {
        self.shared.enter(Phase::Draining);
        self.waker.wake();
    }

    /// Drains, and waits until no connection is left, at most `limit`; returns whether none is.
    pub fn finish(&self, limit: Duration) -> bool {
        self.drain();
        self.drained.wait(limit)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.enter(Phase::Stopped);
        self.waker.wake();
    }
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Goes on to `phase`, never back.
    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

fn env(settings: GateSettings, accounts: Accounts) -> Env {
    Env {
        limits: settings.limits,
        access: settings.access,
        accounts,
        upstream: settings.upstream,
        presence: settings.presence,
        key: settings.key,
        now: Instant::now(),
        is_draining: false,
        date: DateLine::default(),
        scratch: vec![0; SCRATCH_BYTES],
    }
}

/// The fewest open files with which a client is answered while tools run and others wait.
const FILES_MIN: u64 = OTHER_FILES + CONNECTIONS_MIN * FILES_PER_CONNECTION;
/// One that watches, one that says something, and one that asks how things are.
const CONNECTIONS_MIN: u64 = 4;

/// The system gives us too few files to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {given} open files are allowed, and {FILES_MIN} are needed (`ulimit -n`, `LimitNOFILE=`)"
)]
pub struct TooFewFiles {
    given: u64,
}

/// Raises the process's limit of open files to what the system allows, and refuses to go on with
/// fewer than what works.
pub fn refuse_too_few_files() -> Result<(), TooFewFiles> {
    let given = sys::raise_open_files();
    if given < FILES_MIN {
        return Err(TooFewFiles { given });
    }
    Ok(())
}

/// As many connections as are wanted, or as the system has files for.
fn connections_max(wanted: usize) -> usize {
    let files = sys::raise_open_files();
    let possible = files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    let possible = usize::try_from(possible).unwrap_or(usize::MAX).max(1);
    if possible < wanted {
        log::warn!("{files} open files allow for {possible} connections, not {wanted}");
    }
    wanted.min(possible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpStream};

    #[derive(Debug)]
    struct NoServer;

    impl Upstream for NoServer {
        fn address(&self) -> PathBuf {
            PathBuf::from("/nowhere")
        }

        fn report_down(&self, _: &Path) {}
    }

    #[test]
    fn a_request_waits_for_the_list_of_sockets_where_the_kernel_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sys::prepare_listener(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let waker = Waker::new().unwrap();
        let settings = GateSettings {
            limits: GateLimits::default(),
            access: AccessSettings::default(),
            key: "k".to_owned(),
            upstream: Box::new(NoServer),
            presence: Presence::default(),
        };
        let env = env(settings, Accounts::from_lists(waker.clone()));
        let shared = Arc::new(Shared::default());
        let (drained, _) = stop::pair();
        let inner = Arc::clone(&shared);
        let event_loop = EventLoop::new(listener, waker.clone(), 9, env, inner, drained).unwrap();
        let thread = thread::spawn("gate", thread::STACK_WORK, move || event_loop.run()).unwrap();
        // Half-closed at once: it is not known yet whose it is.
        let mut client = TcpStream::connect(address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
            .write_all(b"GET /api HTTP/1.1\r\nHost: foreign\r\n\r\n")
            .unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        shared.enter(Phase::Stopped);
        waker.wake();
        drop(thread);
        // Past the account, which is ours, and refused for the next reason.
        assert!(answer.contains("this `Host`"), "{answer} {read:?}");
    }
}
