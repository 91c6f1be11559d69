//! A message on its way.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::client::{CancelHandle, ClientError, Tries};
use crate::domain::event::Attachment;
use crate::terminal::attached::{self, Places};
use crate::terminal::chat::events::show;
use crate::terminal::chat::shared::{ChatShared, TypedMessage};
use crate::terminal::clean::clean;
use crate::terminal::paint::Tone;
use crate::terminal::transcript::Transcript;
use crate::wire::SessionEvent;

/// About half a minute: a server that restarts is back by then.
const FAILURES_MAX: u32 = 12;

/// A message on its way, until its turn has ended.
pub(super) struct MessageDelivery<'a> {
    shared: &'a ChatShared,
    cancel: &'a CancelHandle,
    /// The same for every try, so that it is stored once.
    message: TypedMessage,
    /// What is said, and the files that were brought for it.
    outgoing: Option<(String, Vec<Attachment>)>,
    is_named: bool,
    /// A try was made that may have reached the server.
    was_sent: bool,
    tries: Tries,
    /// Since when there has been no server to talk to.
    away_since: Option<Instant>,
}

impl<'a> MessageDelivery<'a> {
    pub(super) fn new(
        shared: &'a ChatShared,
        cancel: &'a CancelHandle,
        message: TypedMessage,
    ) -> MessageDelivery<'a> {
        MessageDelivery {
            shared,
            cancel,
            message,
            outgoing: None,
            is_named: false,
            was_sent: false,
            tries: Tries::new(FAILURES_MAX),
            away_since: None,
        }
    }

    pub(super) fn run(mut self) {
        /// The other connection carries the same events at the same time.
        const SHOWN_LIMIT: Duration = Duration::from_secs(2);
        if let Some(older) = &self.shared.older {
            older.begin_stream(self.cancel);
        }
        let outcome = self.until_the_turn_ends();
        if let Some(older) = &self.shared.older {
            older.end_stream();
        }
        if !self.is_named {
            self.shared.board.name_send(None);
        }
        match outcome {
            Ok(_) if self.shared.older.is_some() => {}
            Ok(end_id) => self.shared.board.wait_for_end(&end_id, SHOWN_LIMIT),
            Err(ClientError::Cancelled) => self.give_back(),
            Err(error) => self.give_up(&error),
        }
        self.shared.board.end_send();
    }

    /// Says why, and gives the message back to whoever typed it, unless the server has it.
    fn give_up(&self, error: &ClientError) {
        self.shared.complain(error);
        let note = match (self.is_named, &self.shared.older) {
            (true, None) => "(your message is stored; the reply is shown when the server is back)",
            (true, Some(_)) => "(your message is stored; attach again to see what came of it)",
            (false, None) => "(your message stands at the prompt again: Enter sends it, once)",
            (false, Some(_)) => {
                "(your message may have arrived; it stands at the prompt, and Enter sends it once more)"
            }
        };
        self.shared.say(Tone::Dim, note);
        self.give_back();
    }

    /// What nobody has heard of stands at the next prompt.
    fn give_back(&self) {
        if !self.is_named {
            *lock(&self.shared.undelivered) = Some(self.message.clone());
        }
    }

    /// Tries again while the server is away; returns the id of the turn's end.
    fn until_the_turn_ends(&mut self) -> Result<String, ClientError> {
        /// Whoever has typed something wants to know within three seconds that nobody heard it.
        const AWAY_LIMIT: Duration = Duration::from_millis(2500);
        self.shared.client.wake();
        loop {
            let outcome = self.one_try();
            let pause = match &outcome {
                Err(error) => self.tries.failed(error),
                Ok(_) => None,
            };
            let Some(pause) = pause else {
                return outcome;
            };
            match &outcome {
                Err(error) if error.is_away() => {
                    let since = *self.away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() + pause > AWAY_LIMIT {
                        return outcome;
                    }
                }
                _ => self.away_since = None,
            }
            if self.cancel.wait(pause) {
                return Err(ClientError::Cancelled);
            }
        }
    }

    /// Brings the files that the message names, each try anew until all are there: what is there already takes no
    /// more room.
    fn bring_files(&self) -> Result<(String, Vec<Attachment>), ClientError> {
        let here = env::current_dir().unwrap_or_default();
        let home = env::var_os("HOME").map(PathBuf::from);
        let places = Places {
            here: &here,
            home: home.as_deref(),
        };
        let typed = attached::read(&self.message.text, places);
        let shared = self.shared;
        let files = typed.files.iter();
        let files = files.map(|path| shared.client.add_file(self.cancel, &shared.session, path));
        let files = files.collect::<Result<Vec<Attachment>, _>>()?;
        for file in &files {
            shared.say(Tone::Dim, &clean(&format!("  + {}", file.described())));
        }
        Ok((typed.content, files))
    }

    fn one_try(&mut self) -> Result<String, ClientError> {
        let shared = self.shared;
        let (text, files) = match self.outgoing.take() {
            Some(outgoing) => outgoing,
            None => self.bring_files()?,
        };
        let (text, files) = &*self.outgoing.insert((text, files));
        if std::mem::replace(&mut self.was_sent, true) {
            shared.client.may_repeat(shared.generation())?;
        }
        let mut stream =
            shared
                .client
                .stream(self.cancel, &shared.session, text, files, &self.message.key)?;
        let mut transcript = Transcript::default();
        let mut is_asked = false;
        while let Some(received) = stream.next_event()? {
            self.tries.note(&received.event);
            if let Some(older) = &shared.older {
                older.note(&received.event);
                is_asked = matches!(received.event, SessionEvent::ApprovalRequired(_));
                show(shared, &mut transcript, &received);
            }
            let name = match &received.event {
                SessionEvent::Start(message) => Some(message.message_id.as_str()),
                // One of before may not begin with it.
                _ => shared.older.as_ref().map(|_| ""),
            };
            if let Some(name) = name
                && !std::mem::replace(&mut self.is_named, true)
            {
                shared.board.name_send(Some(name));
            }
            if received.event.ends_turn() {
                return Ok(received.id);
            }
        }
        // One of before may end its stream with a question.
        if is_asked {
            return Ok(String::new());
        }
        Err(ClientError::Closed)
    }
}
