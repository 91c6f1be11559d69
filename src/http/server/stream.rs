//! An answer written as it comes about: each piece is on its way when `write` returns.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::{Duration, Instant};

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
    /// The way through the gate.
    writer: Box<dyn Write + Send>,
    /// The way past it, for everything between the head and the end.
    direct: Option<LentSocket>,
    coding: Coding,
    gone: Receiver<Infallible>,
}

/// How long to wait for the client's socket: the gate lends it within a millisecond, or never.
const LEND_LIMIT: Duration = Duration::from_secs(1);

impl StreamWriter {
    pub(in crate::http) fn begin(
        mut writer: Box<dyn Write + Send>,
        head: &[u8],
        coding: Coding,
        lend_rx: Receiver<LentSocket>,
        gone: Receiver<Infallible>,
    ) -> io::Result<StreamWriter> {
        writer.write_all(head)?;
        writer.flush()?;
        Ok(StreamWriter {
            writer,
            // Without it all goes through the gate, which only takes longer.
            direct: lend_rx.recv_timeout(LEND_LIMIT).ok(),
            coding,
            gone,
        })
    }

    /// Sends `bytes` as one piece, without delay.
    ///
    /// Waits while the client does not take what it was sent; the gate gives such a client up after
    /// a while. Errors: the client is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offer(bytes)?;
        self.drain()
    }

    /// Sends `bytes` as one piece, as far as the client takes it now; the rest waits, for
    /// [`resume`](StreamWriter::resume) or [`drain`](StreamWriter::drain). Whether all has left.
    ///
    /// Never waits where the writer has [its own socket](StreamWriter::socket). Errors: the client
    /// is gone.
    pub fn offer(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            // An empty chunk would end the body.
            return self.resume();
        }
        match self.coding {
            Coding::Chunked => {
                let head = format!("{:x}\r\n", bytes.len());
                self.put([head.as_bytes(), bytes, b"\r\n"])
            }
            Coding::UntilClose => self.put([b"", bytes, b""]),
            Coding::NoBody => Ok(true),
        }
    }

    /// Sends what waits, as far as the client takes it now. Whether all has left.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn resume(&mut self) -> io::Result<bool> {
        self.direct.as_mut().map_or(Ok(true), LentSocket::flush)
    }

    /// Sends what waits, and waits until the client has taken it.
    ///
    /// Errors: the client is gone, or has taken nothing for too long.
    pub fn drain(&mut self) -> io::Result<()> {
        self.direct.as_mut().map_or(Ok(()), LentSocket::drain)
    }

    /// When the client is given up, if it goes on to take nothing of what waits.
    pub fn given_up_at(&self) -> Option<Instant> {
        self.direct.as_ref().and_then(LentSocket::given_up_at)
    }

    /// The client's own socket, if the writer has it: what waits can be sent when that has room.
    pub fn socket(&self) -> Option<&LentSocket> {
        self.direct.as_ref()
    }

    /// Ends the body.
    ///
    /// Errors: the client is gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.drain()?;
        if self.coding == Coding::Chunked {
            self.writer.write_all(b"0\r\n\r\n")?;
        }
        self.writer.flush()
    }

    /// A channel that closes when the client has left.
    pub fn gone(&self) -> Receiver<Infallible> {
        self.gone.clone()
    }

    fn put(&mut self, parts: [&[u8]; 3]) -> io::Result<bool> {
        if let Some(direct) = &mut self.direct {
            return direct.send(parts);
        }
        // In one piece: each write is a system call.
        self.writer.write_all(&parts.concat())?;
        self.writer.flush()?;
        Ok(true)
    }
}
