//! Bytes on their way out of a socket, and into one, without waiting.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// The outcome of one read of a socket that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// Nothing, ever again: the other side has ended its stream, or the connection broke.
    Ended,
}

/// Reads once.
pub(super) fn read(mut socket: impl Read, buffer: &mut [u8]) -> Moved {
    match socket.read(buffer) {
        Ok(0) => Moved::Ended,
        Ok(bytes) => Moved::Bytes(bytes),
        Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Moved::Nothing
        }
        Err(_) => Moved::Ended,
    }
}

/// Sends the parts once, one after the other, without waiting; how many bytes were taken.
fn send_once(socket: impl AsFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = retry_on_intr(|| {
        let mut no_descriptors = SendAncillaryBuffer::default();
        sendmsg(&socket, parts, &mut no_descriptors, flags)
    });
    match sent {
        Err(Errno::AGAIN) => Ok(0),
        sent => Ok(sent?),
    }
}

/// Bytes that a client has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Sends what waits, then the parts; what the socket does not take waits. Returns how many bytes
    /// were taken.
    ///
    /// Errors: the client is gone.
    pub(super) fn send(&mut self, socket: impl AsFd, parts: [&[u8]; 3]) -> io::Result<usize> {
        if !self.is_empty() {
            for part in parts {
                self.bytes.extend_from_slice(part);
            }
            return self.flush(socket);
        }
        let taken = send_once(socket, &parts.map(IoSlice::new))?;
        let mut left = taken;
        for part in parts {
            let gone = left.min(part.len());
            left -= gone;
            self.bytes.extend_from_slice(&part[gone..]);
        }
        Ok(taken)
    }

    /// Sends what waits, as far as the socket takes it. Returns how many bytes that was.
    ///
    /// Errors: the client is gone.
    pub(super) fn flush(&mut self, socket: impl AsFd) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let taken = send_once(socket, &[IoSlice::new(&self.bytes[self.sent..])])?;
        self.sent += taken;
        if self.is_empty() {
            // Clients that fall behind are few; the others shall not hold a buffer each.
            *self = Outbound::default();
        }
        Ok(taken)
    }
}

/// A whole request on its way to the server.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    head: Vec<u8>,
    body: Vec<u8>,
    sent: usize,
}

impl UpstreamRequest {
    pub(super) fn new(head: Vec<u8>, body: Vec<u8>) -> UpstreamRequest {
        UpstreamRequest {
            head,
            body,
            sent: 0,
        }
    }

    /// The memory that its body holds.
    pub(super) fn bytes_held(&self) -> usize {
        self.body.capacity()
    }

    /// Sends on; whether all has left.
    ///
    /// Errors: the server takes no more.
    pub(super) fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while self.sent < self.head.len() + self.body.len() {
            let head = &self.head[self.sent.min(self.head.len())..];
            let body = &self.body[self.sent.saturating_sub(self.head.len())..];
            match send_once(&socket, &[IoSlice::new(head), IoSlice::new(body)])? {
                0 => return Ok(false),
                taken => self.sent += taken,
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// More than a socket takes at once.
    const MUCH: usize = 4 << 20;

    /// Sends until that says that all has left; what came at the other side.
    fn received(mut send: impl FnMut(&UnixStream) -> bool) -> Vec<u8> {
        let (socket, mut other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 16]);
        let mut has_left = false;
        loop {
            has_left = has_left || send(&socket);
            match read(&mut other, &mut piece) {
                Moved::Bytes(bytes) => got.extend_from_slice(&piece[..bytes]),
                Moved::Nothing if has_left => return got,
                Moved::Nothing => {}
                Moved::Ended => unreachable!("both ends are open"),
            }
        }
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        let parts = [vec![b'a'; MUCH], vec![b'b'; MUCH], vec![b'c'; MUCH]];
        let all = [parts.concat(), parts.concat()].concat();
        let mut out = Outbound::default();
        let mut times = 0;
        let got = received(|socket| {
            times += 1;
            if times <= 2 {
                let parts = [&parts[0][..], &parts[1], &parts[2]];
                assert!(out.send(socket, parts).unwrap() < 3 * MUCH);
                assert!(!out.is_empty());
            } else {
                out.flush(socket).unwrap();
            }
            out.is_empty()
        });
        assert!(got == all && times > 2);
        assert_eq!(out.bytes.capacity(), 0);
    }

    #[test]
    fn a_request_leaves_whole() {
        let (head, body) = (vec![b'h'; 1000], vec![b'b'; MUCH]);
        let mut request = UpstreamRequest::new(head.clone(), body.clone());
        let mut times = 0;
        let got = received(|socket| {
            times += 1;
            request.send(socket).unwrap()
        });
        assert!(got == [head, body].concat() && times > 1);
    }
}
