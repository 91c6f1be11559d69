//! An answer written as it comes about: each piece is on its way when `write` returns.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::http::gate::LentSocket;

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Coding {
    /// The chunked coding.
    Chunked,
    /// By the end of the connection, for HTTP/1.0.
    UntilClose,
    /// There is no body: the request was a `HEAD`.
    NoBody,
}

/// The longest line that says the size of a chunk.
const CHUNK_SIZE_BYTES: usize = 2 * size_of::<usize>() + 2;

/// The line before a chunk of so many bytes, written to the end of `line`.
fn chunk_size(mut bytes: usize, line: &mut [u8; CHUNK_SIZE_BYTES]) -> &[u8] {
    let mut start = CHUNK_SIZE_BYTES - 2;
    line[start..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        line[start] = b"0123456789abcdef"[bytes % 16];
        bytes /= 16;
        if bytes == 0 {
            return &line[start..];
        }
    }
}

/// The body of an answer under way.
///
/// Dropped without [`StreamWriter::finish`], it breaks off: a client of HTTP/1.1 sees that the end
/// is missing.
pub struct StreamWriter {
    socket: LentSocket,
    coding: Coding,
    /// The head of the answer, until it leaves: with the first piece, if there is one by then.
    head: Vec<u8>,
    /// The end of the body was offered.
    has_ended: bool,
}

impl StreamWriter {
    pub(in crate::http) fn new(socket: LentSocket, head: Vec<u8>, coding: Coding) -> StreamWriter {
        StreamWriter {
            socket,
            coding,
            head,
            has_ended: false,
        }
    }

    /// The head has left: without a piece there is nothing to send.
    pub fn has_begun(&self) -> bool {
        self.head.is_empty()
    }

    /// Sends `bytes` as one piece, without delay.
    ///
    /// Waits while the client does not take what it was sent, but not for ever. Errors: the client is
    /// gone, or has taken nothing for too long.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offer(bytes)?;
        self.drain()
    }

    /// Sends `bytes` as one piece, and the head before the first one, as far as the client takes it now; the
    /// rest waits, for [`resume`](StreamWriter::resume) or [`drain`](StreamWriter::drain). Whether all has
    /// left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn offer(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.put(bytes, false)
    }

    /// As [`offer`](StreamWriter::offer), and with it the end of the body: nothing more may be offered.
    pub fn offer_last(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let is_last = !mem::replace(&mut self.has_ended, true);
        self.put(bytes, is_last)
    }

    fn put(&mut self, bytes: &[u8], is_last: bool) -> io::Result<bool> {
        let mut head = mem::take(&mut self.head);
        let bytes = if self.coding == Coding::NoBody {
            b""
        } else {
            bytes
        };
        // An empty chunk would end the body.
        let is_chunk = self.coding == Coding::Chunked && !bytes.is_empty();
        let mut size = [0; CHUNK_SIZE_BYTES];
        let size = if is_chunk {
            chunk_size(bytes.len(), &mut size)
        } else {
            b""
        };
        // With the head there is one part more than a socket is offered.
        let before = if head.is_empty() {
            size
        } else {
            head.extend_from_slice(size);
            &head
        };
        let after: &[u8] = match (is_chunk, is_last && self.coding == Coding::Chunked) {
            (true, false) => b"\r\n",
            (true, true) => b"\r\n0\r\n\r\n",
            (false, true) => b"0\r\n\r\n",
            (false, false) => b"",
        };
        if before.is_empty() && bytes.is_empty() && after.is_empty() {
            return self.resume();
        }
        self.socket.send([before, bytes, after])
    }

    /// Sends what waits, as far as the client takes it now. Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn resume(&mut self) -> io::Result<bool> {
        self.socket.flush()
    }

    /// Sends what waits, and waits until the client has taken it.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn drain(&mut self) -> io::Result<()> {
        self.socket.drain()
    }

    /// When the client is given up, if it goes on to take nothing of what waits.
    pub fn given_up_at(&self) -> Option<Instant> {
        self.socket.given_up_at()
    }

    /// The client's own socket: what waits can be sent when that has room.
    pub fn socket(&self) -> Option<&LentSocket> {
        Some(&self.socket)
    }

    /// Ends the body. Waits for nothing: what the client has not taken yet, the gate sends.
    ///
    /// Errors: the client is gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.offer_last(b"")?;
        self.socket.end();
        Ok(())
    }

    /// A channel that closes when the client has left.
    pub fn gone(&self) -> Receiver<Infallible> {
        self.socket.exchange().gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_says_its_size_in_hexadecimal() {
        for bytes in [1, 15, 16, 0xabc, 0xdef01, usize::MAX] {
            let mut line = [0; CHUNK_SIZE_BYTES];
            let expected = format!("{bytes:x}\r\n");
            assert_eq!(chunk_size(bytes, &mut line), expected.as_bytes());
        }
    }
}
