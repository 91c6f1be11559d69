//! What the threads of a chat tell one another: whether a turn runs, what waits for an answer,
//! which messages were typed here.
//!
//! Invariant: at most one wake-up byte is written between two calls of [`Board::next`], so that the
//! pipe is never full, however long nobody reads it.
//!
//! Owned by: the chat. The lock is held for a few lines, over no I/O but that byte.

use std::collections::{HashSet, VecDeque};
use std::io::{PipeWriter, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::wire::{ApprovalBody, SessionEvent};

/// Ends of turns that are remembered: as many as can be on their way at once.
const ENDS_MAX: usize = 64;

/// The board.
#[derive(Debug)]
pub struct Board {
    state: Mutex<BoardState>,
    changed: Condvar,
    wake: PipeWriter,
}

#[derive(Debug, Default)]
struct BoardState {
    /// The events have begun to come.
    is_attached: bool,
    /// A byte was written since somebody last asked what to do.
    is_woken: bool,
    /// A turn runs, as far as the events say.
    is_working: bool,
    /// The user waits for it.
    is_followed: bool,
    pending: Option<ApprovalBody>,
    /// Messages from here whose turn has not ended.
    sends: usize,
    /// Messages from here of which it is not known yet how they are called.
    unnamed: usize,
    own: HashSet<String>,
    /// The ids of the last ends of turns that were shown.
    ends: VecDeque<String>,
    is_over: bool,
}

impl BoardState {
    /// This call waits no longer.
    fn settle(&mut self, call_id: &str) {
        self.pending.take_if(|asked| asked.call_id == call_id);
        self.is_working = true;
    }
}

/// The next step of whoever reads the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A reply is being shown.
    Follow,
    /// Let the user answer this.
    Ask(ApprovalBody),
    /// Let the user type.
    Prompt,
    /// Nothing more will happen.
    Over,
}

impl Board {
    /// An empty board that writes a byte to `wake` whenever [`Board::next`] may have changed.
    pub fn new(wake: PipeWriter) -> Board {
        Board {
            state: Mutex::new(BoardState::default()),
            changed: Condvar::new(),
            wake,
        }
    }

    /// The next thing to do at the keyboard; asks for the next wake-up byte.
    pub fn next(&self) -> Next {
        let mut state = self.state();
        state.is_woken = false;
        match &state.pending {
            _ if state.is_over => Next::Over,
            Some(asked) => Next::Ask(asked.clone()),
            None if state.sends > 0 || state.is_followed && state.is_working => Next::Follow,
            None => Next::Prompt,
        }
    }

    /// True while a turn runs, or a message is on its way to one.
    pub fn is_working(&self) -> bool {
        let state = self.state();
        state.is_working || state.sends > 0
    }

    /// From now on the user waits for the running turn, if there is one; or no longer does.
    pub fn set_followed(&self, is_followed: bool) {
        let mut state = self.state();
        state.is_followed = is_followed;
        self.tell(state);
    }

    /// Notes what an event changes; to be called once it is shown.
    pub fn note(&self, event: &SessionEvent, id: &str) {
        let mut state = self.state();
        state.is_attached = true;
        match event {
            SessionEvent::Token(_) | SessionEvent::ToolCall(_) => {
                state.is_working = true;
                state.pending = None;
            }
            SessionEvent::ToolResult(result) => state.settle(&result.call_id),
            SessionEvent::ApprovalDecision(decided) => state.settle(&decided.call_id),
            SessionEvent::ApprovalRequired(asked) => {
                state.is_working = true;
                state.pending = Some(asked.clone());
            }
            SessionEvent::Session(attached) => {
                state.is_working = attached.session.working.unwrap_or(false);
                state.pending = attached.session.pending_approval.clone();
                state.is_followed = true;
            }
            ended if ended.ends_turn() => {
                state.is_working = false;
                state.is_followed = false;
                state.pending = None;
                state.ends.push_back(id.to_owned());
                if state.ends.len() > ENDS_MAX {
                    state.ends.pop_front();
                }
            }
            ended if ended.ends_session() => state.is_over = true,
            _ => {}
        }
        self.tell(state);
    }

    /// Waits until the events have begun to come.
    pub fn wait_until_attached(&self, limit: Duration) {
        let is_missing = |state: &mut BoardState| !state.is_attached && !state.is_over;
        drop(self.wait_while(limit, is_missing));
    }

    /// Nothing more will come.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        self.tell(state);
    }

    /// A message is about to be sent.
    pub fn begin_send(&self) {
        let mut state = self.state();
        state.sends += 1;
        state.unnamed += 1;
    }

    /// The server has told how the message is called, or it was not stored.
    pub fn name_send(&self, message_id: Option<&str>) {
        let mut state = self.state();
        state.unnamed = state.unnamed.saturating_sub(1);
        state.own.extend(message_id.map(str::to_owned));
        self.tell(state);
    }

    /// The turn of a message is over, or the message was given up.
    pub fn end_send(&self) {
        let mut state = self.state();
        state.sends = state.sends.saturating_sub(1);
        self.tell(state);
    }

    /// The user has answered this; the turn goes on.
    pub fn answered(&self, asked: &ApprovalBody) {
        let mut state = self.state();
        state.pending.take_if(|pending| pending == asked);
        state.is_working = true;
        state.is_followed = true;
    }

    /// The answer did not get through.
    pub fn ask_again(&self, asked: ApprovalBody) {
        let mut state = self.state();
        state.pending = Some(asked);
        self.tell(state);
    }

    /// True for a message that was typed here, where it stands already; waits for the ids that are on their way.
    pub fn is_own(&self, message_id: &str, limit: Duration) -> bool {
        let is_unknown =
            |state: &mut BoardState| state.unnamed > 0 && !state.own.contains(message_id);
        self.wait_while(limit, is_unknown).own.contains(message_id)
    }

    /// Waits until the end of a turn was shown.
    pub fn wait_for_end(&self, id: &str, limit: Duration) {
        let is_missing =
            |state: &mut BoardState| !state.is_over && !state.ends.iter().any(|shown| shown == id);
        drop(self.wait_while(limit, is_missing));
    }

    fn wait_while(
        &self,
        limit: Duration,
        condition: impl Fn(&mut BoardState) -> bool,
    ) -> MutexGuard<'_, BoardState> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !condition(&mut state) {
                return state;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell(&self, mut state: MutexGuard<'_, BoardState>) {
        self.changed.notify_all();
        let was_woken = std::mem::replace(&mut state.is_woken, true);
        if was_woken {
            return;
        }
        if let Err(error) = (&self.wake).write_all(&[1]) {
            log::debug!("cannot wake the keyboard: {error}");
        }
    }

    fn state(&self) -> MutexGuard<'_, BoardState> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn board() -> (Board, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Board::new(writer), reader)
    }

    fn event(name: &str, data: &str) -> SessionEvent {
        SessionEvent::parse(name, data).unwrap()
    }

    #[test]
    fn a_message_is_followed_until_its_turn_was_shown() {
        let (board, _reader) = board();
        assert_eq!(board.next(), Next::Prompt);
        board.begin_send();
        assert_eq!(board.next(), Next::Follow);
        board.name_send(Some("m1"));
        assert!(board.is_own("m1", LIMIT));
        assert!(!board.is_own("m2", LIMIT));
        board.note(&event("token", r#"{"content":"x"}"#), "1+1");
        board.note(&event("done", "{}"), "2");
        board.wait_for_end("2", LIMIT);
        assert_eq!(board.next(), Next::Follow);
        board.end_send();
        assert_eq!(board.next(), Next::Prompt);
    }

    #[test]
    fn the_turns_of_others_leave_the_prompt_alone_unless_they_are_followed() {
        let (board, _reader) = board();
        board.note(&event("token", r#"{"content":"x"}"#), "");
        assert_eq!(board.next(), Next::Prompt);
        board.set_followed(true);
        assert_eq!(board.next(), Next::Follow);
        board.note(&event("cancelled", "{}"), "");
        assert_eq!(board.next(), Next::Prompt);
    }

    #[test]
    fn a_question_stands_until_it_is_answered_here_or_elsewhere() {
        let (board, _reader) = board();
        let data = r#"{"call_id":"c","command":"ls","kind":"policy"}"#;
        board.begin_send();
        board.note(&event("approval_required", data), "");
        let Next::Ask(asked) = board.next() else {
            panic!("not asked");
        };
        board.answered(&asked);
        assert_eq!(board.next(), Next::Follow);
        board.note(&event("approval_required", data), "");
        let result = r#"{"call_id":"c","content":"","success":true}"#;
        board.note(&event("tool_result", result), "");
        assert_eq!(board.next(), Next::Follow);
    }

    #[test]
    fn nobody_who_is_not_reading_is_woken_twice() {
        let (board, mut reader) = board();
        // Far more than a pipe holds: this would block for ever.
        for _ in 0..200_000 {
            board.note(&event("token", r#"{"content":"x"}"#), "");
        }
        let mut bytes = [0; 8];
        assert_eq!(std::io::Read::read(&mut reader, &mut bytes).unwrap(), 1);
    }
}
