//! Threads that send large answers, so that a client who reads slowly cannot hold a handler.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::base::thread::{self, Joined};

/// What the system surely takes at once for a Unix socket: a write of no more does not wait.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// The threads `send`, one per large answer that is on its way; no more than the gate has
/// connections. Cloning it shares it.
///
/// Owned by: the server, which is dropped after the gate: by then every write fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Senders(Arc<Mutex<Vec<Joined>>>);

impl Senders {
    /// Sends `text`: here if that cannot take long, else on a thread of its own.
    pub(super) fn send(&self, writer: Box<dyn Write + Send>, text: Vec<u8>) {
        if text.len() <= AT_ONCE_BYTES_MAX {
            return write(writer, &text);
        }
        if let Err(err) = self.spawn(move || write(writer, &text)) {
            // The connection ends without an answer, and the gate says so to the client.
            log::error!("cannot start a thread for a large answer: {err}");
        }
    }

    fn spawn(&self, send: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut threads = lock(&self.0);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread::spawn("send", thread::STACK_SMALL, send)?);
        Ok(())
    }
}

fn write(mut writer: Box<dyn Write + Send>, text: &[u8]) {
    if let Err(err) = writer.write_all(text).and_then(|()| writer.flush()) {
        log::debug!("an answer found no reader: {err}");
    }
}
