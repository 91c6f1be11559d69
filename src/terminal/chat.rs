//! A conversation in a terminal: one connection shows everything that happens in the session,
//! messages go out beside it.
//!
//! Whoever leaves closes all connections, so that the session sees its client go: what follows
//! from that is the agent's `on_disconnect`.
//!
//! Threads: the caller's reads the keyboard; `events` shows what comes; a `send` per message or
//! decision that is under way, ended by its [`Cancel`]. All are joined before [`run`] returns.
//!
//! Lock order: the screen's lock and the board's are never held together.

use std::io::{self, PipeReader, Stdout};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustyline::error::ReadlineError;

use crate::base::lock::lock;
use crate::base::thread::{self, Joined};
use crate::client::Tries;
use crate::client::{Attaching, Followed, SessionFollower, StreamedEvent};
use crate::client::{Cancel, Client, ClientError, Generation, new_key};
use crate::domain::event::{ApprovalKind, Decision};
use crate::domain::ids::SessionId;
use crate::terminal::board::{Board, Next};
use crate::terminal::clean::clean;
use crate::terminal::keys::{AtPrompt, Begun, Keys, Waited};
use crate::terminal::older::{self, Older};
use crate::terminal::paint::{Paint, Tone};
use crate::terminal::prompt::{Input, Prompt};
use crate::terminal::screen::Screen;
use crate::terminal::transcript::Transcript;
use crate::terminal::watch::lost;
use crate::wire::{ApprovalBody, SessionEvent};

const HELP: &str = "/help    shows this
/cancel  stops the reply, as Ctrl+C does while it comes
/quit    leaves, as Ctrl+D does; the session stays
A line that ends with \\ goes on in the next one.";

/// How the conversation was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user went; the session stays.
    Detached,
    /// The session is over, or the server sent this client away for good.
    Ended,
}

/// Why a conversation could not be held.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The terminal refused.
    #[error("cannot use the terminal")]
    Terminal(#[from] io::Error),
    /// The line editor refused.
    #[error("cannot edit lines on this terminal")]
    Editor(#[from] ReadlineError),
    /// The events of the session cannot be had.
    #[error("the conversation cannot go on")]
    Server(#[from] ClientError),
}

/// Holds a conversation in `session` until the user leaves or the session ends. What is typed is
/// remembered in the file `typed_before`, if there is one.
pub fn run(
    client: Client,
    generation: Generation,
    session: SessionId,
    attaching: Attaching,
    typed_before: Option<&Path>,
) -> Result<Left, ChatError> {
    /// Long enough for a slow disk to read the history; then the prompt comes without it.
    const ATTACH_LIMIT: Duration = Duration::from_secs(5);
    let prompt = Prompt::new(typed_before)?;
    let keys = Keys::take()?;
    let paint = Paint::for_stream(&io::stdout());
    let (wake_rx, wake_tx) = io::pipe()?;
    let room = Arc::new(Room {
        client,
        session,
        board: Board::new(wake_tx),
        screen: Mutex::new(Screen::new(io::stdout(), paint)),
        failure: Mutex::new(None),
        undelivered: Mutex::new(None),
        older: match generation {
            Generation::Current => None,
            Generation::Older => Some(Older::default()),
        },
    });
    let mut jobs = Jobs::default();
    jobs.start("events", &room, move |room, cancel| match &room.older {
        None => show_events(room, attaching, cancel),
        Some(_) => show_beginning(room, attaching.history),
    })?;
    room.board.wait_until_attached(ATTACH_LIMIT);
    let keyboard = Keyboard {
        room,
        prompt,
        keys,
        jobs,
        wake: wake_rx,
        interrupts: 0,
        again: None,
    };
    keyboard.run()
}

/// What the threads of a conversation share.
struct Room {
    client: Client,
    session: SessionId,
    board: Board,
    screen: Mutex<Screen<Stdout>>,
    /// Why no more events come, if it is not that the session is over; set before the board's end.
    failure: Mutex<Option<ClientError>>,
    /// What was typed last and could not be delivered.
    undelivered: Mutex<Option<Message>>,
    /// What a server of before is spoken with.
    older: Option<Older>,
}

impl Room {
    /// What the server was when the conversation began.
    fn generation(&self) -> Generation {
        match self.older {
            None => Generation::Current,
            Some(_) => Generation::Older,
        }
    }
}

/// What a user typed, and the key that keeps it from being stored twice.
#[derive(Debug, Clone)]
struct Message {
    text: String,
    key: String,
}

impl Room {
    fn screen(&self) -> MutexGuard<'_, Screen<Stdout>> {
        lock(&self.screen)
    }

    fn say(&self, tone: Tone, text: &str) {
        // A terminal that is gone ends the keyboard's thread, which ends the others.
        if let Err(error) = self.screen().lines(tone, text) {
            log::debug!("cannot write to the terminal: {error}");
        }
    }

    fn complain(&self, error: &ClientError) {
        self.say(Tone::Alarm, &clean(&error.in_full()));
        if let Some(hint) = error.hint() {
            self.say(Tone::Dim, &clean(&format!("hint: {hint}")));
        }
    }
}

/// The threads beside the keyboard's. Dropping them ends their calls and waits for them.
#[derive(Default)]
struct Jobs(Vec<Job>);

struct Job {
    cancel: Cancel,
    // Joined when dropped, after the cancel of `Jobs::drop`.
    thread: Joined,
}

impl Jobs {
    fn start(
        &mut self,
        name: &str,
        room: &Arc<Room>,
        body: impl FnOnce(&Room, &Cancel) + Send + 'static,
    ) -> io::Result<()> {
        self.0.retain(|job| !job.thread.is_finished());
        let cancel = Cancel::default();
        let (room, own) = (Arc::clone(room), cancel.clone());
        let thread = thread::spawn(name, thread::STACK_WORK, move || body(&room, &own))?;
        self.0.push(Job { cancel, thread });
        Ok(())
    }

    /// Ends those of that name, and waits for them.
    fn give_up(&mut self, name: &str) {
        let is_named = |job: &mut Job| job.thread.name() == name;
        let given_up: Vec<Job> = self.0.extract_if(.., is_named).collect();
        drop(Jobs(given_up));
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for job in &self.0 {
            job.cancel.cancel();
        }
    }
}

/// Shows what happens in the session until it ends or `cancel`.
fn show_events(room: &Room, attaching: Attaching, cancel: &Cancel) {
    let (client, session) = (room.client.clone(), room.session.clone());
    let mut follower = SessionFollower::new(client, session, attaching, cancel.clone());
    let mut transcript = Transcript::default();
    loop {
        let step = follower.next_step();
        if let Some(news) = room.client.news() {
            room.say(Tone::Dim, &clean(&news));
        }
        match step {
            Ok(Followed::Event(received)) => show(room, &mut transcript, &received),
            Ok(Followed::Lost(error)) => room.say(Tone::Dim, &clean(&lost(&error))),
            Ok(Followed::Back { was_said: true }) => room.say(Tone::Dim, "reconnected"),
            Ok(Followed::Back { was_said: false }) => {}
            Ok(Followed::Ended) => break,
            Err(ClientError::Cancelled) => return,
            Err(error) => {
                *lock(&room.failure) = Some(error);
                break;
            }
        }
    }
    room.board.end();
}

/// Shows what was said before, which is all that a server of before can be asked for.
fn show_beginning(room: &Room, history: usize) {
    match older::attached(&room.client, &room.session, history) {
        Ok(event) => show_own(room, &mut Transcript::default(), event),
        Err(error) => {
            *lock(&room.failure) = Some(error);
            room.board.end();
        }
    }
}

/// Shows what a server of before gave no id.
fn show_own(room: &Room, transcript: &mut Transcript, event: SessionEvent) {
    let id = String::new();
    show(room, transcript, &StreamedEvent { event, id });
}

fn show(room: &Room, transcript: &mut Transcript, received: &StreamedEvent) {
    /// The name of a message comes as soon as it is stored, on another connection.
    const NAME_LIMIT: Duration = Duration::from_secs(5);
    let is_mine = match &received.event {
        SessionEvent::UserMessage(message) => room.board.is_own(&message.message_id, NAME_LIMIT),
        _ => false,
    };
    let pieces = transcript.show(&received.event, is_mine);
    if let Err(error) = room.screen().show(&pieces) {
        log::debug!("cannot write to the terminal: {error}");
    }
    room.board.note(&received.event, &received.id);
}

/// A message on its way, until its turn has ended.
struct Delivery<'a> {
    room: &'a Room,
    cancel: &'a Cancel,
    /// The same for every try, so that it is stored once.
    message: Message,
    is_named: bool,
    /// Whether a try was made that may have reached the server.
    was_sent: bool,
    tries: Tries,
    /// Since when there has been no server to talk to.
    away_since: Option<Instant>,
}

/// About half a minute: a server that restarts is back by then.
const FAILURES_MAX: u32 = 12;

impl Delivery<'_> {
    fn run(mut self) {
        /// The other connection carries the same events at the same time.
        const SHOWN_LIMIT: Duration = Duration::from_secs(2);
        if let Some(older) = &self.room.older {
            older.begin_stream(self.cancel);
        }
        let outcome = self.until_the_turn_ends();
        if let Some(older) = &self.room.older {
            older.end_stream();
        }
        if !self.is_named {
            self.room.board.name_send(None);
        }
        match outcome {
            Ok(_) if self.room.older.is_some() => {}
            Ok(end_id) => self.room.board.wait_for_end(&end_id, SHOWN_LIMIT),
            Err(ClientError::Cancelled) => self.give_back(),
            Err(error) => self.give_up(&error),
        }
        self.room.board.end_send();
    }

    /// Says why, and gives the message back to whoever typed it, unless the server has it.
    fn give_up(&self, error: &ClientError) {
        self.room.complain(error);
        let note = match (self.is_named, &self.room.older) {
            (true, None) => "(your message is stored; the reply is shown when the server is back)",
            (true, Some(_)) => "(your message is stored; attach again to see what came of it)",
            (false, None) => "(your message stands at the prompt again: Enter sends it, once)",
            (false, Some(_)) => {
                "(your message may have arrived; it stands at the prompt, and Enter sends it once more)"
            }
        };
        self.room.say(Tone::Dim, note);
        self.give_back();
    }

    /// What nobody has heard of stands at the next prompt.
    fn give_back(&self) {
        if !self.is_named {
            *lock(&self.room.undelivered) = Some(self.message.clone());
        }
    }

    /// Tries again while the server is away; returns the id of the turn's end.
    fn until_the_turn_ends(&mut self) -> Result<String, ClientError> {
        /// Whoever has typed something wants to know within three seconds that nobody heard it.
        const AWAY_LIMIT: Duration = Duration::from_millis(2500);
        self.room.client.wake();
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

    fn one_try(&mut self) -> Result<String, ClientError> {
        let room = self.room;
        if std::mem::replace(&mut self.was_sent, true) {
            room.client.may_repeat(room.generation())?;
        }
        let Message { text, key } = &self.message;
        let mut stream = room.client.stream(self.cancel, &room.session, text, key)?;
        let mut transcript = Transcript::default();
        let mut is_asked = false;
        while let Some(received) = stream.next_event()? {
            self.tries.note(&received.event);
            if let Some(older) = &room.older {
                older.note(&received.event);
                is_asked = matches!(received.event, SessionEvent::ApprovalRequired(_));
                show(room, &mut transcript, &received);
            }
            let name = match &received.event {
                SessionEvent::Start(message) => Some(message.message_id.as_str()),
                // One of before may not begin with it.
                _ => room.older.as_ref().map(|_| ""),
            };
            if let Some(name) = name
                && !std::mem::replace(&mut self.is_named, true)
            {
                room.board.name_send(Some(name));
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

/// Whoever reads the keyboard, and decides by it.
struct Keyboard {
    room: Arc<Room>,
    prompt: Prompt,
    keys: Keys,
    jobs: Jobs,
    wake: PipeReader,
    /// Ctrl+C in a row at the prompt.
    interrupts: u32,
    /// A message that stands at the prompt again. Sent unchanged it keeps its key: the server may
    /// have it already.
    again: Option<Message>,
}

/// Whether the user stays.
enum Stay {
    Yes,
    No,
}

impl Keyboard {
    fn run(mut self) -> Result<Left, ChatError> {
        let mut before = None;
        loop {
            let next = self.room.board.next();
            // What is there before the question is no answer to it.
            if matches!(next, Next::Ask(_)) && before.as_ref() != Some(&next) {
                self.keys.keep_typed()?;
            }
            let stay = match &next {
                Next::Over => return self.over(),
                Next::Follow => self.follow()?,
                Next::Ask(asked) => self.ask(asked)?,
                Next::Prompt => self.ask_for_a_message()?,
            };
            before = Some(next);
            if matches!(stay, Stay::No) {
                return Ok(Left::Detached);
            }
        }
    }

    fn over(self) -> Result<Left, ChatError> {
        match lock(&self.room.failure).take() {
            Some(error) => Err(error.into()),
            None => Ok(Left::Ended),
        }
    }

    /// Lets the reply be shown until it ends.
    fn follow(&mut self) -> Result<Stay, ChatError> {
        let mut cancels = 0;
        while self.room.board.next() == Next::Follow {
            match self.keys.wait(&mut self.wake)? {
                Waited::Woken => {}
                Waited::Leave => return Ok(Stay::No),
                Waited::Cancel if cancels == 0 => {
                    cancels += 1;
                    self.cancel_turn()?;
                }
                Waited::Cancel => self.stop_waiting(),
            }
        }
        Ok(Stay::Yes)
    }

    /// Back to the prompt, though the server has not done what was asked.
    fn stop_waiting(&mut self) {
        self.jobs.give_up("send");
        self.room.board.set_followed(false);
        let note = "(no longer waiting; the turn may go on)";
        self.room.say(Tone::Dim, note);
    }

    fn ask_for_a_message(&mut self) -> Result<Stay, ChatError> {
        let text = match self.read("> ", &Next::Prompt)? {
            Some(Input::Text(text)) => text,
            Some(Input::Interrupt) => return self.interrupted(),
            Some(Input::End) => return Ok(Stay::No),
            None => return Ok(Stay::Yes),
        };
        match text.trim() {
            // Whoever presses Enter while others' replies come wants to see them as they come.
            "" => self.room.board.set_followed(true),
            "/help" => self.room.say(Tone::Dim, HELP),
            "/quit" => return Ok(Stay::No),
            "/cancel" => self.cancel_turn()?,
            other if is_unknown_command(other) => {
                let note = format!("{} is not a command; see /help", clean(other));
                self.room.say(Tone::Dim, &note);
            }
            _ => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Lets the user answer an approval; anything but an answer is a message.
    fn ask(&mut self, asked: &ApprovalBody) -> Result<Stay, ChatError> {
        let text = match self.read_answer(&Next::Ask(asked.clone()))? {
            Some(Input::Text(text)) => text,
            Some(Input::Interrupt) => return self.interrupted(),
            Some(Input::End) => return Ok(Stay::No),
            None => return Ok(Stay::Yes),
        };
        // Lines can only have been pasted.
        let decided = decision(asked.kind, text.trim()).filter(|_| !text.contains('\n'));
        match (decided, text.trim()) {
            (Some(decision), _) => self.decide(asked.clone(), decision)?,
            (None, "/quit") => return Ok(Stay::No),
            (None, "/cancel") => self.cancel_turn()?,
            (None, other) if other.is_empty() || other.starts_with('/') => {
                let letters = match asked.kind {
                    ApprovalKind::Policy => "y, a or n",
                    ApprovalKind::Uncertain => "r, s or w",
                };
                let note = format!("answer with {letters}; Ctrl+D leaves the question open");
                self.room.say(Tone::Dim, &note);
            }
            (None, _) => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Reads the answer to a question; `None` when there is something else to do than `now`. What was
    /// typed before the question was there is no answer: it is kept for the next message. Nor is
    /// what is pasted.
    fn read_answer(&mut self, now: &Next) -> Result<Option<Input>, ChatError> {
        const LABEL: &str = "? ";
        self.keys.mark_pastes()?;
        if !self.wait_for_a_key(LABEL, now)? {
            return Ok(None);
        }
        let begun = match self.keys.begin_answer()? {
            Begun::Entered(text) => {
                self.room.say(Tone::Dim, &format!("{LABEL}{text}"));
                return Ok(Some(Input::Text(text)));
            }
            Begun::Pasted => {
                let note = "what is pasted answers nothing: type the letter";
                self.room.say(Tone::Dim, note);
                return Ok(None);
            }
            Begun::Cancel => return Ok(Some(Input::Interrupt)),
            Begun::Leave => return Ok(Some(Input::End)),
            Begun::Typed(text) => text,
        };
        self.room.screen().edit()?;
        let input = self.prompt.read(LABEL, &begun);
        self.room.screen().free()?;
        Ok(Some(input?))
    }

    /// Reads one entry; `None` when there is something else to do than `now` before the user has
    /// begun to type.
    fn read(&mut self, label: &str, now: &Next) -> Result<Option<Input>, ChatError> {
        let typed = self.already_typed(now);
        // Else the first line of several would be all that is sent.
        self.keys.mark_pastes()?;
        if typed.is_empty() && !self.wait_for_a_key(label, now)? {
            return Ok(None);
        }
        self.room.screen().edit()?;
        let input = self.prompt.read(label, &typed);
        // A question that came meanwhile is not shown before now: what is there already is no answer.
        if matches!(self.room.board.next(), Next::Ask(_)) {
            self.keys.keep_typed()?;
        }
        self.room.screen().free()?;
        let input = input?;
        if let Input::Text(text) = &input {
            self.interrupts = 0;
            if !text.trim().is_empty() {
                self.prompt.remember(text);
            }
        }
        Ok(Some(input))
    }

    /// What stands at the next prompt: a message that comes back, and what was typed beside. It
    /// comes back as a message only, and never as the answer to a question.
    fn already_typed(&mut self, now: &Next) -> String {
        let mut typed = self.keys.take_typed();
        self.again = None;
        if *now == Next::Prompt
            && let Some(message) = lock(&self.room.undelivered).take()
        {
            typed.insert_str(0, &message.text);
            self.again = Some(message);
        }
        typed
    }

    /// Shows a prompt until a key is pressed; `false` when there is something else to do first.
    fn wait_for_a_key(&mut self, label: &str, now: &Next) -> Result<bool, ChatError> {
        self.room.screen().wait_at(label)?;
        let has_key = loop {
            if self.room.board.next() != *now {
                break false;
            }
            if self.keys.wait_at_prompt(&mut self.wake)? == AtPrompt::Key {
                // Both may have come: the key is for what there is now.
                break self.room.board.next() == *now;
            }
        };
        self.room.screen().free()?;
        Ok(has_key)
    }

    fn interrupted(&mut self) -> Result<Stay, ChatError> {
        self.interrupts += 1;
        if self.room.board.is_working() {
            self.cancel_turn()?;
        } else if self.interrupts > 1 {
            self.room.say(Tone::Dim, "Ctrl+D leaves; the session stays");
        }
        Ok(Stay::Yes)
    }

    fn send(&mut self, text: String) -> Result<(), ChatError> {
        let again = self.again.take().filter(|message| message.text == text);
        let message = again.unwrap_or_else(|| Message {
            text,
            key: new_key(),
        });
        self.room.board.begin_send();
        self.jobs.start("send", &self.room, |room, cancel| {
            let delivery = Delivery {
                room,
                cancel,
                message,
                is_named: false,
                was_sent: false,
                tries: Tries::new(FAILURES_MAX),
                away_since: None,
            };
            delivery.run();
        })?;
        Ok(())
    }

    fn decide(&mut self, asked: ApprovalBody, decision: Decision) -> Result<(), ChatError> {
        self.room.board.answered(&asked);
        if let Some(older) = &self.room.older {
            older.decide();
        }
        self.jobs.start("send", &self.room, move |room, cancel| {
            let answer = room.client.approve(cancel, &room.session, &asked, decision);
            match answer {
                Ok(approved) => {
                    let older = room.older.as_ref();
                    let rest = older.map(|older| older.rest(approved, cancel));
                    let mut transcript = Transcript::default();
                    for event in rest.unwrap_or_default() {
                        show_own(room, &mut transcript, event);
                    }
                }
                Err(ClientError::Cancelled) => {}
                Err(error) => {
                    room.complain(&error);
                    match error.status() {
                        // Somebody else was quicker, or it no longer waits.
                        Some(400 | 404 | 409 | 410) => room.board.set_followed(false),
                        _ => room.board.ask_again(asked),
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Asks the server to stop the turn; the events say when it has.
    fn cancel_turn(&mut self) -> Result<(), ChatError> {
        self.jobs.start("cancel", &self.room, |room, cancel| {
            match room.client.cancel_turn(cancel, &room.session) {
                Ok(_) | Err(ClientError::Cancelled) => {}
                Err(error) => {
                    room.complain(&error);
                    if room.older.as_ref().is_some_and(Older::cut_stream) {
                        let note = "(no longer waiting; the reply goes on at the server)";
                        room.say(Tone::Dim, note);
                        room.board.set_followed(false);
                    }
                }
            }
        })?;
        Ok(())
    }
}

/// A word like `/exit`; a path or a longer text is a message.
fn is_unknown_command(text: &str) -> bool {
    text.strip_prefix('/')
        .is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The decision that an answer stands for.
fn decision(kind: ApprovalKind, answer: &str) -> Option<Decision> {
    let answer = answer.to_lowercase();
    match (kind, answer.as_str()) {
        (ApprovalKind::Policy, "y" | "yes" | "once") => Some(Decision::AllowOnce),
        (ApprovalKind::Policy, "a" | "always") => Some(Decision::AllowAlways),
        (ApprovalKind::Policy, "n" | "no" | "deny") => Some(Decision::Deny),
        (ApprovalKind::Uncertain, "r" | "retry") => Some(Decision::Retry),
        (ApprovalKind::Uncertain, "s" | "skip") => Some(Decision::Skip),
        (ApprovalKind::Uncertain, "w" | "worked") => Some(Decision::Worked),
        (ApprovalKind::Policy | ApprovalKind::Uncertain, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_for_its_kind_of_question() {
        use ApprovalKind::{Policy, Uncertain};
        for (kind, answer, expected) in [
            (Policy, "y", Some(Decision::AllowOnce)),
            (Policy, "A", Some(Decision::AllowAlways)),
            (Policy, "no", Some(Decision::Deny)),
            (Policy, "r", None),
            (Policy, "yes, but why?", None),
            (Policy, "", None),
            (Uncertain, "r", Some(Decision::Retry)),
            (Uncertain, "s", Some(Decision::Skip)),
            (Uncertain, "worked", Some(Decision::Worked)),
            (Uncertain, "y", None),
        ] {
            assert_eq!(decision(kind, answer), expected, "{kind:?} {answer:?}");
        }
    }

    #[test]
    fn a_path_is_a_message_and_a_mistyped_command_is_not() {
        assert!(is_unknown_command("/exit"));
        assert!(!is_unknown_command("/etc/passwd"));
        assert!(!is_unknown_command("/exit now?"));
        assert!(!is_unknown_command("/"));
    }
}
