//! Shows what happens in the session.

use std::time::Duration;

use crate::base::lock::lock;
use crate::client::{
    Attaching, CancelHandle, ClientError, Followed, SessionFollower, StreamedEvent,
};
use crate::terminal::chat::shared::ChatShared;
use crate::terminal::clean::clean;
use crate::terminal::older;
use crate::terminal::paint::Tone;
use crate::terminal::transcript::Transcript;
use crate::terminal::watch::lost;
use crate::wire::SessionEvent;

/// Shows what happens in the session until it ends or `cancel`.
pub(super) fn show_events(shared: &ChatShared, attaching: Attaching, cancel: &CancelHandle) {
    let (client, session) = (shared.client.clone(), shared.session.clone());
    let mut follower = SessionFollower::new(client, session, attaching, cancel.clone());
    let mut transcript = Transcript::default();
    loop {
        let step = follower.next_step();
        if let Some(news) = shared.client.news() {
            shared.say(Tone::Dim, &clean(&news));
        }
        match step {
            Ok(Followed::Event(received)) => show(shared, &mut transcript, &received),
            Ok(Followed::Lost(error)) => shared.say(Tone::Dim, &clean(&lost(&error))),
            Ok(Followed::Back { was_said: true }) => shared.say(Tone::Dim, "reconnected"),
            Ok(Followed::Back { was_said: false }) => {}
            Ok(Followed::Ended) => break,
            Err(ClientError::Cancelled) => return,
            Err(error) => {
                *lock(&shared.failure) = Some(error);
                break;
            }
        }
    }
    shared.board.end();
}

/// Shows what was said before, which is all that a server of before can be asked for.
pub(super) fn show_beginning(shared: &ChatShared, history: usize) {
    match older::attached(&shared.client, &shared.session, history) {
        Ok(event) => show_own(shared, &mut Transcript::default(), event),
        Err(error) => {
            *lock(&shared.failure) = Some(error);
            shared.board.end();
        }
    }
}

/// Shows what a server of before gave no id.
pub(super) fn show_own(shared: &ChatShared, transcript: &mut Transcript, event: SessionEvent) {
    let id = String::new();
    show(shared, transcript, &StreamedEvent { event, id });
}

pub(super) fn show(shared: &ChatShared, transcript: &mut Transcript, received: &StreamedEvent) {
    /// The name of a message comes as soon as it is stored, on another connection.
    const NAME_LIMIT: Duration = Duration::from_secs(5);
    let is_mine = match &received.event {
        SessionEvent::UserMessage(message) => shared.board.is_own(&message.message_id, NAME_LIMIT),
        _ => false,
    };
    let pieces = transcript.show(&received.event, is_mine);
    if let Err(error) = shared.screen().show(&pieces) {
        log::debug!("cannot write to the terminal: {error}");
    }
    shared.board.note(&received.event, &received.id);
}
