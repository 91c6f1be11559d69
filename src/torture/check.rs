//! Holds a ledger against a log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::order;
use crate::domain::event::{
    AssistantResponse, Event, Failure, FinishReason, Outcome, Record, Trigger,
};
use crate::domain::ids::TurnId;
use crate::torture::ledger::{SeenOutcome, Sent, SessionLedger};
use crate::torture::shown;

/// How far a session must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The server was ended in the middle of it.
    Interrupted,
    /// Everything is finished.
    Finished,
}

/// Everything in which the log of a session breaks a promise; nothing if it keeps them all.
pub fn check_session(known: &SessionLedger, records: &[Record], stage: Stage) -> Vec<String> {
    let mut broken = Vec::new();
    check_order(records, &mut broken);
    check_turns(records, stage, &mut broken);
    check_messages(known, records, &mut broken);
    check_answers(known, records, &mut broken);
    check_watchers(known, records, stage, &mut broken);
    broken
}

/// Whether a session that no client came to stood still between two looks at its log, but for what
/// its recovery writes: the text that had come of a reply, that the turn is tried once more or was
/// tried too often, and that the session pauses.
pub fn stood_still(before: usize, records: &[Record]) -> bool {
    let since = records.get(before..).unwrap_or_default();
    since.iter().all(|record| match &record.event {
        Event::StatusChange { .. } => true,
        Event::TurnStarted { trigger, .. } => *trigger != Trigger::Message,
        Event::TurnEnded { outcome, .. } => *outcome == Outcome::Failed,
        Event::AssistantResponse(reply) => reply.finish_reason == FinishReason::Interrupted,
        _ => false,
    })
}

fn check_order(records: &[Record], broken: &mut Vec<String>) {
    for (want, record) in (1..).zip(records) {
        if record.seq.0 != want {
            broken.push(format!("event {want} has the number {}", record.seq));
            return;
        }
    }
    let begins = records.first().map(|record| &record.event);
    if !matches!(begins, Some(Event::SessionStart(_))) {
        broken.push("the log does not begin with session_start".to_owned());
    }
}

/// The events of one turn that its promises are about.
#[derive(Default)]
struct TurnTrace {
    tries: u32,
    ends: u32,
    last_reply: Option<AssistantResponse>,
    /// It was started again since its last reply.
    is_taken_up: bool,
}

/// No turn ends twice, none works after its end, and none answers twice.
fn check_turns(records: &[Record], stage: Stage, broken: &mut Vec<String>) {
    let mut turns: BTreeMap<&TurnId, TurnTrace> = BTreeMap::new();
    let mut last_message = 0;
    for record in records {
        match &record.event {
            Event::UserMessage(_) => last_message = record.seq.0,
            Event::TurnStarted { turn_id, trigger } => {
                let is_known = turns.contains_key(turn_id);
                let turn = turns.entry(turn_id).or_default();
                if is_known && *trigger == Trigger::Message {
                    broken.push(format!("turn {turn_id} started twice"));
                }
                turn.refuse_after_end(turn_id, broken);
                turn.tries += u32::from(*trigger == Trigger::Resume);
                turn.is_taken_up = true;
            }
            Event::AssistantResponse(reply) => {
                let turn = turns.entry(&reply.turn_id).or_default();
                turn.refuse_after_end(&reply.turn_id, broken);
                turn.take_reply(reply, last_message, broken);
            }
            Event::TurnEnded {
                turn_id,
                outcome,
                error,
                ..
            } => {
                let turn = turns.entry(turn_id).or_default();
                turn.refuse_after_end(turn_id, broken);
                turn.ends += 1;
                turn.check_end(turn_id, *outcome, error.as_ref(), broken);
            }
            _ => {}
        }
    }
    let unfinished = turns.iter().filter(|(_, turn)| turn.ends == 0);
    if stage == Stage::Finished {
        broken.extend(unfinished.map(|(id, _)| format!("turn {id} never ended")));
    }
}

impl TurnTrace {
    fn refuse_after_end(&self, id: &TurnId, broken: &mut Vec<String>) {
        if self.ends > 0 {
            broken.push(format!("turn {id} goes on after its end"));
        }
    }

    /// A reply goes on with one that was cut off, or answers a message that the one before it had
    /// not seen; tools are not used here.
    fn take_reply(
        &mut self,
        reply: &AssistantResponse,
        last_message: u64,
        broken: &mut Vec<String>,
    ) {
        let continued = self.last_reply.as_ref().and_then(|last| {
            let first = last.continues.as_ref().unwrap_or(&last.message_id);
            (last.finish_reason == FinishReason::Interrupted).then(|| first.clone())
        });
        let has_news = |last: &AssistantResponse| last_message > last.input_seq.0;
        let is_second =
            continued.is_none() && self.last_reply.as_ref().is_some_and(|last| !has_news(last));
        if is_second {
            broken.push(format!("turn {} answered twice", reply.turn_id));
        }
        if reply.continues != continued {
            broken.push(format!(
                "reply {} continues {:?}, not {continued:?}",
                reply.message_id, reply.continues
            ));
        }
        if continued.is_some() && !self.is_taken_up {
            let id = &reply.turn_id;
            broken.push(format!("turn {id} goes on, and no try was noted"));
        }
        self.last_reply = Some(reply.clone());
        self.is_taken_up = false;
    }

    fn check_end(
        &self,
        id: &TurnId,
        outcome: Outcome,
        error: Option<&Failure>,
        broken: &mut Vec<String>,
    ) {
        /// Tries that a turn gets, as `docs/session-format.md` promises.
        const TRIES: u32 = 3;
        let code = error.map_or("", |error| error.code.as_str());
        let is_legal = match (outcome, code) {
            (Outcome::Completed, _) => self
                .last_reply
                .as_ref()
                .is_some_and(|reply| reply.finish_reason == FinishReason::Stop),
            (Outcome::Failed, "too_many_tries") => self.tries >= TRIES,
            // What came could not be written: only a disk that fails does that.
            (Outcome::Failed, "storage_error") => true,
            // A session that is ended or deleted cancels what is unfinished.
            (Outcome::Cancelled, _) => true,
            (Outcome::Failed, _) => false,
        };
        if !is_legal {
            broken.push(format!(
                "turn {id} ended {outcome:?} {code:?} after {} tries",
                self.tries
            ));
        }
    }
}

/// Acknowledged messages are there once, others at most once, and nothing else is.
fn check_messages(known: &SessionLedger, records: &[Record], broken: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    let mut found: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for record in records {
        if let Event::UserMessage(message) = &record.event {
            if !ids.insert(message.message_id.as_str()) {
                broken.push(format!("message {} is there twice", message.message_id));
            }
            let key = message.source_id.as_ref().map_or("", |key| key.as_str());
            let stored = (message.message_id.as_str(), message.content.as_str());
            found.entry(key).or_default().push(stored);
        }
    }
    for sent in &known.sent {
        let stored = found.remove(sent.key.as_str()).unwrap_or_default();
        broken.extend(broken_message(sent, &stored));
    }
    broken.extend(
        found
            .keys()
            .map(|key| format!("nobody sent the message with the key {key:?}")),
    );
}

fn broken_message(sent: &Sent, stored: &[(&str, &str)]) -> Option<String> {
    let key = &sent.key;
    match (stored, &sent.acknowledged) {
        ([], None) => None,
        ([], Some(id)) => Some(format!("the acknowledged message {id} is lost")),
        ([(_, content)], _) if *content != sent.content => {
            Some(format!("the message with the key {key} has other content"))
        }
        ([(id, _)], Some(told)) if id != told => Some(format!(
            "the message with the key {key} is {id}, acknowledged as {told}"
        )),
        ([_], _) => None,
        (_, _) => Some(format!("the message with the key {key} was stored twice")),
    }
}

/// Answers are what clients put together, and what the model had to say.
fn check_answers(known: &SessionLedger, records: &[Record], broken: &mut Vec<String>) {
    let mut stored = BTreeMap::new();
    for shown in shown::from_log(records).shown {
        if let shown::ShownItem::Message(id, text) = shown {
            stored.insert(id, text);
        }
    }
    for sent in &known.sent {
        let Some(SeenOutcome::Answered { message_id, text }) = &sent.outcome else {
            continue;
        };
        match stored.get(message_id) {
            None => broken.push(format!("the reply {message_id} is lost")),
            Some(logged) if logged != text => broken.push(format!(
                "a client saw {text:?} as {message_id}, the log has {logged:?}"
            )),
            Some(_) => {}
        }
    }
    let expected = expected_answers(known, records);
    for (id, text) in &stored {
        let is_right = expected.get(id).is_some_and(|expected| expected.fits(text));
        if !is_right {
            let expected = expected.get(id);
            broken.push(format!("the reply {id} is {text:?}, not {expected:?}"));
        }
    }
}

/// The text that a reply must have.
#[derive(Debug)]
struct Expected {
    text: String,
    /// Whether all of it must be there: a disk that fails ends a reply early.
    is_whole: bool,
}

impl Expected {
    fn fits(&self, text: &str) -> bool {
        if self.is_whole {
            self.text == text
        } else {
            self.text.starts_with(text)
        }
    }
}

/// What the model must say in each reply, by the id of its first part. A message whose turn failed
/// before a word was said is answered together with the next.
fn expected_answers(known: &SessionLedger, records: &[Record]) -> BTreeMap<String, Expected> {
    let sent = known.sent.iter();
    let answers = order::map(sent.map(|sent| (sent.key.as_str(), sent.answer.as_str())));
    let mut expected = BTreeMap::new();
    let mut asked: Vec<&str> = Vec::new();
    let mut is_answered = false;
    for record in records {
        match &record.event {
            Event::UserMessage(message) => {
                if std::mem::take(&mut is_answered) {
                    asked.clear();
                }
                let key = message.source_id.as_ref().map_or("", |key| key.as_str());
                asked.extend(answers.get(key));
            }
            Event::AssistantResponse(reply) => {
                is_answered |= !reply.content.trim().is_empty();
                let first = reply.continues.as_ref().unwrap_or(&reply.message_id);
                let answer = Expected {
                    text: asked.join("\n\n"),
                    is_whole: reply.finish_reason == FinishReason::Stop,
                };
                expected.insert(first.to_string(), answer);
            }
            _ => {}
        }
    }
    expected
}

/// Whoever watched from the beginning saw the beginning of what the log shows, and in the end all.
fn check_watchers(
    known: &SessionLedger,
    records: &[Record],
    stage: Stage,
    broken: &mut Vec<String>,
) {
    let whole = shown::from_log(records);
    for (number, seen) in known.watchers.iter().enumerate() {
        let watched = match shown::from_stream(seen) {
            Ok(watched) => watched,
            Err(what) => {
                broken.push(format!("watcher {number} was shown {what}"));
                continue;
            }
        };
        let is_beginning = whole.shown.starts_with(&watched.shown);
        // They leave after the last turn: the end of the session may come later.
        let left = whole.shown.get(watched.shown.len()..).unwrap_or_default();
        let is_end =
            |shown: &shown::ShownItem| *shown == shown::ShownItem::Status("completed".to_owned());
        let is_all = left.iter().all(is_end);
        if !is_beginning {
            let at = (watched.shown.iter().zip(&whole.shown))
                .take_while(|(seen, logged)| seen == logged)
                .count();
            broken.push(format!(
                "watcher {number} saw {:?} where the log has {:?}",
                watched.shown.get(at),
                whole.shown.get(at)
            ));
        } else if stage == Stage::Finished && known.is_over && !is_all {
            broken.push(format!(
                "watcher {number} was not shown {:?}",
                whole.shown.get(watched.shown.len())
            ));
        }
    }
}

#[cfg(test)]
mod tests;
