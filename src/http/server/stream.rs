//! An answer written as it comes about: each piece is on its way when `write` returns.

use std::convert::Infallible;
use std::io::{self, Write};

use crossbeam_channel::Receiver;

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
    writer: Box<dyn Write + Send>,
    coding: Coding,
    /// The chunk being made; kept, so that a small write allocates nothing.
    chunk: Vec<u8>,
    gone: Receiver<Infallible>,
}

/// A chunk buffer above this size is not kept.
const KEEP_BYTES: usize = 4 << 10;

impl StreamWriter {
    pub(super) fn begin(
        mut writer: Box<dyn Write + Send>,
        head: &[u8],
        coding: Coding,
        gone: Receiver<Infallible>,
    ) -> io::Result<StreamWriter> {
        writer.write_all(head)?;
        writer.flush()?;
        Ok(StreamWriter {
            writer,
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
            Coding::Chunked => self.write_chunk(bytes)?,
            Coding::UntilClose => self.writer.write_all(bytes)?,
            Coding::NoBody => return Ok(()),
        }
        self.writer.flush()
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
        self.chunk.clear();
        write!(self.chunk, "{:x}\r\n", bytes.len())?;
        self.chunk.extend_from_slice(bytes);
        self.chunk.extend_from_slice(b"\r\n");
        self.writer.write_all(&self.chunk)?;
        if self.chunk.capacity() > KEEP_BYTES {
            self.chunk = Vec::new();
        }
        Ok(())
    }
}
