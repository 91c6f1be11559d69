//! The gate's connections to the server behind it, which carry one request after the other.
//!
//! Nothing comes back by them: answers go to the clients' sockets. So whatever can be read there, an
//! end or a word, says that the server does not understand the gate any more; then the connection
//! is given up, and what nobody has claimed of it with it.
//!
//! Owned by: the gate's thread.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::http::gate::exchange::{Exchange, Exchanges};
use crate::http::gate::outbound::{self, Moved, UpstreamRequest};
use crate::http::gate::sys;
use crate::http::gate::upstream::Upstream;
use crate::http::poll::{Poll, Ready, Watched};

/// As many as tiny_http keeps threads for. A second one is made only while a large body holds up
/// those behind it.
const CARRIERS_MAX: usize = 4;
/// So many requests may wait to be taken. Their clients may have left meanwhile: while nobody takes any,
/// the limit on connections does not bound them.
const UNTAKEN_MAX: usize = 1024;

/// All of them: none until the first request.
pub(super) struct Carriers {
    upstream: Box<dyn Upstream>,
    exchanges: Exchanges,
    open: Vec<Carrier>,
    next_number: u64,
    untaken_max: usize,
}

/// One connection.
#[derive(Debug)]
struct Carrier {
    number: u64,
    server: Watched<UnixStream>,
    /// The first is on its way.
    waiting: VecDeque<UpstreamRequest>,
}

/// The token of a carrier's socket; clients' are even.
fn token(number: u64) -> u64 {
    number * 2 + 1
}

impl Carriers {
    pub(super) fn new(upstream: Box<dyn Upstream>, exchanges: Exchanges) -> Carriers {
        Carriers {
            upstream,
            exchanges,
            open: Vec::new(),
            // The token of 0 is that of the listener.
            next_number: 1,
            untaken_max: UNTAKEN_MAX,
        }
    }

    /// Makes sure that there is one to [send](Carriers::send) by.
    ///
    /// Errors: there is none now; the server is made anew if it is down. Or it takes none of many.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.exchanges.count() >= self.untaken_max {
            return Err(io::Error::new(
                ErrorKind::WouldBlock,
                "too many requests wait to be taken",
            ));
        }
        let has_free = self.open.iter().any(|carrier| carrier.waiting.is_empty());
        if has_free || self.open.len() >= CARRIERS_MAX {
            return Ok(());
        }
        match self.call() {
            Err(err) if self.open.is_empty() => Err(err),
            Err(err) => {
                log::debug!("no further connection to the server: {err}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn call(&mut self) -> io::Result<()> {
        let address = self.upstream.address();
        let server = sys::connect_unix(&address).inspect_err(|err| {
            // Anything else, such as having no file left, is not the server's fault.
            let is_down = matches!(
                err.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::NotFound
            );
            // While a connection stands, the old server still takes what comes by it.
            if is_down && self.open.is_empty() {
                self.upstream.report_down(&address);
            }
        })?;
        let number = self.next_number;
        self.next_number += 1;
        self.open.push(Carrier {
            number,
            server: Watched::new(server, token(number)),
            waiting: VecDeque::new(),
        });
        Ok(())
    }

    /// Sends a request by the connection with the least before it, of which there must be one.
    pub(super) fn send(&mut self, request: UpstreamRequest, exchange: Arc<Exchange>) {
        let Some(carrier) = self.open.iter_mut().min_by_key(|one| one.waiting.len()) else {
            return;
        };
        self.exchanges.enter(exchange, carrier.number);
        carrier.waiting.push_back(request);
        carrier.flush();
    }

    /// The memory of the bodies that wait to be sent.
    pub(super) fn bytes_held(&self) -> usize {
        let waiting = self.open.iter().flat_map(|carrier| &carrier.waiting);
        waiting.map(UpstreamRequest::bytes_held).sum()
    }

    /// Tells the poll set what each waits for now.
    pub(super) fn watch(&mut self, poll: &Poll) -> io::Result<()> {
        for carrier in &mut self.open {
            let mut wanted = Ready::IN;
            wanted.set(Ready::OUT, !carrier.waiting.is_empty());
            carrier.server.watch(poll, Some(wanted))?;
        }
        Ok(())
    }

    /// Deals with what happened on the socket with that token. Returns the connections whose requests
    /// are lost with it.
    pub(super) fn on_ready(&mut self, of: u64, ready: Ready) -> Vec<u64> {
        let Some(at) = self.open.iter().position(|one| token(one.number) == of) else {
            return Vec::new();
        };
        if ready.contains(Ready::OUT) {
            self.open[at].flush();
        }
        let can_read = ready.intersects(Ready::IN | Ready::HUP | Ready::ERR);
        if !can_read || self.open[at].is_silent() {
            return Vec::new();
        }
        let carrier = self.open.swap_remove(at);
        log::warn!("a connection to the server behind the gate broke: a new one takes over");
        self.exchanges.revoke(carrier.number)
    }
}

impl Carrier {
    /// Sends on. When that fails, the connection ends with it, which tells what the server has not
    /// taken: after a part of a request, the next one would pass for the rest of it.
    fn flush(&mut self) {
        while let Some(first) = self.waiting.front_mut() {
            match first.send(&self.server.socket) {
                Ok(true) => drop(self.waiting.pop_front()),
                Ok(false) => return,
                Err(err) => {
                    log::debug!("the server takes no more: {err}");
                    self.waiting.clear();
                    if let Err(err) = self.server.socket.shutdown(Shutdown::Both) {
                        log::debug!("the server has left: {err}");
                    }
                }
            }
        }
    }

    /// Nothing has come by it, as it should be.
    fn is_silent(&self) -> bool {
        outbound::read(&self.server.socket, &mut [0; 64]) == Moved::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    struct Behind(PathBuf);

    impl Upstream for Behind {
        fn address(&self) -> PathBuf {
            self.0.clone()
        }

        fn report_down(&self, _: &Path) {
            panic!("it is there");
        }
    }

    /// Those to a server that reads nothing, which goes with what else is returned.
    fn to_a_server() -> (Carriers, UnixListener, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("server");
        let listener = UnixListener::bind(&address).unwrap();
        let carriers = Carriers::new(Box::new(Behind(address)), Exchanges::default());
        (carriers, listener, folder)
    }

    /// Sends a request with a body of so many bytes; how many connections there are then.
    fn send(carriers: &mut Carriers, bytes: usize) -> usize {
        let clients = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(clients.local_addr().unwrap()).unwrap();
        let exchange = Exchange::alone(socket, Duration::ZERO);
        carriers.prepare().unwrap();
        let request = UpstreamRequest::new(b"head".to_vec(), vec![b'x'; bytes]);
        carriers.send(request, exchange);
        carriers.open.len()
    }

    #[test]
    fn of_requests_that_nobody_takes_a_bounded_number_waits() {
        let (mut carriers, _listener, _folder) = to_a_server();
        carriers.untaken_max = 1;
        send(&mut carriers, 1);
        let refused = carriers.prepare().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert!(carriers.exchanges.claim(0).is_some());
        assert!(carriers.prepare().is_ok());
    }

    #[test]
    fn nothing_follows_half_a_request() {
        let (mut carriers, listener, _folder) = to_a_server();
        const LARGE: usize = 16 << 20;
        assert_eq!(send(&mut carriers, LARGE), 1);
        let (mut server, _) = listener.accept().unwrap();
        // The rest of it fails.
        carriers.open[0]
            .server
            .socket
            .shutdown(Shutdown::Write)
            .unwrap();
        let first = token(carriers.open[0].number);
        server.set_nonblocking(true).unwrap();
        while server.read(&mut [0; 1 << 16]).is_ok_and(|bytes| bytes > 0) {}
        carriers.on_ready(first, Ready::OUT);
        assert_eq!(carriers.bytes_held(), 0);
        let lost = carriers.on_ready(first, Ready::IN | Ready::HUP);
        assert_eq!(lost, [0]);
        assert!(carriers.open.is_empty());
    }

    #[test]
    fn what_is_too_large_to_be_sent_at_once_holds_up_nobody() {
        let (mut carriers, listener, _folder) = to_a_server();
        // More than any socket takes that nobody reads.
        const LARGE: usize = 16 << 20;
        assert_eq!([send(&mut carriers, 1), send(&mut carriers, 1)], [1, 1]);
        assert_eq!(carriers.bytes_held(), 0);
        assert_eq!(send(&mut carriers, LARGE), 1);
        assert_eq!(send(&mut carriers, 1), 2);
        assert_eq!(carriers.bytes_held(), LARGE, "the small one has left");
        for open in [2, 3, 4, 4] {
            assert_eq!(send(&mut carriers, LARGE), open);
        }
        assert_eq!(carriers.bytes_held(), 5 * LARGE);
        drop(listener);
        let first = token(carriers.open[0].number);
        carriers.on_ready(first, Ready::HUP);
        assert!(
            carriers.bytes_held() <= 4 * LARGE,
            "it is gone, and what waited for it"
        );
    }
}
