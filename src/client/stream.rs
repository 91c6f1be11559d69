//! Reading a stream of events.

use std::collections::VecDeque;
use std::io::Read;

use ureq::http::Response;
use ureq::{Body, BodyReader};

use crate::base::sse::{EventTooLong, Parser, SseEvent};
use crate::client::cancel::CancelHandle;
use crate::client::error::ClientError;
use crate::wire::SessionEvent;

/// An event and the id that the stream had given by then.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamedEvent {
    /// The event.
    pub event: SessionEvent,
    /// Opaque: the cursor to resume from; empty when the server gave none.
    pub id: String,
}

/// An open stream of events.
pub struct EventStream {
    body: BodyReader<'static>,
    cancel: CancelHandle,
    parser: Parser,
    ready: VecDeque<StreamedEvent>,
}

impl EventStream {
    pub(super) fn new(response: Response<Body>, cancel: CancelHandle) -> EventStream {
        EventStream {
            body: response.into_body().into_reader(),
            cancel,
            parser: Parser::default(),
            ready: VecDeque::new(),
        }
    }

    /// Waits for the next event; `None` when the server ended the stream.
    ///
    /// Errors: [`ClientError::Lost`], [`ClientError::Cancelled`], [`ClientError::NotEvents`].
    pub fn next_event(&mut self) -> Result<Option<StreamedEvent>, ClientError> {
        /// A few tokens; a longer event comes in pieces.
        const READ_BYTES: usize = 4096;
        loop {
            if let Some(received) = self.ready.pop_front() {
                return Ok(Some(received));
            }
            let mut buffer = [0; READ_BYTES];
            let read = self.body.read(&mut buffer);
            // A read that was ended from outside may look like the end of the stream.
            if self.cancel.is_cancelled() {
                return Err(ClientError::Cancelled);
            }
            match read.map_err(ClientError::Lost)? {
                0 => return Ok(None),
                length => self.feed(&buffer[..length])?,
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let ready = &mut self.ready;
        let outcome: Result<(), BadEvent> = self.parser.feed(bytes, |event| {
            ready.push_back(received(event)?);
            Ok(())
        });
        outcome.map_err(|bad| ClientError::NotEvents(bad.0))
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

struct BadEvent(String);

impl From<EventTooLong> for BadEvent {
    fn from(error: EventTooLong) -> BadEvent {
        BadEvent(error.to_string())
    }
}

fn received(event: SseEvent<'_>) -> Result<StreamedEvent, BadEvent> {
    let name = String::from_utf8_lossy(event.name);
    let data = String::from_utf8_lossy(event.data);
    let parsed = SessionEvent::parse(&name, &data)
        .map_err(|error| BadEvent(format!("event {name:?}: {error}")))?;
    Ok(StreamedEvent {
        event: parsed,
        id: String::from_utf8_lossy(event.id).into_owned(),
    })
}
