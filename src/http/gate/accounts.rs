//! To which account of this machine a client's end of its connection belongs.
//!
//! Asked once a connection, when it is accepted: of the kernel itself, which answers at once, or,
//! where it does not, by the thread `accounts`, which reads the list of all sockets once for all
//! that wait.
//!
//! Invariant: the gate's thread never waits for an answer.
//!
//! Owned by: the gate's thread.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::base::lock::lock;
use crate::base::socket_owner::{self, Ends, OpenSocket, SocketDiag};
use crate::base::thread::{self, Joined, STACK_SMALL};
use crate::http::access::PeerAccount;
use crate::http::poll::Waker;

/// What is found later, by connection.
type FoundAccounts = Arc<Mutex<Vec<(u64, PeerAccount)>>>;

/// Who looks.
#[derive(Debug)]
pub(super) struct Accounts {
    /// `None` where the kernel does not answer.
    diag: Option<SocketDiag>,
    /// From the first need on.
    reader: Option<ListReader>,
    found: FoundAccounts,
    waker: Waker,
}

/// The thread `accounts`. Its end is that of `wanted_tx`, which is dropped before it is joined.
#[derive(Debug)]
struct ListReader {
    wanted_tx: Sender<(u64, Ends)>,
    _thread: Joined,
}

impl Accounts {
    /// For the clients of the socket that listens on `listener`; `waker` is used when something is
    /// found later.
    pub(super) fn new(listener: SocketAddr, waker: Waker) -> Accounts {
        let diag = SocketDiag::tried_on(listener);
        if let Err(error) = &diag {
            log::debug!("the kernel does not tell of sockets, so their list is read: {error}");
        }
        Accounts {
            diag: diag.ok(),
            reader: None,
            found: FoundAccounts::default(),
            waker,
        }
    }

    /// As [`Accounts::new`] where the kernel does not answer.
    #[cfg(test)]
    pub(super) fn from_lists(waker: Waker) -> Accounts {
        Accounts {
            diag: None,
            reader: None,
            found: FoundAccounts::default(),
            waker,
        }
    }

    /// The account at the other end of connection `conn`; `None` when [`Accounts::take_found`] will
    /// have it later.
    pub(super) fn look_up(&mut self, conn: u64, ends: Ends) -> Option<PeerAccount> {
        let diag = self.diag.as_mut();
        if let Some(Ok(found)) = diag.map(|diag| diag.find(ends)) {
            return Some(account(found));
        }
        match self.read_list_for(conn, ends) {
            Ok(()) => None,
            Err(error) => {
                log::error!("nobody looks whose connections are: {error}");
                Some(PeerAccount::Stranger)
            }
        }
    }

    /// The connections whose account was found out since the last time.
    pub(super) fn take_found(&self) -> Vec<(u64, PeerAccount)> {
        std::mem::take(&mut *lock(&self.found))
    }

    fn read_list_for(&mut self, conn: u64, ends: Ends) -> io::Result<()> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(ListReader::start(
                Arc::clone(&self.found),
                self.waker.clone(),
            )?),
        };
        let sent = reader.wanted_tx.send((conn, ends));
        sent.map_err(|_| io::Error::other("the thread has ended"))
    }
}

impl ListReader {
    fn start(found: FoundAccounts, waker: Waker) -> io::Result<ListReader> {
        // As long as there are connections, at most.
        let (wanted_tx, wanted_rx) = unbounded();
        let thread = thread::spawn("accounts", STACK_SMALL, move || {
            read_lists(&wanted_rx, &found, &waker);
        })?;
        Ok(ListReader {
            wanted_tx,
            _thread: thread,
        })
    }
}

fn read_lists(wanted_rx: &Receiver<(u64, Ends)>, found: &FoundAccounts, waker: &Waker) {
    while let Ok(first) = wanted_rx.recv() {
        let wanted: Vec<(u64, Ends)> = std::iter::once(first).chain(wanted_rx.try_iter()).collect();
        let ends: Vec<Ends> = wanted.iter().map(|(_, ends)| *ends).collect();
        let sockets = socket_owner::find_in_list(&ends).unwrap_or_else(|error| {
            log::error!("the list of sockets cannot be read: {error}");
            vec![None; ends.len()]
        });
        let accounts = sockets.into_iter().map(account);
        let conns = wanted.iter().map(|(conn, _)| *conn);
        lock(found).extend(conns.zip(accounts));
        waker.wake();
    }
}

fn account(found: Option<OpenSocket>) -> PeerAccount {
    found.map_or(PeerAccount::Stranger, |socket| {
        PeerAccount::Number(socket.uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::accounts;
    use crate::http::poll::{Poll, Ready};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn where_the_kernel_does_not_answer_the_list_does_for_all_that_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pairs: Vec<_> = (0..3)
            .map(|_| {
                let client = TcpStream::connect(address).unwrap();
                (client, listener.accept().unwrap())
            })
            .collect();
        let waker = Waker::new().unwrap();
        let poll = Poll::new().unwrap();
        poll.add(&waker, 0, Ready::IN).unwrap();
        let ends = |at: usize| Ends {
            theirs: pairs[at].1.1,
            ours: address,
        };
        let own = PeerAccount::Number(accounts::own());
        let mut accounts = Accounts::new(address, waker.clone());
        assert_eq!(accounts.look_up(1, ends(0)), Some(own));
        let mut accounts = Accounts::from_lists(waker.clone());
        assert_eq!(accounts.look_up(1, ends(0)), None);
        assert_eq!(accounts.look_up(2, ends(1)), None);
        let gone = Ends {
            theirs: address,
            ours: address,
        };
        assert_eq!(accounts.look_up(3, gone), None);
        let mut found = Vec::new();
        while found.len() < 3 {
            let mut ready = Vec::new();
            poll.wait(Some(Duration::from_secs(20)), &mut ready)
                .unwrap();
            assert!(!ready.is_empty(), "nothing comes: {found:?}");
            waker.reset();
            found.extend(accounts.take_found());
        }
        assert_eq!(found, [(1, own), (2, own), (3, PeerAccount::Stranger)]);
    }
}
