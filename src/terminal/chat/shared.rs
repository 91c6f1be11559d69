//! What the threads of a conversation share.

use std::io::Stdout;
use std::sync::{Mutex, MutexGuard};

use crate::base::lock::lock;
use crate::client::{ApiClient, ClientError, ServerGeneration};
use crate::domain::ids::SessionId;
use crate::terminal::board::Board;
use crate::terminal::clean::clean;
use crate::terminal::older::Older;
use crate::terminal::paint::Tone;
use crate::terminal::screen::Screen;

/// What the threads of a conversation share.
pub(super) struct ChatShared {
    pub(super) client: ApiClient,
    pub(super) session: SessionId,
    pub(super) board: Board,
    pub(super) screen: Mutex<Screen<Stdout>>,
    /// Why no more events come, if it is not that the session is over; set before the board's end.
    pub(super) failure: Mutex<Option<ClientError>>,
    /// The last message that could not be delivered.
    pub(super) undelivered: Mutex<Option<TypedMessage>>,
    /// The state of a conversation with a server that came before; `None` with one of today.
    pub(super) older: Option<Older>,
}

impl ChatShared {
    pub(super) fn new(
        client: ApiClient,
        generation: ServerGeneration,
        session: SessionId,
        board: Board,
        screen: Screen<Stdout>,
    ) -> ChatShared {
        ChatShared {
            client,
            session,
            board,
            screen: Mutex::new(screen),
            failure: Mutex::new(None),
            undelivered: Mutex::new(None),
            older: match generation {
                ServerGeneration::Current => None,
                ServerGeneration::Older => Some(Older::default()),
            },
        }
    }

    /// The age of the server when the conversation began.
    pub(super) fn generation(&self) -> ServerGeneration {
        match self.older {
            None => ServerGeneration::Current,
            Some(_) => ServerGeneration::Older,
        }
    }

    pub(super) fn screen(&self) -> MutexGuard<'_, Screen<Stdout>> {
        lock(&self.screen)
    }

    pub(super) fn say(&self, tone: Tone, text: &str) {
        // A terminal that is gone ends the keyboard's thread, which ends the others.
        if let Err(error) = self.screen().lines(tone, text) {
            log::debug!("cannot write to the terminal: {error}");
        }
    }

    pub(super) fn complain(&self, error: &ClientError) {
        self.say(Tone::Alarm, &clean(&error.in_full()));
        if let Some(hint) = error.hint() {
            self.say(Tone::Dim, &clean(&format!("hint: {hint}")));
        }
    }
}

/// A message as it was typed, and the key that keeps it from being stored twice.
#[derive(Debug, Clone)]
pub(super) struct TypedMessage {
    pub(super) text: String,
    pub(super) key: String,
}
