//! The running gate: its thread, as its owner holds it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::stop::{self, Stop};
use crate::base::thread::{self, Joined};
use crate::http::access::AccessSettings;
use crate::http::gate::accounts::Accounts;
use crate::http::gate::carriers::Carriers;
use crate::http::gate::conn::ConnEnv;
use crate::http::gate::event_loop::EventLoop;
use crate::http::gate::exchange::{Exchanges, GateMail};
use crate::http::gate::files::connections_max;
use crate::http::gate::limits::GateLimits;
use crate::http::gate::phase::{GateState, Phase};
use crate::http::gate::reply::DateLine;
use crate::http::gate::upstream::Upstream;
use crate::http::poll::Waker;

/// One read of what a client sends.
const SCRATCH_BYTES: usize = 16 << 10;

/// The rules of a gate, and what it stands before.
pub struct GateSettings {
    /// For each client.
    pub limits: GateLimits,
    /// By which a request is let in.
    pub access: AccessSettings,
    /// The secret that the server knows a request of the gate by.
    pub key: String,
    /// The server.
    pub upstream: Box<dyn Upstream>,
    /// Where the server finds the requests that the gate has sent it.
    pub exchanges: Exchanges,
}

/// The running gate. Dropping it closes every connection and waits for its thread.
#[derive(Debug)]
pub struct Gate {
    local_addr: SocketAddr,
    shared: Arc<GateState>,
    waker: Waker,
    drained: Stop,
    // Held for its drop, which waits; `Gate::drop` has given the signal by then.
    _thread: Joined,
}

impl Gate {
    /// Takes over `listener`, of [`listen`](super::listen), and starts the thread `gate`.
    ///
    /// Raises the process's limit of open files to what the system allows.
    pub fn start(settings: GateSettings, listener: TcpListener) -> io::Result<Gate> {
        let local_addr = listener.local_addr()?;
        let connections_max = connections_max(settings.limits.connections_max);
        let waker = Waker::new()?;
        let shared = Arc::new(GateState::default());
        let (drained_source, drained) = stop::pair();
        let event_loop = EventLoop::new(
            listener,
            waker.clone(),
            connections_max,
            env(
                settings,
                local_addr,
                Accounts::new(local_addr, waker.clone()),
                waker.clone(),
            ),
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

fn env(settings: GateSettings, listener: SocketAddr, accounts: Accounts, waker: Waker) -> ConnEnv {
    ConnEnv {
        limits: settings.limits,
        access: settings.access,
        accounts,
        carriers: Carriers::new(settings.upstream, settings.exchanges),
        mail: Arc::new(GateMail::new(waker)),
        listener,
        key: settings.key,
        now: Instant::now(),
        is_draining: false,
        date: DateLine::default(),
        scratch: vec![0; SCRATCH_BYTES],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpStream};
    use std::path::{Path, PathBuf};

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
        let listener = crate::http::gate::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let waker = Waker::new().unwrap();
        let settings = GateSettings {
            limits: GateLimits::default(),
            access: AccessSettings::default(),
            key: "k".to_owned(),
            upstream: Box::new(NoServer),
            exchanges: Exchanges::default(),
        };
        let accounts = Accounts::from_lists(waker.clone());
        let env = env(settings, address, accounts, waker.clone());
        let shared = Arc::new(GateState::default());
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
