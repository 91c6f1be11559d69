//! Reading a stream of events, and coming back to it after the connection was lost.

use std::collections::VecDeque;
use std::io::Read;

use ureq::http::Response;
use ureq::{Body, BodyReader};

use crate::base::sse::{EventTooLong, Parser, SseEvent};
use crate::client::event::SessionEvent;
use crate::client::{Cancel, Client, ClientError, backoff};
use crate::domain::ids::SessionId;

/// An event and the id that the stream had given by then.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The event.
    pub event: SessionEvent,
    /// Opaque: the cursor to resume from; empty when the server gave none.
    pub id: String,
}

/// An open stream of events.
pub struct EventStream {
    body: BodyReader<'static>,
    cancel: Cancel,
    parser: Parser,
    ready: VecDeque<Received>,
}

impl EventStream {
    pub(super) fn new(response: Response<Body>, cancel: Cancel) -> EventStream {
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
    pub fn next_event(&mut self) -> Result<Option<Received>, ClientError> {
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

fn received(event: SseEvent<'_>) -> Result<Received, BadEvent> {
    let name = String::from_utf8_lossy(event.name);
    let data = String::from_utf8_lossy(event.data);
    let parsed = SessionEvent::parse(&name, &data)
        .map_err(|error| BadEvent(format!("event {name:?}: {error}")))?;
    Ok(Received {
        event: parsed,
        id: String::from_utf8_lossy(event.id).into_owned(),
    })
}

/// What a follower learns.
#[derive(Debug)]
pub enum Followed {
    /// An event.
    Event(Received),
    /// The connection is lost and did not come back at once, for this reason; said once per loss.
    Lost(ClientError),
    /// It is back, exactly where it broke.
    Back {
        /// Whether its loss was said; it may have come back at once.
        was_said: bool,
    },
    /// The session is over and everything was shown.
    Ended,
}

/// How a client attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attaching {
    /// How many of the last messages are shown first.
    pub history: usize,
    /// It only looks on: its leaving pauses nothing.
    pub is_readonly: bool,
    /// It sends the others away.
    pub detaches_others: bool,
}

impl Attaching {
    /// Beside the others, after the last `history` messages.
    pub fn after(history: usize) -> Attaching {
        Attaching {
            history,
            is_readonly: false,
            detaches_others: false,
        }
    }
}

/// Follows the events of a session for as long as there are any, over lost connections.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    session: SessionId,
    attaching: Attaching,
    cancel: Cancel,
    stream: Option<EventStream>,
    /// Where to go on.
    last_id: Option<String>,
    /// Connections that failed since the last event.
    failures: u32,
    said_lost: bool,
    ended: bool,
}

impl Follower {
    /// Follows `session` until `cancel`.
    pub fn new(
        client: Client,
        session: SessionId,
        attaching: Attaching,
        cancel: Cancel,
    ) -> Follower {
        Follower {
            client,
            session,
            attaching,
            cancel,
            stream: None,
            last_id: None,
            failures: 0,
            said_lost: false,
            ended: false,
        }
    }

    /// Waits for the next thing to know.
    ///
    /// Errors: those that trying again does not cure, [`ClientError::Cancelled`] among them.
    pub fn next_step(&mut self) -> Result<Followed, ClientError> {
        loop {
            if self.ended {
                return Ok(Followed::Ended);
            }
            let step = match self.stream.take() {
                Some(stream) => self.read(stream),
                None => self.connect(),
            };
            if let Some(step) = step? {
                return Ok(step);
            }
        }
    }

    fn read(&mut self, mut stream: EventStream) -> Result<Option<Followed>, ClientError> {
        match stream.next_event() {
            Ok(Some(received)) => {
                self.stream = Some(stream);
                Ok(Some(self.note(received)))
            }
            // The server cut this client off, stopped, or died: the id says where to go on.
            Ok(None) | Err(ClientError::Lost(_)) => self.failed(),
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, received: Received) -> Followed {
        self.failures = 0;
        if !received.id.is_empty() {
            self.last_id = Some(received.id.clone());
        }
        self.ended = received.event.ends_session();
        Followed::Event(received)
    }

    fn connect(&mut self) -> Result<Option<Followed>, ClientError> {
        let last_id = self.last_id.as_deref();
        let opened = self
            .client
            .events(&self.cancel, &self.session, &self.attaching, last_id);
        if self.cancel.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        match opened {
            Ok(Some(stream)) => {
                self.stream = Some(stream);
                // Once: who attaches later stays when this one comes back from a lost connection.
                self.attaching.detaches_others = false;
                let was_said = std::mem::take(&mut self.said_lost);
                let was_lost = self.failures > 0;
                Ok(was_lost.then_some(Followed::Back { was_said }))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(error) if error.is_passing() => {
                let step = self.failed()?;
                let is_news = !std::mem::replace(&mut self.said_lost, true);
                Ok(if is_news {
                    Some(Followed::Lost(error))
                } else {
                    step
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits before the next try.
    fn failed(&mut self) -> Result<Option<Followed>, ClientError> {
        self.failures = self.failures.saturating_add(1);
        let pause = backoff::delay(self.failures, fastrand::f64());
        if self.cancel.wait(pause) {
            return Err(ClientError::Cancelled);
        }
        Ok(None)
    }
}
