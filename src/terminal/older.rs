//! A conversation with a server that came before this program (version 0.5).
//!
//! Its events have no ids, and it may not let anybody watch a session. So no connection shows what happens:
//! the stream of each message shows its own reply, and the answer to a decision brings what follows it where
//! that stream has ended. What others say is seen when one comes back.
//!
//! Invariant: of a reply that comes both by its stream and with the answer to a decision, one is shown.

use std::sync::Mutex;
use std::time::Duration;

use crate::base::lock::lock;
use crate::client::{ApiClient, CancelHandle, ClientError};
use crate::domain::ids::SessionId;
use crate::wire::{AttachedEvent, DecidedBody, DoneEvent, SessionEvent, TokenEvent};

/// Said once, when a conversation with such a server begins.
pub const WHAT_IS_MISSING: &str = "the server is older than this program (0.5, or something hides its /readyz): a \
     reply that breaks off is not taken up again, nothing is sent twice by itself, and what others say \
     shows when you come back";

/// What the threads of such a conversation share.
#[derive(Debug, Default)]
pub(super) struct Older(Mutex<OlderState>);

#[derive(Debug, Default)]
struct OlderState {
    /// The stream that shows a reply now.
    stream: Option<CancelHandle>,
    /// It has shown something since the last decision.
    has_shown: bool,
    /// The last call that it has asked about.
    asked: Option<String>,
}

impl Older {
    /// A message goes out, whose stream `cancel` ends.
    pub(super) fn begin_stream(&self, cancel: &CancelHandle) {
        lock(&self.0).stream = Some(cancel.clone());
    }

    /// Its stream is over.
    pub(super) fn end_stream(&self) {
        lock(&self.0).stream = None;
    }

    /// Notes what a stream has shown.
    pub(super) fn note(&self, event: &SessionEvent) {
        let mut state = lock(&self.0);
        state.has_shown |= matches!(event, SessionEvent::Token(_)) || event.ends_turn();
        if let SessionEvent::ApprovalRequired(asked) = event {
            state.asked = Some(asked.call_id.clone());
        }
    }

    /// Somebody decides here.
    pub(super) fn decide(&self) {
        lock(&self.0).has_shown = false;
    }

    /// Ends the stream; whether there was one.
    pub(super) fn cut_stream(&self) -> bool {
        let stream = lock(&self.0).stream.take();
        stream.is_some_and(|stream| {
            stream.cancel();
            true
        })
    }

    /// The events that the answer to a decision stands for, but those that the stream has shown.
    pub(super) fn rest(&self, decided: DecidedBody, cancel: &CancelHandle) -> Vec<SessionEvent> {
        let acknowledges = match &decided {
            DecidedBody::Complete { content, .. } => content.is_empty(),
            DecidedBody::Working { .. } => true,
            DecidedBody::PendingApproval(_) => false,
        };
        if acknowledges {
            return self.end_of_silence();
        }
        self.give_stream_time(cancel);
        let state = lock(&self.0);
        if cancel.is_cancelled() {
            return Vec::new();
        }
        match decided {
            DecidedBody::PendingApproval(asked) if state.asked.as_ref() != Some(&asked.call_id) => {
                vec![SessionEvent::ApprovalRequired(asked)]
            }
            DecidedBody::Complete { content, .. } if !state.has_shown => {
                let token = TokenEvent {
                    content,
                    ..TokenEvent::default()
                };
                vec![SessionEvent::Token(token), done()]
            }
            DecidedBody::PendingApproval(_)
            | DecidedBody::Complete { .. }
            | DecidedBody::Working { .. } => Vec::new(),
        }
    }

    /// A decision that is only acknowledged leaves what follows to the stream, where there is one.
    fn end_of_silence(&self) -> Vec<SessionEvent> {
        let state = lock(&self.0);
        if state.stream.is_some() || state.has_shown {
            return Vec::new();
        }
        vec![done()]
    }

    /// Lets the stream show what it brings of a turn that is over, and ends it.
    fn give_stream_time(&self, cancel: &CancelHandle) {
        /// The stream brings the same at the same time.
        const STREAM_LIMIT: Duration = Duration::from_secs(2);
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let mut looks = STREAM_LIMIT.as_millis() / LOOK_EVERY.as_millis();
        while lock(&self.0).stream.is_some() && looks > 0 && !cancel.wait(LOOK_EVERY) {
            looks -= 1;
        }
        self.cut_stream();
    }
}

fn done() -> SessionEvent {
    SessionEvent::Done(DoneEvent::default())
}

/// What stands in a session, as a newer server says it at the start of an attach.
pub(super) fn attached(
    client: &ApiClient,
    id: &SessionId,
    history: usize,
) -> Result<SessionEvent, ClientError> {
    let mut session = client.session(id)?;
    // Its end would never be seen here.
    session.working = None;
    // One that cannot tell of the past can be talked to all the same.
    let messages = client.messages(id, history).unwrap_or_default();
    Ok(SessionEvent::Session(Box::new(AttachedEvent {
        session,
        messages,
    })))
}
