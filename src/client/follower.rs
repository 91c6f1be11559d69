//! Following the events of a session, and coming back to them after the connection was lost.

use crate::client::api::{ApiClient, Attaching};
use crate::client::backoff;
use crate::client::cancel::CancelHandle;
use crate::client::error::ClientError;
use crate::client::{EventStream, StreamedEvent};
use crate::domain::ids::SessionId;

/// A step of a [`SessionFollower`].
#[derive(Debug)]
pub enum Followed {
    /// An event.
    Event(StreamedEvent),
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

/// Follows the events of a session for as long as there are any, over lost connections.
#[derive(Debug)]
pub struct SessionFollower {
    client: ApiClient,
    session: SessionId,
    attaching: Attaching,
    cancel: CancelHandle,
    stream: Option<EventStream>,
    /// Where to go on.
    last_id: Option<String>,
    /// Connections that failed since the last event.
    failures: u32,
    said_lost: bool,
    ended: bool,
}

impl SessionFollower {
    /// Follows `session` until `cancel`.
    pub fn new(
        client: ApiClient,
        session: SessionId,
        attaching: Attaching,
        cancel: CancelHandle,
    ) -> SessionFollower {
        SessionFollower {
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

    fn note(&mut self, received: StreamedEvent) -> Followed {
        self.failures = 0;
        if !received.id.is_empty() {
            // Once a token: the room of the last one is used again.
            self.last_id
                .get_or_insert_default()
                .clone_from(&received.id);
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
