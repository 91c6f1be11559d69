//! A client's socket in the hands of whoever writes its stream.
//!
//! A token then takes one hop less: without this, it would wake the gate on its way. The gate goes
//! on to watch for the client's end, and gets the end of the answer by the usual way: from there on
//! the connection is its own again.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use crate::base::lock::lock;

/// Where the body of an answer is written; its end is not.
#[derive(Debug)]
pub struct LentSocket {
    socket: TcpStream,
    unsent: Unsent,
    stall_time: Duration,
    leaving: Leaving,
}

/// What the client has not taken at once.
#[derive(Debug, Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// How many of them it has taken.
    taken: usize,
    /// When the client took something for the last time.
    since: Option<Instant>,
}

/// Wakes whoever has a client's socket when the client has left.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving(Arc<Mutex<Option<Waker>>>);

impl Leaving {
    /// Calls `waker` when the client leaves.
    pub(super) fn wake_when_told(&self, waker: Waker) {
        *lock(&self.0) = Some(waker);
    }

    /// The client has left.
    pub(super) fn tell(&self) {
        if let Some(waker) = lock(&self.0).take() {
            waker.wake();
        }
    }
}

impl LentSocket {
    /// The same connection as `socket`, for a writer that waits at most `stall_time` for a client
    /// that takes nothing.
    pub(super) fn new(
        socket: &TcpStream,
        stall_time: Duration,
        leaving: Leaving,
    ) -> io::Result<LentSocket> {
        Ok(LentSocket {
            socket: socket.try_clone()?,
            unsent: Unsent::default(),
            stall_time,
            leaving,
        })
    }

    /// As [`new`](LentSocket::new), of a client whose leaving nobody tells of.
    #[cfg(test)]
    pub(in crate::http) fn of(socket: &TcpStream, stall_time: Duration) -> LentSocket {
        LentSocket::new(socket, stall_time, Leaving::default()).unwrap()
    }

    /// Sends the parts, one after the other, as far as the client takes them; the rest waits.
    /// Whether all has left.
    ///
    /// Errors: the client is gone.
    pub fn send(&mut self, parts: [&[u8]; 3]) -> io::Result<bool> {
        if !self.flush()? {
            self.keep(parts, 0);
            return Ok(false);
        }
        let taken = self.write(parts)?;
        self.keep(parts, taken);
        Ok(self.unsent.bytes.is_empty())
    }

    /// Sends what waits, as far as the client takes it. Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(since) = self.unsent.since else {
            return Ok(true);
        };
        let waiting = &self.unsent.bytes[self.unsent.taken..];
        let taken = self.write([waiting, &[], &[]])?;
        self.unsent.taken += taken;
        if self.unsent.taken == self.unsent.bytes.len() {
            // Clients that fall behind are few; the others shall not hold a buffer each.
            self.unsent = Unsent::default();
            return Ok(true);
        }
        if taken > 0 {
            self.unsent.since = Some(Instant::now());
        } else if since.elapsed() >= self.stall_time {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(false)
    }

    /// When the client is given up, if it goes on to take nothing of what waits.
    pub fn given_up_at(&self) -> Option<Instant> {
        Some(self.unsent.since? + self.stall_time)
    }

    /// Waits until all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn drain(&mut self) -> io::Result<()> {
        while !self.flush()? {
            self.wait_for_room()?;
        }
        Ok(())
    }

    /// Calls `waker` when the client leaves. Whether it has left before, the caller must look for
    /// itself after this.
    pub fn wake_when_gone(&self, waker: Waker) {
        self.leaving.wake_when_told(waker);
    }

    /// Writes once, without waiting, and returns how many bytes were taken.
    fn write(&self, parts: [&[u8]; 3]) -> io::Result<usize> {
        let parts = parts.map(io::IoSlice::new);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry_on_intr(|| {
            let mut no_descriptors = SendAncillaryBuffer::default();
            sendmsg(&self.socket, &parts, &mut no_descriptors, flags)
        });
        match sent {
            Err(Errno::AGAIN) => Ok(0),
            sent => Ok(sent?),
        }
    }

    /// Keeps what comes after the first `taken` bytes.
    fn keep(&mut self, parts: [&[u8]; 3], mut taken: usize) {
        for part in parts {
            let gone = taken.min(part.len());
            taken -= gone;
            self.unsent.bytes.extend_from_slice(&part[gone..]);
        }
        if !self.unsent.bytes.is_empty() {
            self.unsent.since.get_or_insert_with(Instant::now);
        }
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let limit = Timespec::try_from(self.stall_time).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.socket, PollFlags::OUT)];
        match poll(&mut sockets, Some(&limit)) {
            // Whether the time is over, the next attempt finds out.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for LentSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;

    use crate::http::testing::{TOO_MUCH, narrow};

    const SOON: Duration = Duration::from_secs(20);

    /// A lent socket, and the client at its other end.
    fn pair(stall_time: Duration) -> (LentSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        narrow(&socket, &client);
        let lent = LentSocket::new(&socket, stall_time, Leaving::default()).unwrap();
        (lent, client)
    }

    /// Sends numbered lines until the client's buffers are full, and much is left; what was sent.
    fn fill(lent: &mut LentSocket) -> String {
        let mut sent = String::new();
        for number in 0_u64.. {
            let line = format!("{number}{}", "x".repeat(TOO_MUCH));
            sent.push_str(&line);
            sent.push('\n');
            if !lent.send([b"", line.as_bytes(), b"\n"]).unwrap() {
                return sent;
            }
        }
        unreachable!("some buffer ends")
    }

    #[test]
    fn what_a_slow_client_does_not_take_waits_for_it_in_order() {
        let (mut lent, mut client) = pair(SOON);
        assert_eq!(lent.given_up_at(), None);
        let mut sent = fill(&mut lent);
        assert!(lent.given_up_at().is_some());
        assert!(!lent.send([b"la", b"s", b"t"]).unwrap());
        sent.push_str("last");
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; sent.len()];
            client.read_exact(&mut got).unwrap();
            assert!(got == sent.as_bytes());
        });
        lent.drain().unwrap();
        assert_eq!(lent.given_up_at(), None);
        assert_eq!(lent.unsent.bytes.capacity(), 0);
        reader.join().unwrap();
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        let (mut lent, _client) = pair(Duration::from_millis(20));
        // More than all buffers on the way, which may grow.
        assert!(!lent.send([&vec![b'x'; 64 << 20], b"", b""]).unwrap());
        let error = lent.drain().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
