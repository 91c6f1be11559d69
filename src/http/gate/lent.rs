//! A client's socket in the hands of whoever answers.
//!
//! An answer, and each token of a stream, then takes one hop: without this, it would wake the gate on
//! its way. The gate goes on to watch for the client's end, and has the connection back at the end of
//! the answer.

use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::http::gate::exchange::{AnswerEnd, Exchange};
use crate::http::gate::outbound::Outbound;
use crate::http::gate::reply;

/// Where an answer is written, of which there is one for each request.
///
/// Dropped before [`LentSocket::end`], the answer breaks off: the connection ends with it.
#[derive(Debug)]
pub struct LentSocket {
    exchange: Arc<Exchange>,
    out: Outbound,
    /// When the client took something for the last time; set while something waits.
    since: Option<Instant>,
    has_ended: bool,
}

impl LentSocket {
    /// For the only one who answers the request.
    pub(in crate::http) fn new(exchange: Arc<Exchange>) -> LentSocket {
        LentSocket {
            exchange,
            out: Outbound::default(),
            since: None,
            has_ended: false,
        }
    }

    /// The request.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The head of an answer with these headers, and those that the gate adds.
    pub(in crate::http) fn head(&self, status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
        reply::head(status, headers, &self.exchange.notes.reply_to)
    }

    /// The request was a `HEAD`: the body stays here.
    pub(in crate::http) fn is_to_head(&self) -> bool {
        self.exchange.notes.reply_to.is_to_head
    }

    /// Sends the parts, one after the other, as far as the client takes them; the rest waits.
    /// Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn send(&mut self, parts: [&[u8]; 3]) -> io::Result<bool> {
        let taken = self.out.send(&self.exchange.socket, parts)?;
        self.note(taken)
    }

    /// Sends what waits, as far as the client takes it. Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn flush(&mut self) -> io::Result<bool> {
        if self.since.is_none() {
            return Ok(true);
        }
        let taken = self.out.flush(&self.exchange.socket)?;
        self.note(taken)
    }

    /// Whether all has left, after `taken` bytes did just now.
    fn note(&mut self, taken: usize) -> io::Result<bool> {
        if self.out.is_empty() {
            self.since = None;
            return Ok(true);
        }
        if taken > 0 {
            self.since = None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.exchange.stall_time {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(false)
    }

    /// When the client is given up, if it goes on to take nothing of what waits.
    pub fn given_up_at(&self) -> Option<Instant> {
        Some(self.since? + self.exchange.stall_time)
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

    /// Ends the answer: what the client has not taken yet, the gate sends. Waits for nothing.
    pub fn end(mut self) {
        self.has_ended = true;
        self.exchange.end(AnswerEnd::Whole {
            at: Instant::now(),
            rest: mem::take(&mut self.out),
        });
    }

    /// Calls `waker` when the client leaves. Whether it has left before, the caller must look for
    /// itself after this.
    pub fn wake_when_gone(&self, waker: Waker) {
        self.exchange.wake_when_gone(waker);
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let limit = Timespec::try_from(self.exchange.stall_time).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.exchange.socket, PollFlags::OUT)];
        match poll(&mut sockets, Some(&limit)) {
            // Whether the time is over, the next attempt finds out.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for LentSocket {
    fn drop(&mut self) {
        if !self.has_ended {
            self.exchange.end(AnswerEnd::BrokenOff);
        }
    }
}

impl AsFd for LentSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exchange.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use crate::http::testing::{TOO_MUCH, narrow};

    const SOON: Duration = Duration::from_secs(20);

    /// A lent socket, and the client at its other end.
    fn pair(stall_time: Duration) -> (LentSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        narrow(&socket, &client);
        (LentSocket::new(Exchange::alone(socket, stall_time)), client)
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
