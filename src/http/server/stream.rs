//! An answer written as it comes about: each piece is on its way when `write` returns.

use std::convert::Infallible;
use std::io;
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

/// The body of an answer under way.
///
/// Dropped without [`StreamWriter::finish`], it breaks off: a client of HTTP/1.1 sees that the end
/// is missing.
pub struct StreamWriter {
    socket: LentSocket,
    coding: Coding,
}

impl StreamWriter {
    pub(in crate::http) fn begin(
        mut socket: LentSocket,
        head: &[u8],
        coding: Coding,
    ) -> io::Result<StreamWriter> {
        socket.send([head, b"", b""])?;
        Ok(StreamWriter { socket, coding })
    }

    /// Sends `bytes` as one piece, without delay.
    ///
    /// Waits while the client does not take what it was sent, but not for ever. Errors: the client is
    /// gone, or has taken nothing for too long.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offer(bytes)?;
        self.drain()
    }

    /// Sends `bytes` as one piece, as far as the client takes it now; the rest waits, for
    /// [`resume`](StreamWriter::resume) or [`drain`](StreamWriter::drain). Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn offer(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            // An empty chunk would end the body.
            return self.resume();
        }
        match self.coding {
            Coding::Chunked => {
                let head = format!("{:x}\r\n", bytes.len());
                self.socket.send([head.as_bytes(), bytes, b"\r\n"])
            }
            Coding::UntilClose => self.socket.send([b"", bytes, b""]),
            Coding::NoBody => Ok(true),
        }
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
        if self.coding == Coding::Chunked {
            self.socket.send([b"0\r\n\r\n", b"", b""])?;
        }
        self.socket.end();
        Ok(())
    }

    /// A channel that closes when the client has left.
    pub fn gone(&self) -> Receiver<Infallible> {
        self.socket.exchange().gone()
    }
}
