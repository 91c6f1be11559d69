//! A client's socket in the hands of the thread that writes its stream.
//!
//! A token then takes one hop less: without this, it would wake the gate on its way. The gate goes
//! on to watch for the client's end, and gets the end of the answer by the usual way: from there on
//! the connection is its own again.

use std::io::{self, ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where the body of an answer is written; its end is not.
#[derive(Debug)]
pub struct LentSocket {
    socket: TcpStream,
    stall_time: Duration,
}

impl LentSocket {
    /// The same connection as `socket`, for a writer that waits at most `stall_time` for a client
    /// that takes nothing.
    pub(super) fn new(socket: &TcpStream, stall_time: Duration) -> io::Result<LentSocket> {
        Ok(LentSocket {
            socket: socket.try_clone()?,
            stall_time,
        })
    }

    /// Writes all of `bytes`.
    ///
    /// Errors: the client is gone, or takes nothing.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The gate, whose socket it is too, never waits.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let limit = Timespec::try_from(self.stall_time).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.socket, PollFlags::OUT)];
        match poll(&mut sockets, Some(&limit)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
