//! A conversation in a terminal: one connection shows everything that happens in the session,
//! messages go out beside it.
//!
//! Whoever leaves closes all connections, so that the session sees its client go: what follows
//! from that is the agent's `on_disconnect`.
//!
//! Threads: the caller's reads the keyboard; `events` shows what comes; a `send` per message or
//! decision that is under way, ended by its [`CancelHandle`]. All are joined before [`run`] returns.
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
use crate::client::{ApiClient, CancelHandle, ClientError, ServerGeneration, new_key};
use crate::client::{Attaching, Followed, SessionFollower, StreamedEvent};
use crate::domain::event::{ApprovalKind, Decision};
use crate::domain::ids::SessionId;
use crate::terminal::board::{Board, Next};
use crate::terminal::clean::clean;
use crate::terminal::keys::{AtPrompt, Begun, KeyReader, Waited};
use crate::terminal::older::{self, Older};
use crate::terminal::paint::{Paint, Tone};
use crate::terminal::prompt::{Prompt, PromptInput};
use crate::terminal::screen::Screen;
use crate::terminal::transcript::Transcript;
use crate::terminal::watch::lost;
use crate::wire::{ApprovalBody, SessionEvent};

const HELP: &str = "/help    shows this
/cancel  stops the reply, as Ctrl+C does while it comes
/quit    leaves, as Ctrl+D does; the session stays
A line that ends with \\ goes on in the next one.";

/// The end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user went; the session stays.
    Detached,
    /// The session is over, or the server sent this client away for good.
    Ended,
}

/// A conversation that could not be held.
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
    client: ApiClient,
    generation: ServerGeneration,
    session: SessionId,
    attaching: Attaching,
    typed_before: Option<&Path>,
) -> Result<Left, ChatError> {
    /// Long enough for a slow disk to read the history; then the prompt comes without it.
    const ATTACH_LIMIT: Duration = Duration::from_secs(5);
    let prompt = Prompt::new(typed_before)?;
    let keys = KeyReader::take()?;
    let paint = Paint::for_stream(&io::stdout());
    let (wake_rx, wake_tx) = io::pipe()?;
    let screen = Screen::new(io::stdout(), paint);
    let shared = ChatShared::new(client, generation, session, Board::new(wake_tx), screen);
    let shared = Arc::new(shared);
    let mut threads = ChatThreads::default();
    threads.start("events", &shared, move |shared, cancel| {
        match &shared.older {
            None => show_events(shared, attaching, cancel),
            Some(_) => show_beginning(shared, attaching.history),
        }
    })?;
    shared.board.wait_until_attached(ATTACH_LIMIT);
    let keyboard = Keyboard {
        shared,
        prompt,
        keys,
        threads,
        wake: wake_rx,
        interrupts: 0,
        again: None,
    };
    keyboard.run()
}

/// What the threads of a conversation share.
struct ChatShared {
    client: ApiClient,
    session: SessionId,
    board: Board,
    screen: Mutex<Screen<Stdout>>,
    /// Why no more events come, if it is not that the session is over; set before the board's end.
    failure: Mutex<Option<ClientError>>,
    /// The last message that could not be delivered.
    undelivered: Mutex<Option<TypedMessage>>,
    /// The state of a conversation with a server that came before; `None` with one of today.
    older: Option<Older>,
}

impl ChatShared {
    fn new(
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
    fn generation(&self) -> ServerGeneration {
        match self.older {
            None => ServerGeneration::Current,
            Some(_) => ServerGeneration::Older,
        }
    }
}

/// A message as it was typed, and the key that keeps it from being stored twice.
#[derive(Debug, Clone)]
struct TypedMessage {
    text: String,
    key: String,
}

impl ChatShared {
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
struct ChatThreads(Vec<ChatThread>);

struct ChatThread {
    cancel: CancelHandle,
    // Joined when dropped, after the cancel of `ChatThreads::drop`.
    joined: Joined,
}

impl ChatThreads {
    fn start(
        &mut self,
        name: &str,
        shared: &Arc<ChatShared>,
        body: impl FnOnce(&ChatShared, &CancelHandle) + Send + 'static,
    ) -> io::Result<()> {
        self.0.retain(|thread| !thread.joined.is_finished());
        let cancel = CancelHandle::default();
        let (shared, own) = (Arc::clone(shared), cancel.clone());
        let joined = thread::spawn(name, thread::STACK_WORK, move || body(&shared, &own))?;
        self.0.push(ChatThread { cancel, joined });
        Ok(())
    }

    /// Ends those of that name, and waits for them.
    fn give_up(&mut self, name: &str) {
        let is_named = |thread: &mut ChatThread| thread.joined.name() == name;
        let given_up: Vec<ChatThread> = self.0.extract_if(.., is_named).collect();
        drop(ChatThreads(given_up));
    }
}

impl Drop for ChatThreads {
    fn drop(&mut self) {
        for thread in &self.0 {
            thread.cancel.cancel();
        }
    }
}

/// Shows what happens in the session until it ends or `cancel`.
fn show_events(shared: &ChatShared, attaching: Attaching, cancel: &CancelHandle) {
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
fn show_beginning(shared: &ChatShared, history: usize) {
    match older::attached(&shared.client, &shared.session, history) {
        Ok(event) => show_own(shared, &mut Transcript::default(), event),
        Err(error) => {
            *lock(&shared.failure) = Some(error);
            shared.board.end();
        }
    }
}

/// Shows what a server of before gave no id.
fn show_own(shared: &ChatShared, transcript: &mut Transcript, event: SessionEvent) {
    let id = String::new();
    show(shared, transcript, &StreamedEvent { event, id });
}

fn show(shared: &ChatShared, transcript: &mut Transcript, received: &StreamedEvent) {
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

/// A message on its way, until its turn has ended.
struct MessageDelivery<'a> {
    shared: &'a ChatShared,
    cancel: &'a CancelHandle,
    /// The same for every try, so that it is stored once.
    message: TypedMessage,
    is_named: bool,
    /// A try was made that may have reached the server.
    was_sent: bool,
    tries: Tries,
    /// Since when there has been no server to talk to.
    away_since: Option<Instant>,
}

/// About half a minute: a server that restarts is back by then.
const FAILURES_MAX: u32 = 12;

impl MessageDelivery<'_> {
    fn run(mut self) {
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

    fn one_try(&mut self) -> Result<String, ClientError> {
        let shared = self.shared;
        if std::mem::replace(&mut self.was_sent, true) {
            shared.client.may_repeat(shared.generation())?;
        }
        let TypedMessage { text, key } = &self.message;
        let mut stream = shared
            .client
            .stream(self.cancel, &shared.session, text, key)?;
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

/// Whoever reads the keyboard, and decides by it.
struct Keyboard {
    shared: Arc<ChatShared>,
    prompt: Prompt,
    keys: KeyReader,
    threads: ChatThreads,
    wake: PipeReader,
    /// Ctrl+C in a row at the prompt.
    interrupts: u32,
    /// A message that stands at the prompt again. Sent unchanged it keeps its key: the server may
    /// have it already.
    again: Option<TypedMessage>,
}

/// The user stays in the conversation, or leaves.
enum Stay {
    Yes,
    No,
}

impl Keyboard {
    fn run(mut self) -> Result<Left, ChatError> {
        let mut before = None;
        loop {
            let next = self.shared.board.next();
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
        match lock(&self.shared.failure).take() {
            Some(error) => Err(error.into()),
            None => Ok(Left::Ended),
        }
    }

    /// Lets the reply be shown until it ends.
    fn follow(&mut self) -> Result<Stay, ChatError> {
        let mut cancels = 0;
        while self.shared.board.next() == Next::Follow {
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
        self.threads.give_up("send");
        self.shared.board.set_followed(false);
        let note = "(no longer waiting; the turn may go on)";
        self.shared.say(Tone::Dim, note);
    }

    fn ask_for_a_message(&mut self) -> Result<Stay, ChatError> {
        let text = match self.read("> ", &Next::Prompt)? {
            Some(PromptInput::Text(text)) => text,
            Some(PromptInput::Interrupt) => return self.interrupted(),
            Some(PromptInput::End) => return Ok(Stay::No),
            None => return Ok(Stay::Yes),
        };
        match text.trim() {
            // Whoever presses Enter while others' replies come wants to see them as they come.
            "" => self.shared.board.set_followed(true),
            "/help" => self.shared.say(Tone::Dim, HELP),
            "/quit" => return Ok(Stay::No),
            "/cancel" => self.cancel_turn()?,
            other if is_unknown_command(other) => {
                let note = format!("{} is not a command; see /help", clean(other));
                self.shared.say(Tone::Dim, &note);
            }
            _ => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Lets the user answer an approval; anything but an answer is a message.
    fn ask(&mut self, asked: &ApprovalBody) -> Result<Stay, ChatError> {
        let text = match self.read_answer(&Next::Ask(asked.clone()))? {
            Some(PromptInput::Text(text)) => text,
            Some(PromptInput::Interrupt) => return self.interrupted(),
            Some(PromptInput::End) => return Ok(Stay::No),
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
                self.shared.say(Tone::Dim, &note);
            }
            (None, _) => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Reads the answer to a question; `None` when there is something else to do than `now`. What was
    /// typed before the question was there is no answer: it is kept for the next message. Nor is
    /// what is pasted.
    fn read_answer(&mut self, now: &Next) -> Result<Option<PromptInput>, ChatError> {
        const LABEL: &str = "? ";
        self.keys.mark_pastes()?;
        if !self.wait_for_a_key(LABEL, now)? {
            return Ok(None);
        }
        let begun = match self.keys.begin_answer()? {
            Begun::Entered(text) => {
                self.shared.say(Tone::Dim, &format!("{LABEL}{text}"));
                return Ok(Some(PromptInput::Text(text)));
            }
            Begun::Pasted => {
                let note = "what is pasted answers nothing: type the letter";
                self.shared.say(Tone::Dim, note);
                return Ok(None);
            }
            Begun::Cancel => return Ok(Some(PromptInput::Interrupt)),
            Begun::Leave => return Ok(Some(PromptInput::End)),
            Begun::Typed(text) => text,
        };
        self.shared.screen().edit()?;
        let input = self.prompt.read(LABEL, &begun);
        self.shared.screen().free()?;
        Ok(Some(input?))
    }

    /// Reads one entry; `None` when there is something else to do than `now` before the user has
    /// begun to type.
    fn read(&mut self, label: &str, now: &Next) -> Result<Option<PromptInput>, ChatError> {
        let typed = self.already_typed(now);
        // Else the first line of several would be all that is sent.
        self.keys.mark_pastes()?;
        if typed.is_empty() && !self.wait_for_a_key(label, now)? {
            return Ok(None);
        }
        self.shared.screen().edit()?;
        let input = self.prompt.read(label, &typed);
        // A question that came meanwhile is not shown before now: what is there already is no answer.
        if matches!(self.shared.board.next(), Next::Ask(_)) {
            self.keys.keep_typed()?;
        }
        self.shared.screen().free()?;
        let input = input?;
        if let PromptInput::Text(text) = &input {
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
            && let Some(message) = lock(&self.shared.undelivered).take()
        {
            typed.insert_str(0, &message.text);
            self.again = Some(message);
        }
        typed
    }

    /// Shows a prompt until a key is pressed; `false` when there is something else to do first.
    fn wait_for_a_key(&mut self, label: &str, now: &Next) -> Result<bool, ChatError> {
        self.shared.screen().wait_at(label)?;
        let has_key = loop {
            if self.shared.board.next() != *now {
                break false;
            }
            if self.keys.wait_at_prompt(&mut self.wake)? == AtPrompt::Key {
                // Both may have come: the key is for what there is now.
                break self.shared.board.next() == *now;
            }
        };
        self.shared.screen().free()?;
        Ok(has_key)
    }

    fn interrupted(&mut self) -> Result<Stay, ChatError> {
        self.interrupts += 1;
        if self.shared.board.is_working() {
            self.cancel_turn()?;
        } else if self.interrupts > 1 {
            self.shared
                .say(Tone::Dim, "Ctrl+D leaves; the session stays");
        }
        Ok(Stay::Yes)
    }

    fn send(&mut self, text: String) -> Result<(), ChatError> {
        let again = self.again.take().filter(|message| message.text == text);
        let message = again.unwrap_or_else(|| TypedMessage {
            text,
            key: new_key(),
        });
        self.shared.board.begin_send();
        self.threads.start("send", &self.shared, |shared, cancel| {
            let delivery = MessageDelivery {
                shared,
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
        self.shared.board.answered(&asked);
        if let Some(older) = &self.shared.older {
            older.decide();
        }
        self.threads
            .start("send", &self.shared, move |shared, cancel| {
                let answer = shared
                    .client
                    .approve(cancel, &shared.session, &asked, decision);
                match answer {
                    Ok(approved) => {
                        let older = shared.older.as_ref();
                        let rest = older.map(|older| older.rest(approved, cancel));
                        let mut transcript = Transcript::default();
                        for event in rest.unwrap_or_default() {
                            show_own(shared, &mut transcript, event);
                        }
                    }
                    Err(ClientError::Cancelled) => {}
                    Err(error) => {
                        shared.complain(&error);
                        match error.status() {
                            // Somebody else was quicker, or it no longer waits.
                            Some(400 | 404 | 409 | 410) => shared.board.set_followed(false),
                            _ => shared.board.ask_again(asked),
                        }
                    }
                }
            })?;
        Ok(())
    }

    /// Asks the server to stop the turn; the events say when it has.
    fn cancel_turn(&mut self) -> Result<(), ChatError> {
        self.threads
            .start("cancel", &self.shared, |shared, cancel| {
                match shared.client.cancel_turn(cancel, &shared.session) {
                    Ok(_) | Err(ClientError::Cancelled) => {}
                    Err(error) => {
                        shared.complain(&error);
                        if shared.older.as_ref().is_some_and(Older::cut_stream) {
                            let note = "(no longer waiting; the reply goes on at the server)";
                            shared.say(Tone::Dim, note);
                            shared.board.set_followed(false);
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
