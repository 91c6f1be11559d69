//! An answer written as it comes about: each piece is on its way when `write` returns.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::http::gate::LentSocket;

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
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
    /// The chunk being made; kept, so that a small write allocates nothing.
    chunk: Vec<u8>,
    gone: Receiver<Infallible>,
}

/// How long to wait for the client's socket: the gate lends it within a millisecond, or never.
const LEND_LIMIT: Duration = Duration::from_secs(1);
/// A chunk buffer above this size is not kept.
const KEEP_BYTES: usize = 4 << 10;

impl StreamWriter {
    pub(super) fn begin(
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
            chunk: Vec::new(),
            gone,
        })
    }

    /// Sends `bytes` as one piece, without delay.
    ///
    /// Waits while the client does not take what it was sent; the gate gives such a client up after
    /// a while. Errors: the client is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            // An empty chunk would end the body.
            return Ok(());
        }
        match self.coding {
            Coding::Chunked => self.write_chunk(bytes),
            Coding::UntilClose => self.put(bytes),
            Coding::NoBody => Ok(()),
        }
    }

    /// Ends the body.
    ///
    /// Errors: the client is gone.
    pub fn finish(mut self) -> io::Result<()> {
        if self.coding == Coding::Chunked {
            self.writer.write_all(b"0\r\n\r\n")?;
        }
        self.writer.flush()
    }

    /// A channel that closes when the client has left.
    pub fn gone(&self) -> Receiver<Infallible> {
        self.gone.clone()
    }

    /// One write for the whole chunk, since each is a system call on its own once it is large.
    fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        write!(chunk, "{:x}\r\n", bytes.len())?;
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.put(&chunk)?;
        if chunk.capacity() <= KEEP_BYTES {
            self.chunk = chunk;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(direct) = &mut self.direct {
            return direct.write_all(bytes);
        }
        self.writer.write_all(bytes)?;
        self.writer.flush()
    }
}
