//! What a chat sees of a session, made from its events. Pure.
//!
//! Each reply of the model is a bubble of its own, and so is each question, and what is said of a turn
//! that ended otherwise. A line on what is at work stands below the last words, or by itself, and the next
//! words take its place. Only the last words of a turn still grow.
//!
//! Invariant: the same events give the same bubbles under the same keys, be they seen as they happen
//! or read from the log: text that a power cut took away leaves its bubble, empty, to the next words.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::text;
use crate::domain::event::{Attachment, Decision, OwnTurn, Status, ToolCall, UserMessage};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::engine::{FeedEvent, FeedItem, WithdrawnBy};
use crate::gateway::delivery::approvers::Approvers;
use crate::gateway::delivery::bubble::{Bubble, BubbleContent, BubbleKey};
use crate::gateway::delivery::wording::{self, AnswerWay, AskedQuestion};

/// Makes bubbles of a session's events, from the end of a turn on.
#[derive(Debug)]
pub(super) struct ChatRenderer {
    way: AnswerWay,
    approvers: Option<Approvers>,
    reject_message: Option<String>,
    turn: Seq,
    next_place: u32,
    /// Messages that no turn has answered, oldest first; those of the turn at work come first.
    asked: Vec<AskedMessage>,
    bubbles: VecDeque<Bubble>,
    /// The reply that is being written, and where.
    growing: Option<(MessageId, BubbleKey)>,
    /// What was said last that is no part of the turn: nothing stands below that.
    aside: Option<BubbleKey>,
    question: Option<QuestionBubble>,
    /// Calls that have no result, with the lines on them.
    at_work: Vec<(CallId, String)>,
    ends: VecDeque<RenderedTurn>,
    /// The record of the last event.
    last: Seq,
    is_over: bool,
}

/// A message that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskedMessage {
    /// The message.
    pub(super) message_id: MessageId,
    /// Its id on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<String>,
    /// A turn of its own answers it, after those before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) begins_turn: bool,
}

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RenderedTurn {
    /// As in the keys of its bubbles.
    pub(super) turn: Seq,
    /// Its last record: rendering can begin behind it.
    pub(super) end: Seq,
    /// What was not answered by then.
    pub(super) asked: Vec<AskedMessage>,
}

#[derive(Debug)]
struct QuestionBubble {
    key: BubbleKey,
    call_id: CallId,
    asked: AskedQuestion,
    has_told_to_wait: bool,
}

impl ChatRenderer {
    /// Begins behind the record `seen`, at which no turn was at work and these messages waited.
    pub(super) fn new(seen: Seq, asked: Vec<AskedMessage>, way: AnswerWay) -> ChatRenderer {
        ChatRenderer {
            way,
            approvers: None,
            reject_message: None,
            turn: seen,
            next_place: 1,
            asked,
            bubbles: VecDeque::new(),
            growing: None,
            aside: None,
            question: None,
            at_work: Vec::new(),
            ends: VecDeque::new(),
            last: seen,
            is_over: false,
        }
    }

    /// Says what who wrote too much is told.
    #[must_use]
    pub(super) fn rejecting_with(self, reject_message: Option<String>) -> ChatRenderer {
        ChatRenderer {
            reject_message,
            ..self
        }
    }

    /// Says who is offered to allow something for the session; without that nobody is.
    #[must_use]
    pub(super) fn offering_to(self, approvers: Option<Approvers>) -> ChatRenderer {
        ChatRenderer { approvers, ..self }
    }

    /// What is to be seen, oldest first, as far as it was not [let go](Self::forget_turn).
    pub(super) fn bubbles(&self) -> impl Iterator<Item = &Bubble> {
        self.bubbles.iter()
    }

    /// The first turn that has ended, with nothing of it let go.
    pub(super) fn first_end(&self) -> Option<&RenderedTurn> {
        self.ends.front()
    }

    /// The last record of a bubble's turn, if that has ended.
    pub(super) fn end_of(&self, key: BubbleKey) -> Option<Seq> {
        let mut ends = self.ends.iter();
        let of_turn = ends.find(|ended| ended.turn == key.turn);
        of_turn.map(|ended| ended.end)
    }

    /// Lets the first turn go that has ended: the chat has all of it.
    pub(super) fn forget_turn(&mut self) {
        if let Some(ended) = self.ends.pop_front() {
            self.bubbles.retain(|bubble| bubble.key.turn != ended.turn);
        }
    }

    /// Somebody waits for the agent, as far as the log says: it works, is asked or was parked.
    pub(super) fn has_turn(&self) -> bool {
        !self.asked.is_empty() || self.is_begun()
    }

    /// A person is to decide something.
    pub(super) fn is_asked(&self) -> bool {
        self.question.is_some()
    }

    /// The session is over, and all of it was seen.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Between turns, and with nothing that the chat might not have: the last record that was seen, where
    /// rendering can begin anew.
    pub(super) fn resting_place(&self) -> Option<Seq> {
        let is_resting = !self.has_turn() && self.ends.is_empty() && self.bubbles.is_empty();
        is_resting.then_some(self.last)
    }

    /// Goes on as if it had begun at its [resting place](Self::resting_place).
    pub(super) fn begin_at_rest(&mut self) {
        if let Some(last) = self.resting_place() {
            self.turn = last;
        }
    }

    /// Says why the turn does not go on for now, where the next words will stand.
    pub(super) fn wait(&mut self, reason: &str) {
        self.show_work(Some(wording::waits(reason)));
    }

    /// Takes in the next event.
    pub(super) fn push(&mut self, item: &FeedItem) {
        self.last = self.last.max(item.id.seq);
        match &item.event {
            FeedEvent::UserMessage { message, .. } => self.asked(message),
            FeedEvent::Dropped { message_id, reason } => self.dropped(message_id, reason),
            FeedEvent::Token {
                message_id,
                content,
            } => self.more(message_id, content),
            FeedEvent::Rewind { bytes, .. } => self.rewind(*bytes),
            FeedEvent::Message {
                message_id,
                content,
                attachments,
                ..
            } => self.finished(message_id, content, attachments),
            FeedEvent::ToolCall(call) => self.called(call),
            FeedEvent::ToolResult { call_id, .. } => self.answered(call_id),
            FeedEvent::ApprovalRequired {
                call_id,
                command,
                commands,
                kind,
                exact,
                session_rules,
                requester_id,
            } => self.question(
                call_id,
                AskedQuestion {
                    command: command.clone(),
                    commands: commands.clone(),
                    kind: *kind,
                    exact: *exact,
                    session_rules: match self.is_approver(requester_id.as_deref()) {
                        true => session_rules.clone(),
                        false => Vec::new(),
                    },
                },
            ),
            FeedEvent::ApprovalDecision {
                call_id,
                decision,
                by,
            } => self.decided(call_id, *decision, by.as_deref()),
            FeedEvent::Done { .. } => self.end(item.id.seq),
            FeedEvent::Cancelled => self.cancelled(item.id.seq),
            FeedEvent::Error { code, message } => {
                self.say(wording::failed(code, message));
                self.end(item.id.seq);
            }
            FeedEvent::Status { to, .. } => {
                if *to == Status::Completed {
                    self.is_over = true;
                    self.asked.clear();
                    self.end(item.id.seq);
                }
            }
            // Otherwise there would be no answer at all, and nobody would know why.
            FeedEvent::Notice { code, .. } if self.growing.is_none() => {
                if let Some(words) = wording::said_nothing(code) {
                    self.say(words);
                }
            }
            // Turns get over what other notices tell of; what was lost with a log cannot be shown.
            FeedEvent::Notice { .. }
            | FeedEvent::Session { .. }
            | FeedEvent::Start { .. }
            | FeedEvent::Gap { .. } => {}
        }
    }

    fn asked(&mut self, message: &UserMessage) {
        if message.passive {
            return;
        }
        let reply_to = message.gateway_message_id.clone();
        self.asked.push(AskedMessage {
            message_id: message.message_id.clone(),
            reply_to: reply_to.clone(),
            begins_turn: message.own_turn == Some(OwnTurn::Begins),
        });
        if let Some(open) = self.question.as_mut().filter(|it| !it.has_told_to_wait) {
            open.has_told_to_wait = true;
            let told = wording::waits_for_decision(self.way).to_owned();
            let bubble = self.new_bubble(words_only(told), true);
            bubble.reply_to = reply_to;
            self.aside = Some(bubble.key);
        }
    }

    /// A message was withdrawn. Only who is to be told of it hears so.
    fn dropped(&mut self, message_id: &MessageId, reason: &str) {
        let mut asked = self.asked.iter();
        let place = asked.position(|one| one.message_id == *message_id);
        let dropped = place.map(|place| self.asked.remove(place));
        if reason == WithdrawnBy::Rejected.as_str() {
            let told = self.reject_message.clone();
            let told = told.unwrap_or_else(|| wording::REJECTED.to_owned());
            let bubble = self.new_bubble(words_only(told), true);
            bubble.reply_to = dropped.and_then(|one| one.reply_to);
            self.aside = Some(bubble.key);
        }
    }

    fn more(&mut self, message_id: &MessageId, piece: &str) {
        let key = self.bubble_of(message_id);
        if let Some((words, working)) = self.words(key) {
            words.push_str(piece);
            *working = None;
        }
    }

    /// The bubble that a reply grows in: its own, an empty one, or a new one.
    fn bubble_of(&mut self, message_id: &MessageId) -> BubbleKey {
        let growing = self.growing.as_ref();
        if let Some((_, key)) = growing.filter(|(id, _)| id == message_id) {
            return *key;
        }
        let key = self.open_empty();
        self.growing = Some((message_id.clone(), key));
        key
    }

    /// What a bubble of text says, with the line below it.
    fn words(&mut self, key: BubbleKey) -> Option<(&mut String, &mut Option<String>)> {
        match &mut self.bubble(key)?.content {
            BubbleContent::Text { markdown, working } => Some((markdown, working)),
            BubbleContent::Question { .. } | BubbleContent::File(_) => None,
        }
    }

    fn bubble(&mut self, key: BubbleKey) -> Option<&mut Bubble> {
        self.bubbles.iter_mut().rev().find(|one| one.key == key)
    }

    /// Sees to it that the last bubble is an empty one for words to come.
    fn open_empty(&mut self) -> BubbleKey {
        let is_empty = |last: &&Bubble| {
            let content = &last.content;
            !last.is_final
                && matches!(content, BubbleContent::Text { markdown, .. } if markdown.is_empty())
        };
        if let Some(last) = self.current().filter(is_empty) {
            return last.key;
        }
        self.settle_last();
        self.new_bubble(words_only(String::new()), false).key
    }

    /// The last bubble of the turn at work.
    fn current(&self) -> Option<&Bubble> {
        let last = self.bubbles.back();
        last.filter(|last| last.key.turn == self.turn)
    }

    fn rewind(&mut self, bytes: u64) {
        let growing = self.growing.as_ref().map(|(_, key)| *key);
        if let Some((words, _)) = growing.and_then(|key| self.words(key)) {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            words.truncate(text::boundary(words, bytes));
        }
    }

    /// A reply is whole. Its calls have been told of before this.
    fn finished(&mut self, message_id: &MessageId, content: &str, files: &[Attachment]) {
        if !content.is_empty() {
            let key = self.bubble_of(message_id);
            if let Some((words, _)) = self.words(key).filter(|(words, _)| *words != content) {
                content.clone_into(words);
            }
            if let Some(bubble) = self.bubble(key) {
                bubble.is_final = true;
            }
        }
        self.growing = None;
        for file in files {
            self.settle_last();
            self.new_bubble(BubbleContent::File(file.clone()), true);
        }
        self.show_work(self.work());
    }

    fn called(&mut self, call: &ToolCall) {
        let line = wording::at_work(call);
        self.at_work.push((call.call_id.clone(), line));
    }

    fn answered(&mut self, call_id: &CallId) {
        self.at_work.retain(|(open, _)| open != call_id);
        let is_asked = |open: &QuestionBubble| open.call_id == *call_id;
        if self.question.as_ref().is_some_and(is_asked) {
            self.close_question(|asked| asked.closed());
        }
        self.show_work(self.work());
    }

    fn is_approver(&self, requester_id: Option<&str>) -> bool {
        let approvers = self.approvers.as_ref();
        let both = approvers.zip(requester_id);
        both.is_some_and(|(approvers, id)| approvers.has(id))
    }

    fn question(&mut self, call_id: &CallId, asked: AskedQuestion) {
        self.show_work(None);
        self.settle_last();
        let answers = match self.way {
            AnswerWay::Buttons => asked.answers(),
            AnswerWay::Commands | AnswerWay::OwnerOnly => Vec::new(),
        };
        let content = BubbleContent::Question {
            markdown: asked.open(self.way),
            call_id: call_id.clone(),
            answers,
        };
        let key = self.new_bubble(content, false).key;
        self.question = Some(QuestionBubble {
            key,
            call_id: call_id.clone(),
            asked,
            has_told_to_wait: false,
        });
    }

    fn decided(&mut self, call_id: &CallId, decision: Decision, by: Option<&str>) {
        let is_it = |open: &QuestionBubble| open.call_id == *call_id;
        if self.question.as_ref().is_some_and(is_it) {
            self.close_question(|asked| asked.decided(decision, by));
            self.show_work(self.work());
        }
    }

    fn close_question(&mut self, words: impl Fn(&AskedQuestion) -> String) {
        let Some(open) = self.question.take() else {
            return;
        };
        let Some(bubble) = self.bubble(open.key) else {
            return;
        };
        bubble.is_final = true;
        if let BubbleContent::Question {
            markdown, answers, ..
        } = &mut bubble.content
        {
            *markdown = words(&open.asked);
            answers.clear();
        }
    }

    fn cancelled(&mut self, end: Seq) {
        self.say(wording::STOPPED.to_owned());
        // Whatever waited counts as seen.
        self.asked.clear();
        self.end(end);
    }

    /// Says something of ours, in the place of a line on what was at work if that stands alone.
    fn say(&mut self, words: String) {
        self.growing = None;
        self.at_work.clear();
        self.show_work(None);
        let key = self.open_empty();
        if let Some(bubble) = self.bubble(key) {
            bubble.content = words_only(words);
            bubble.is_final = true;
        }
    }

    /// The turn has ended with that record.
    fn end(&mut self, end: Seq) {
        self.at_work.clear();
        self.show_work(None);
        self.close_question(|asked| asked.closed());
        self.settle_last();
        self.forget_answered();
        self.ends.push_back(RenderedTurn {
            turn: self.turn,
            end,
            asked: self.asked.clone(),
        });
        self.growing = None;
        self.turn = end;
        self.next_place = 1;
    }

    /// What waits after a turn: all that is to have one of its own, from the next such message on.
    fn forget_answered(&mut self) {
        let later = self.asked.iter().skip(1);
        let next = later.take_while(|asked| !asked.begins_turn).count() + 1;
        self.asked.drain(..next.min(self.asked.len()));
    }

    /// The line on the first call that has no result.
    fn work(&self) -> Option<String> {
        let first = self.at_work.first().filter(|_| self.question.is_none());
        first.map(|(_, line)| line.clone())
    }

    /// Has the last words of the turn be followed by that line, or by none.
    fn show_work(&mut self, line: Option<String>) {
        let said_aside = self.aside;
        let is_text = |last: &&Bubble| {
            matches!(last.content, BubbleContent::Text { .. }) && said_aside != Some(last.key)
        };
        let key = match (self.current().filter(is_text), &line) {
            (Some(last), _) => last.key,
            (None, Some(_)) => self.open_empty(),
            (None, None) => return,
        };
        if let Some((_, working)) = self.words(key) {
            *working = line;
        }
    }

    /// The last bubble of the turn is followed by another, or by nothing.
    fn settle_last(&mut self) {
        let turn = self.turn;
        let last = self.bubbles.back_mut();
        if let Some(last) = last.filter(|last| last.key.turn == turn) {
            match &mut last.content {
                BubbleContent::Text { working, .. } => {
                    *working = None;
                    last.is_final = true;
                }
                // Until it is decided, its words may change.
                BubbleContent::Question { .. } | BubbleContent::File(_) => {}
            }
        }
    }

    /// The turn at work has shown something, or does something.
    fn is_begun(&self) -> bool {
        self.current().is_some() || !self.at_work.is_empty()
    }

    fn new_bubble(&mut self, content: BubbleContent, is_final: bool) -> &mut Bubble {
        let key = BubbleKey {
            turn: self.turn,
            place: self.next_place,
        };
        self.next_place += 1;
        self.bubbles.push_back(Bubble {
            key,
            reply_to: self.asked.first().and_then(|asked| asked.reply_to.clone()),
            content,
            is_final,
        });
        let last = self.bubbles.len() - 1;
        &mut self.bubbles[last]
    }
}

fn words_only(markdown: String) -> BubbleContent {
    BubbleContent::Text {
        markdown,
        working: None,
    }
}

#[cfg(test)]
mod tests;
