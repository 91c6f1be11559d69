//! One message from a program, and its reply as plain text.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::client::EventStream;
use crate::client::Tries;
use crate::client::{ApiClient, CancelHandle, ClientError, ServerGeneration, new_key};
use crate::domain::ids::SessionId;
use crate::terminal::clean::Cleaner;
use crate::wire::{ApprovalBody, ErrorEvent, SessionEvent};

/// The end of the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneShotOutcome {
    /// With a reply, which was written.
    Complete,
    /// Somebody cancelled it.
    Cancelled,
    /// It could not go on.
    Failed(ErrorEvent),
    /// It waits for a decision, which a program cannot make.
    NeedsApproval(ApprovalBody),
}

/// A reply that could not be had or written.
#[derive(Debug, thiserror::Error)]
pub enum OneShotError {
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Wherever the reply goes.
    #[error("cannot write the reply")]
    Output(#[from] io::Error),
}

/// Sends `text` with `files` and writes the reply to `out`, ending with a newline. A connection that breaks is
/// made again, without repeating what was written.
pub fn send(
    client: &ApiClient,
    generation: ServerGeneration,
    session: &SessionId,
    text: &str,
    files: &[PathBuf],
    out: &mut impl Write,
) -> Result<OneShotOutcome, OneShotError> {
    /// In a row, without anything new between them: about ten seconds.
    const FAILURES_MAX: u32 = 8;
    let cancel = CancelHandle::default();
    let key = new_key();
    let mut reply = ReplyWriter::new(out);
    let mut tries = Tries::new(FAILURES_MAX);
    let mut is_repeat = false;
    let mut brought = None;
    loop {
        let is_allowed = if std::mem::replace(&mut is_repeat, true) {
            client.may_repeat(generation)
        } else {
            Ok(())
        };
        let opened = is_allowed.and_then(|()| {
            let brought = match &mut brought {
                Some(brought) => brought,
                // Once: what lies there may change.
                none => {
                    let files = files.iter();
                    let files = files.map(|path| client.add_file(&cancel, session, path));
                    none.insert(files.collect::<Result<Vec<_>, _>>()?)
                }
            };
            client.stream(&cancel, session, text, brought, &key)
        });
        let outcome = opened
            .map_err(OneShotError::from)
            .and_then(|stream| relay(stream, &mut reply, &mut tries));
        let pause = match &outcome {
            Err(OneShotError::Client(error)) => tries.failed(error),
            _ => None,
        };
        let Some(pause) = pause else {
            reply.finish()?;
            return outcome;
        };
        log::info!("the connection failed; trying again");
        cancel.wait(pause);
        reply.begin_again();
    }
}

/// Writes the reply that a stream brings, to the end of its turn.
fn relay(
    mut stream: EventStream,
    reply: &mut ReplyWriter<impl Write>,
    tries: &mut Tries,
) -> Result<OneShotOutcome, OneShotError> {
    while let Some(received) = stream.next_event()? {
        tries.note(&received.event);
        match received.event {
            SessionEvent::Token(token) => reply.text(&token.content)?,
            SessionEvent::ToolCall(_) => reply.end()?,
            SessionEvent::Done(_) => return Ok(OneShotOutcome::Complete),
            SessionEvent::Cancelled => return Ok(OneShotOutcome::Cancelled),
            SessionEvent::Error(failure) => return Ok(OneShotOutcome::Failed(failure)),
            SessionEvent::ApprovalRequired(asked) => {
                return Ok(OneShotOutcome::NeedsApproval(asked));
            }
            _ => {}
        }
    }
    Err(ClientError::Closed.into())
}

/// The text of a turn on its way out.
struct ReplyWriter<W> {
    out: W,
    cleaner: Cleaner,
    /// Bytes of text received before the connection broke: the next one brings them again.
    skip_bytes: usize,
    received_bytes: usize,
    is_in_line: bool,
}

impl<W: Write> ReplyWriter<W> {
    fn new(out: W) -> ReplyWriter<W> {
        ReplyWriter {
            out,
            cleaner: Cleaner::default(),
            skip_bytes: 0,
            received_bytes: 0,
            is_in_line: false,
        }
    }

    fn begin_again(&mut self) {
        self.skip_bytes = self.received_bytes.max(self.skip_bytes);
        self.received_bytes = 0;
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let known = self.skip_bytes.saturating_sub(self.received_bytes);
        self.received_bytes += text.len();
        let fresh = text.get(known.min(text.len())..).unwrap_or_default();
        let shown = self.cleaner.push(fresh);
        let Some(last) = shown.chars().next_back() else {
            return Ok(());
        };
        self.is_in_line = last != '\n';
        self.out.write_all(shown.as_bytes())?;
        self.out.flush()
    }

    /// Ends the line in progress, unless what came stands there already.
    fn end(&mut self) -> io::Result<()> {
        if self.received_bytes < self.skip_bytes {
            return Ok(());
        }
        self.finish()
    }

    /// Ends the line in progress: nothing more comes.
    fn finish(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_in_line) {
            return Ok(());
        }
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_connection_broke_is_not_written_again() {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out);
        reply.text("Hel").unwrap();
        reply.text("lo w").unwrap();
        reply.begin_again();
        reply.text("Hello").unwrap();
        reply.begin_again();
        reply.text("Hello world").unwrap();
        reply.end().unwrap();
        reply.end().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Hello world\n");
    }
}
