//! Bytes on their way out of a socket that does not wait.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// The outcome of one attempt at a socket that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes; for a read, at least one.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// Nothing, ever again: the other side has ended its stream, or the connection broke.
    Ended,
}

/// Reads once.
pub(super) fn read(socket: &mut impl Read, buffer: &mut [u8]) -> Moved {
    match socket.read(buffer) {
        Ok(0) => Moved::Ended,
        outcome => moved(outcome),
    }
}

fn moved(outcome: io::Result<usize>) -> Moved {
    match outcome {
        Ok(bytes) => Moved::Bytes(bytes),
        Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Moved::Nothing
        }
        Err(_) => Moved::Ended,
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

    /// Sends what waits, then `more`; what the socket does not take waits.
    pub(super) fn send(&mut self, socket: &mut impl Write, more: &[u8]) -> Moved {
        if !self.is_empty() {
            self.bytes.extend_from_slice(more);
            return self.flush(socket);
        }
        let outcome = moved(socket.write(more));
        let taken = match outcome {
            Moved::Bytes(taken) => taken,
            Moved::Nothing => 0,
            Moved::Ended => return Moved::Ended,
        };
        self.bytes.extend_from_slice(&more[taken..]);
        outcome
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, socket: &mut impl Write) -> Moved {
        if self.is_empty() {
            return Moved::Nothing;
        }
        let outcome = moved(socket.write(&self.bytes[self.sent..]));
        if let Moved::Bytes(taken) = outcome {
            self.sent += taken;
        }
        if self.is_empty() {
            // Clients that fall behind are few; the others shall not hold a buffer each.
            *self = Outbound::default();
        }
        outcome
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

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.head.len() + self.body.len()
    }

    /// The memory it holds: none, once it is sent.
    pub(super) fn bytes_held(&self) -> usize {
        self.body.capacity()
    }

    /// Sends on. A server that takes no more has answered already, or is gone: its answer tells.
    pub(super) fn send(&mut self, socket: &mut impl Write) {
        while !self.is_sent() {
            let head = &self.head[self.sent.min(self.head.len())..];
            let body = &self.body[self.sent.saturating_sub(self.head.len())..];
            match moved(socket.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])) {
                Moved::Bytes(bytes) => self.sent += bytes,
                Moved::Nothing => return,
                Moved::Ended => break,
            }
        }
        *self = UpstreamRequest::new(Vec::new(), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes per call, as long as it has leave.
    struct Narrow(Vec<u8>, usize, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.2 == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.2 -= 1;
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        let mut socket = Narrow(Vec::new(), 2, 1);
        let mut out = Outbound::default();
        assert_eq!(out.send(&mut socket, b"hello"), Moved::Bytes(2));
        assert_eq!(out.send(&mut socket, b" world"), Moved::Nothing);
        assert!(!out.is_empty());
        socket.2 = 100;
        while !out.is_empty() {
            out.flush(&mut socket);
        }
        assert_eq!(socket.0, b"hello world");
    }

    #[test]
    fn a_request_leaves_whole_and_holds_nothing_then() {
        let mut socket = Narrow(Vec::new(), 3, 2);
        let mut request = UpstreamRequest::new(b"head".to_vec(), b"body".to_vec());
        request.send(&mut socket);
        assert!(!request.is_sent());
        socket.2 = 100;
        request.send(&mut socket);
        assert!(request.is_sent());
        assert_eq!(
            (socket.0.as_slice(), request.bytes_held()),
            (&b"headbody"[..], 0)
        );
    }
}
