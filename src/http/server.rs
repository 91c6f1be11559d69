//! tiny_http behind the gate, and the threads that take its requests.
//!
//! tiny_http listens on a Unix socket in a folder of our own. Its listener ends for good when an
//! `accept` fails (no files left), so the server can be made anew, each time on a new path: an old
//! one removes its own path when it is dropped.
//!
//! Invariants:
//! - only requests that bear the gate's key reach the [`Handler`];
//! - a handler that panics costs its request a 500, and nothing else;
//! - every request is answered, whatever a handler forgets;
//! - no client can hold a handler thread, however slowly it reads.
//!
//! Owned by: `http::Front`. tiny_http's own threads cannot be joined; they end within 5 s of its drop.

use std::io;
use std::mem;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::base::thread::{self, Joined};
use crate::http::gate::{Exchanges, Upstream};

pub mod incoming;
pub mod stream;

pub use incoming::Incoming;
pub use stream::StreamWriter;

/// More than the gate has connections, so that its calls always find room.
const BACKLOG: i32 = 4096;
/// A handler that has worked ends when nothing has come for so long, and what the allocator keeps for
/// its thread goes with it; the last one leaves a new one behind.
const KEPT: Duration = Duration::from_secs(5);
/// How long after a failed attempt the server is made anew again.
const REST: Duration = Duration::from_millis(200);

/// Answers requests, or gives them to whoever will.
pub trait Handler: Send + Sync {
    /// Answers `request`, or gives it to a thread that will. Called on a handler thread, of which
    /// there are few: what waits for something belongs on a thread of its own.
    fn handle(&self, request: Incoming);
}

/// tiny_http, listening, before anybody takes its requests. It starts five threads: the sooner, the
/// less the first request waits for them.
pub struct Listening(UpstreamGeneration);

impl Listening {
    /// Starts it in `folder`, a private one for its sockets; with a short path, since a socket's
    /// ends at 107 bytes.
    pub fn start(folder: &Path) -> io::Result<Listening> {
        UpstreamGeneration::start(folder, 0).map(Listening)
    }
}

/// Where the server listens, and how it knows the gate.
pub struct ServerSettings {
    /// The folder of the [`Listening`].
    pub folder: PathBuf,
    /// Threads that take requests, at most. There are as many as were needed at once of late, and one
    /// or two more.
    pub handlers: usize,
    /// The secret that requests of the gate bear.
    pub key: String,
    /// The requests that the gate has sent.
    pub exchanges: Exchanges,
}

/// The running server. Dropping it lets each handler finish its request, and waits for them.
pub struct InnerServer {
    shared: Arc<HandlerPool>,
    stop: StopSource,
}

struct HandlerPool {
    settings: ServerSettings,
    handler: Arc<dyn Handler>,
    stop: Stop,
    /// Those that take requests.
    threads: Mutex<Vec<Joined>>,
    /// How many of them wait for one.
    waiting: AtomicUsize,
    current: Mutex<UpstreamGeneration>,
}

/// One tiny_http server, and where it listens.
struct UpstreamGeneration {
    number: u64,
    address: PathBuf,
    server: Arc<tiny_http::Server>,
    /// The gate found nobody listening, and has woken a handler.
    is_reported: bool,
    /// A handler makes the next one.
    is_ending: bool,
}

impl InnerServer {
    /// Starts the first of the threads `http-0`, `http-1`, …
    pub fn start(
        settings: ServerSettings,
        listening: Listening,
        handler: Arc<dyn Handler>,
    ) -> io::Result<InnerServer> {
        let (stop_source, stop) = stop::pair();
        let shared = Arc::new(HandlerPool {
            settings,
            handler,
            stop,
            threads: Mutex::default(),
            waiting: AtomicUsize::new(0),
            current: Mutex::new(listening.0),
        });
        let server = InnerServer {
            shared,
            stop: stop_source,
        };
        server.shared.add_thread()?;
        Ok(server)
    }

    /// Starts one more thread that takes requests, before one is needed.
    pub fn add_spare(&self) -> io::Result<()> {
        self.shared.add_thread().map(|_| ())
    }

    /// How the gate reaches this server.
    pub fn upstream(&self) -> Box<dyn Upstream> {
        Box::new(ServerDoor(Arc::clone(&self.shared)))
    }
}

impl Drop for InnerServer {
    fn drop(&mut self) {
        self.stop.stop();
        self.shared.unblock_all();
        // Joined without the lock, which a thread may want that is about to end.
        let threads = mem::take(&mut *lock(&self.shared.threads));
        drop(threads);
    }
}

impl UpstreamGeneration {
    fn start(folder: &Path, number: u64) -> io::Result<UpstreamGeneration> {
        let address = folder.join(number.to_string());
        let listener = UnixListener::bind(&address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        // It starts threads with a function that panics when the system has none to give.
        let started = catch_unwind(|| tiny_http::Server::from_listener(listener, None));
        let server = started
            .map_err(|panic| io::Error::other(thread::panic_text(&*panic).to_owned()))?
            .map_err(io::Error::other)?;
        Ok(UpstreamGeneration {
            number,
            address,
            server: Arc::new(server),
            is_reported: false,
            is_ending: false,
        })
    }
}

/// The gate's end of the server.
struct ServerDoor(Arc<HandlerPool>);

impl Upstream for ServerDoor {
    fn address(&self) -> PathBuf {
        self.0.current().address.clone()
    }

    fn report_down(&self, address: &Path) {
        let mut current = self.0.current();
        if current.address == address && !current.is_reported {
            // One handler wakes without a request, and makes the server anew.
            current.is_reported = true;
            current.server.unblock();
        }
    }
}

impl HandlerPool {
    fn current(&self) -> MutexGuard<'_, UpstreamGeneration> {
        lock(&self.current)
    }

    /// Starts one more handler thread, up to as many as there may be, and none after the stop.
    /// Returns whether it did.
    fn add_thread(self: &Arc<HandlerPool>) -> io::Result<bool> {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= self.settings.handlers.max(1) || self.stop.is_stopped() {
            return Ok(false);
        }
        let is_taken = |name: &str| threads.iter().any(|thread| thread.name() == name);
        let mut numbers = 0..self.settings.handlers.max(1);
        let number = numbers.find(|number| !is_taken(&format!("http-{number}")));
        let number = number.expect("fewer are taken than there may be");
        let shared = Arc::clone(self);
        let run = move || shared.run();
        threads.push(thread::spawn(
            format!("http-{number}"),
            thread::STACK_WORK,
            run,
        )?);
        Ok(true)
    }

    /// The life of a handler thread.
    fn run(self: &Arc<HandlerPool>) {
        let mut is_new = true;
        while !self.stop.is_stopped() {
            let server = Arc::clone(&self.current().server);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let received = if is_new {
                server.recv().map(Some)
            } else {
                self.recv_for_a_while(&server)
            };
            let was_last = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
            let is_replaced = was_last
                && self.add_thread().unwrap_or_else(|err| {
                    log::warn!("no further thread takes requests: {err}");
                    false
                });
            is_new = false;
            match received {
                Ok(Some(request)) => self.take(request),
                Ok(None) => {
                    self.renew(&server, &io::Error::other("nobody listens"));
                    if is_replaced || !was_last {
                        return;
                    }
                }
                Err(err) => self.renew(&server, &err),
            }
        }
    }

    /// The next request; `None` when nothing has come for [`KEPT`], or when the server was unblocked.
    fn recv_for_a_while(
        &self,
        server: &tiny_http::Server,
    ) -> io::Result<Option<tiny_http::Request>> {
        let began = Instant::now();
        let request = server.recv_timeout(KEPT)?;
        // The time is over up to a millisecond early.
        let is_over = began.elapsed() + Duration::from_millis(1) >= KEPT;
        if request.is_none() && is_over && !self.stop.is_stopped() {
            // What has come just then may have woken this thread, and no other.
            return server.try_recv();
        }
        Ok(request)
    }

    fn take(&self, request: tiny_http::Request) {
        let Some(incoming) = self.checked(request) else {
            return;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.handler.handle(incoming)));
        if let Err(panic) = outcome {
            // The request was answered with a 500 when the panic dropped it.
            log::error!("a handler panicked: {}", thread::panic_text(&*panic));
        }
    }

    fn checked(&self, request: tiny_http::Request) -> Option<Incoming> {
        let key = self.settings.key.as_bytes();
        let shown = incoming::header(&request, "X-Gate-Key").unwrap_or_default();
        if !bool::from(key.ct_eq(shown.as_bytes())) {
            log::warn!("a request did not come through the gate: refused");
            let refusal = tiny_http::Response::empty(403);
            if let Err(err) = request.respond(refusal) {
                log::debug!("cannot refuse a request: {err}");
            }
            return None;
        }
        let conn = incoming::header(&request, "X-Gate-Conn").and_then(|conn| conn.parse().ok());
        let Some(exchange) = conn.and_then(|conn| self.settings.exchanges.claim(conn)) else {
            log::debug!("the gate has given a request up before it was taken");
            drop(request.into_writer());
            return None;
        };
        match Incoming::read(request, exchange) {
            Ok(incoming) => Some(incoming),
            Err(err) => {
                log::debug!("a request broke off on its way from the gate: {err}");
                None
            }
        }
    }

    /// Makes the server anew, unless it is time to stop or another thread is at it.
    ///
    /// A failed `recv` means one of two: the listener has ended, which matters to nobody as long as
    /// the gate's connections stand, or the gate found it ended and woke us. The other threads
    /// meanwhile go on with the requests that the old one still has.
    fn renew(&self, old: &Arc<tiny_http::Server>, err: &io::Error) {
        if self.stop.is_stopped() || !self.begin_renewal(old) {
            return;
        }
        log::warn!("the server behind the gate has ended ({err}): a new one takes over");
        // What ended it (no files left, most likely) would end the next one too if it came at once.
        while !self.stop.wait(REST) {
            let number = self.current().number + 1;
            match UpstreamGeneration::start(&self.settings.folder, number) {
                Ok(next) => return self.install(next),
                Err(err) => log::error!("cannot make the server behind the gate anew: {err}"),
            }
        }
    }

    fn begin_renewal(&self, old: &Arc<tiny_http::Server>) -> bool {
        let mut current = self.current();
        let is_current = Arc::ptr_eq(&current.server, old);
        let is_due = is_current && current.is_reported && !current.is_ending;
        current.is_ending |= is_due;
        is_due
    }

    fn install(&self, next: UpstreamGeneration) {
        let old = mem::replace(&mut *self.current(), next);
        // Each of the other threads leaves the old one, behind the requests that it still has.
        for _ in 1..self.settings.handlers.max(1) {
            old.server.unblock();
        }
        if self.stop.is_stopped() {
            // `InnerServer::drop` has unblocked the old one only.
            self.unblock_all();
        }
    }

    fn unblock_all(&self) {
        let current = self.current();
        for _ in 0..self.settings.handlers.max(1) {
            current.server.unblock();
        }
    }
}
