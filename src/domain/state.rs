//! The state of a session: the fold of its events, and nothing else.
//!
//! [`SessionState::apply`] is the only way it changes, live and at replay alike. It is total: an
//! event that does not fit has no effect, and [`SessionState::allows`] refuses such an event
//! before it is written.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::chat::Chat;
use crate::domain::context_summary::SummaryInput;
use crate::domain::event::{
    ApprovalKind, AssistantResponse, Attachment, CONTEXT_TRUNCATED, ContextSummary, Decision,
    EndReason, Event, FILES_WITHHELD, FinishReason, OnDisconnect, Outcome, OwnTurn,
    REPLY_CONTINUED, Record, SessionStart, Status, ToolCall, ToolOutput, Trigger, Usage,
    UserMessage,
};
use crate::domain::files;
use crate::domain::history::{Conversation, Entry, History, WhichFiles, tokens_of};
use crate::domain::ids::{AwaitedId, CallId, MessageId, Seq, TurnId};
use crate::domain::message::Message;
use crate::domain::principal;
use crate::domain::repeats::RecentCalls;
use crate::domain::time::Timestamp;
use crate::domain::window::{Limits, Marks, ToldTokens, tokens_of_bytes};

/// The last message to a model that was cut off: providers want one of a person there. It is not
/// logged, as nobody said it.
pub const CONTINUE_INSTRUCTION: &str = "Your previous reply was cut off by a technical \
     interruption. Continue it exactly where it stops, without repeating any of it and without \
     mentioning the interruption.";

/// A session as its events left it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionState {
    /// The part that a list shows and a snapshot keeps.
    pub summary: Summary,
    /// The conversation as models see it, as far as the next call may contain it.
    pub history: History,
    /// Accepted messages that no model call has contained yet, in the order in which one does: those that
    /// waited for their turn come behind what was there when it did.
    pub inbox: Vec<Unseen>,
    /// Messages that wait for turns of their own, those of one turn together, in the order of the turns.
    /// While there are any, a turn is unfinished or something is asked in the inbox.
    pub held: Vec<Vec<Unseen>>,
    /// The unfinished turn.
    pub turn: Option<Turn>,
    /// An unfinished turn came from elsewhere, and whoever wrote it must not set anything off: a
    /// person's next message does.
    pub is_dormant: bool,
    /// Up to the event before this one a replay knows the history otherwise, and reads only what waited.
    history_from: Option<Seq>,
    /// Files that tools have handed out since the last reply: the next one takes them along.
    pub handed_out: Vec<Attachment>,
    /// The last event says that no summary could be made: the one that tells people of it changes nothing.
    has_failed_summary: bool,
}

/// A message that waits for a model call.
#[derive(Debug, Clone, PartialEq)]
pub struct Unseen {
    /// Its number in the log.
    pub seq: Seq,
    /// When it was stored.
    pub at: Timestamp,
    /// The message.
    pub message: Arc<UserMessage>,
}

/// How much talk is kept that nobody has to answer; a model is told of no more.
const TALK_BYTES_MAX: usize = 64 << 10;
const HOUR_MICROS: u64 = 3_600_000_000;

/// The part of a session that is known without reading its history; bounded in size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The agent.
    pub agent: String,
    /// As at the beginning: an agent's file that changes later does not count.
    pub on_disconnect: OnDisconnect,
    /// The gateway whose chat this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The chat on that gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_chat_id: Option<String>,
    /// The thread of that chat, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_thread_id: Option<String>,
    /// Who began it; nobody for the server's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The folder that its tools work in; without one the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The time of the first event.
    pub created_at: Timestamp,
    /// The time of the last event.
    pub updated_at: Timestamp,
    /// The last event.
    pub last_seq: Seq,
    /// A name given by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model that replaces the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Never `Running`, which depends on clients, and those are not in the log.
    pub status: Status,
    /// Why it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// A turn is unfinished, or a message waits for one: a start looks after the session.
    #[serde(default)]
    pub unfinished: bool,
    /// How many turns have messages that wait for them behind another; of a session that is not in memory
    /// it may be too many, as nobody knows then which of them were withdrawn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u32,
    /// The call that waits for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_call: Option<CallId>,
    /// The calls that are parked; of very many only the first, as a snapshot stays small. While there
    /// are more, a session that is not in memory may be shown as idle too early.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked_calls: Vec<CallId>,
    /// Somebody wants the conversation summarised, and said what is to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<String>,
    /// Messages as the API shows them.
    pub message_count: u64,
    /// Messages of people among them, dropped ones too.
    #[serde(default)]
    pub user_messages: u64,
    /// The sum of all model calls.
    #[serde(default)]
    pub usage: Usage,
    /// The events of the last grants that nobody has taken back, whatever they are worth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Seq>,
    /// Where every hundredth of people's last messages stands: a repeated key is looked for from the
    /// first of these on.
    #[serde(default)]
    pub key_marks: Vec<Seq>,
}

/// How many of people's last messages a repeated key is looked for in.
pub const KEYED_MESSAGES: u64 = 1000;
/// Ids have 64 bytes at most: these are a quarter of what a snapshot may hold.
const PARKED_KNOWN_MAX: usize = 16;
/// Of more grants the oldest count no longer.
const GRANTS_MAX: usize = 32;
const MARK_EVERY: u64 = 100;
const MARKS_MAX: usize = (KEYED_MESSAGES / MARK_EVERY) as usize + 1;

/// An unfinished turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its identifier.
    pub id: TurnId,
    /// Why it was started, or started again.
    pub trigger: Trigger,
    /// It runs on without a client, as one of its messages asked for.
    pub detached: bool,
    /// How often it was tried again after an unclean stop, since it last got anywhere.
    pub tries: u32,
    /// How often its replies broke off since the last whole one.
    pub breaks: u32,
    /// How often the model asked for tools.
    pub tool_rounds: u32,
    /// The model's last reply.
    pub last_reply: Option<LastReply>,
    /// The calls of the last reply.
    pub calls: Vec<CallState>,
    /// The last calls of all replies, by which it is known whether the model goes in circles.
    pub recent: RecentCalls,
    /// The one open question; no call runs while there is one.
    pub approval: Option<Approval>,
    /// The sum of its model calls.
    pub usage: Usage,
    /// Whose message the model has seen last; `None` for the server's owner.
    pub requester: Option<String>,
    /// Whose messages the model has been shown in it, each once: two stand for any more.
    pub speakers: Vec<Option<String>>,
    /// A message of it was said among several people.
    pub is_of_group: bool,
}

/// A turn's last reply: how it ended says what comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct LastReply {
    /// The message as readers see it: of a continued reply, its first part.
    pub message_id: MessageId,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// A call and how far it has come.
#[derive(Debug, Clone, PartialEq)]
pub struct CallState {
    /// The tool and its arguments, as the model wrote them.
    pub call: ToolCall,
    /// How far it has come.
    pub progress: Progress,
}

/// How far a call has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was done.
    Waiting,
    /// A person is asked.
    Asked,
    /// A person has decided, and what follows from it was not done yet.
    Decided(Decision),
    /// The deed may have been done.
    Started,
    /// It has started, and what others do for it has not come to its end: whoever does that brings
    /// the result. It is not run again, whatever became of the process.
    Parked {
        /// What it waits for.
        on: AwaitedId,
    },
    /// A log from elsewhere names the call: whether it was allowed or done, only a person can say.
    Doubted,
    /// It has its result.
    Done,
}

/// A call that waits for what others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedCall<'a> {
    /// The tool and its arguments, as the model wrote them.
    pub call: &'a ToolCall,
    /// Names the work whose end brings the result.
    pub on: &'a AwaitedId,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The event that asked.
    pub seq: Seq,
    /// When it was asked.
    pub at: Timestamp,
    /// The call.
    pub call_id: CallId,
    /// The command as the person saw it, and as the decision must name it.
    pub command: String,
    /// The simple commands of that.
    pub commands: Vec<String>,
    /// Decides which answers there are.
    pub kind: ApprovalKind,
    /// "Allow always" would allow this text alone, as no pattern covers it.
    pub exact: bool,
    /// The rules that "for this session" would add.
    pub session_rules: Vec<String>,
    /// Whose message led to the call; `None` for the server's owner.
    pub requester_id: Option<String>,
}

/// An event that cannot happen now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen now: {why}")]
pub struct IllegalEvent {
    event: &'static str,
    why: &'static str,
}

impl SessionState {
    /// The state before any event, of a session whose conversation stays within `limits`.
    pub fn new(limits: Limits) -> SessionState {
        SessionState {
            summary: Summary::empty(),
            history: History::new(limits, Seq(1), Marks::default()),
            inbox: Vec::new(),
            held: Vec::new(),
            turn: None,
            is_dormant: false,
            history_from: None,
            handed_out: Vec::new(),
            has_failed_summary: false,
        }
    }

    /// The state from which a replay that begins with event `window_seq` arrives where the whole
    /// log would: `summary` and `marks` are as of its `last_seq`, and events up to that one only
    /// fill the other parts.
    pub fn at_window(
        summary: Summary,
        window_seq: Seq,
        mut marks: Marks,
        limits: Limits,
    ) -> SessionState {
        let history_from = marks.history_from.take();
        SessionState {
            summary,
            history: History::new(limits, window_seq, marks),
            inbox: Vec::new(),
            held: Vec::new(),
            turn: None,
            is_dormant: false,
            history_from,
            handed_out: Vec::new(),
            has_failed_summary: false,
        }
    }

    /// It has its first event, so others may follow.
    pub fn has_started(&self) -> bool {
        self.summary.last_seq > Seq::ZERO
    }

    /// It has its last event: nothing may follow.
    pub fn is_over(&self) -> bool {
        self.summary.status == Status::Completed
    }

    /// The question that is open.
    pub fn approval(&self) -> Option<&Approval> {
        self.turn.as_ref()?.approval.as_ref()
    }

    /// Since when a person is asked whether a call may run; not whether one has run.
    pub fn permission_asked_at(&self) -> Option<Timestamp> {
        let open = self.approval();
        let open = open.filter(|open| open.kind == ApprovalKind::Policy);
        open.map(|open| open.at)
    }

    /// The conversation as the next model call gets it.
    pub fn conversation(&self) -> Vec<Message> {
        self.conversation_after(Conversation::default()).messages
    }

    /// The same where the [finished part](Conversation::finished_part) of one before is at hand.
    pub fn conversation_after(&self, before: Conversation) -> Conversation {
        let unseen: Vec<Entry> = self
            .inbox
            .iter()
            .map(|unseen| Entry::User(Arc::clone(&unseen.message)))
            .collect();
        let mut conversation = self.history.conversation(&unseen, before);
        if matches!(conversation.messages.last(), Some(Message::Assistant(_))) {
            conversation.messages.push(Message::User {
                text: CONTINUE_INSTRUCTION.into(),
                attachments: Vec::new(),
            });
        }
        conversation
    }

    /// Takes the summary that the window stands on, which a replay from there does not read.
    pub fn recall(&mut self, record: &Record) {
        if let Event::ContextSummary(summary) = &record.event {
            self.history.recall(record.seq, summary);
        }
    }

    /// The older part of the conversation is to be summarised before the model is asked again.
    pub fn wants_summary(&self) -> bool {
        self.summary.compact.is_some() || self.is_summary_due()
    }

    /// The same because it is too long, and not because somebody wants it.
    pub fn is_summary_due(&self) -> bool {
        let model = self.summary.model.as_deref();
        let due = self.history.summary_due(self.waiting(), model);
        due.is_some()
    }

    /// What the summary that is wanted is written from; `None` where there is nothing that it could stand for.
    /// Of a conversation that the provider `refused`, half is to be left.
    pub fn summary_input(&self, refused: bool) -> Option<SummaryInput> {
        let history = &self.history;
        let model = self.summary.model.as_deref();
        let tokens = history.tokens() + self.waiting();
        let count = if self.summary.compact.is_some() {
            history.summarisable(0).map(|(count, _)| count)
        } else if refused {
            let may = history.limits().summarises && tokens > history.marks().summary_from_tokens;
            let found = history.summarisable(tokens / 2).filter(|_| may);
            found.map(|(count, _)| count)
        } else {
            history.summary_due(self.waiting(), model)
        };
        Some(history.summary_input(count?))
    }

    /// There is something that a summary could stand for.
    pub fn is_summarisable(&self) -> bool {
        self.history.summarisable(0).is_some()
    }

    /// What of the conversation the next call contains.
    pub fn told(&self) -> ToldTokens {
        self.history
            .told(self.waiting(), self.summary.model.as_deref())
    }

    /// Tokens of the messages that the next call adds.
    fn waiting(&self) -> u64 {
        self.waiting_tokens(Seq(u64::MAX))
    }

    /// The most bytes of the text of a file that go to the model.
    pub fn file_bytes_max(&self) -> usize {
        self.history.limits().file_bytes_max()
    }

    /// Folds one event in.
    pub fn apply(&mut self, record: &Record) {
        let is_new = record.seq > self.summary.last_seq;
        let tells_of_failure = self.has_failed_summary;
        if is_new {
            self.summary.apply(record);
            self.learn(&record.event);
        }
        self.fold(record);
        self.has_failed_summary = matches!(&record.event, Event::ContextSummary(one)
            if one.error.is_some() && one.upto_seq > Seq::ZERO);
        if is_new {
            self.summary.held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
            self.make_room(record, tells_of_failure);
        }
        let begins = self.history_from.take_if(|from| record.seq.next() >= *from);
        if let Some(from) = begins {
            self.history.begin_at(from);
        }
    }

    /// Withholds what the model has not answered yet: what it was shown before that, it has taken. Only where there
    /// is no such file, it is one of those, which another model may have taken.
    fn withhold_files(&mut self) {
        let mut are_any = self.history.withhold_files(WhichFiles::Unanswered);
        for unseen in &mut self.inbox {
            are_any |= files::withhold(&mut unseen.message);
        }
        if !are_any {
            self.history.withhold_files(WhichFiles::All);
        }
    }

    /// Takes note of what a provider has said that the model of that name takes, its answer included; `None` where
    /// that is not known, or not any more.
    pub fn learn_window(&mut self, model: &str, tokens: Option<u64>) {
        if self.history.learn_window(model, tokens) {
            let waiting = self.waiting_tokens(Seq(u64::MAX));
            self.history.settle(waiting, self.summary.model.as_deref());
        }
    }

    /// Our own count of a reply of so many bytes, to a call that held all up to event `input_seq`.
    pub fn estimated_usage(&self, input_seq: Seq, reply_bytes: usize) -> Usage {
        let prompt = self.history.call_tokens(self.waiting_tokens(input_seq));
        Usage {
            estimated: true,
            ..Usage::new(prompt, tokens_of_bytes(reply_bytes))
        }
    }

    /// What messages up to event `last` that wait add to a prompt.
    fn waiting_tokens(&self, last: Seq) -> u64 {
        let waiting = self.inbox.iter().filter(|one| one.seq <= last);
        let waiting = waiting.map(|unseen| &unseen.message);
        tokens_of(waiting, self.history.limits())
    }

    /// Learns from a reply how long the prompt was that it answers.
    fn learn(&mut self, event: &Event) {
        let Event::AssistantResponse(reply) = event else {
            return;
        };
        let waiting = self.waiting_tokens(reply.input_seq);
        if let Some(usage) = reply.usage.filter(|usage| !usage.estimated) {
            self.history.learn(waiting, usage);
        }
    }

    /// Keeps the conversation within its limits. A replay is told what came of that.
    fn make_room(&mut self, record: &Record, tells_of_failure: bool) {
        let event = &record.event;
        let waiting = self.waiting_tokens(Seq(u64::MAX));
        let model = self.summary.model.as_deref();
        if matches!(event, Event::SessionChanged { model: Some(_), .. }) {
            self.history.forget_model();
        }
        let is_too_long = matches!(event, Event::Error { code, .. } if code == CONTEXT_TRUNCATED);
        if let Event::ContextSummary(summary) = event {
            self.history.summarised(record.seq, summary, waiting, model);
        } else if is_too_long && !tells_of_failure {
            self.history.shrink(waiting, model);
        } else {
            self.history.settle(waiting, model);
        }
    }

    fn fold(&mut self, record: &Record) {
        match &record.event {
            Event::UserMessage(message) => self.accept(record, message),
            Event::MessageDropped { message_id, .. } => self.withdraw(message_id),
            Event::TurnStarted { turn_id, trigger } => self.start_turn(turn_id, *trigger),
            Event::AssistantResponse(reply) => self.take_reply(record.seq, reply),
            Event::ToolStarted { call_id, .. } => self.begin_call(record.timestamp, call_id),
            Event::ToolParked { call_id, on } => self.park(call_id, on),
            Event::ToolResult {
                call_id,
                result,
                duration_ms,
                appended_bytes,
                attachments,
            } => {
                if let Some(call) = self.open_call(call_id).map(|state| state.call.clone())
                    && let Some(turn) = &mut self.turn
                {
                    let took = duration_ms.map(Duration::from_millis);
                    turn.recent.end(&call, record.seq, record.timestamp, took);
                    self.handed_out.extend_from_slice(attachments);
                }
                self.finish_call(record.seq, call_id, result, *appended_bytes);
            }
            Event::ToolsSkipped { call_ids, reason } => {
                let output = ToolOutput {
                    success: false,
                    content: reason.clone(),
                };
                for call_id in call_ids {
                    self.finish_call(record.seq, call_id, &output, None);
                }
            }
            Event::ApprovalRequired {
                call_id,
                command,
                commands,
                kind,
                exact,
                session_rules,
                requester_id,
            } => self.ask(Approval {
                seq: record.seq,
                at: record.timestamp,
                call_id: call_id.clone(),
                command: command.clone(),
                commands: commands.clone(),
                kind: *kind,
                exact: *exact,
                session_rules: session_rules.clone(),
                requester_id: requester_id.clone(),
            }),
            Event::ApprovalDecision {
                call_id, decision, ..
            } => self.decide(call_id, *decision),
            Event::SessionAdopted {} => self.fall_dormant(),
            Event::Error { code, .. } if code == REPLY_CONTINUED => {
                if let Some(turn) = &mut self.turn {
                    turn.breaks += 1;
                }
            }
            Event::TurnEnded { outcome, .. } => {
                if *outcome == Outcome::Cancelled {
                    self.release_all();
                }
                self.end_turn(record.seq);
            }
            Event::SessionEnd { .. } => {
                self.release_all();
                self.end_turn(record.seq);
            }
            Event::Error { code, .. } if code == FILES_WITHHELD => self.withhold_files(),
            Event::ContextSummary(summary) => self.count_summary(summary),
            Event::SessionStart(_)
            | Event::Grant(_)
            | Event::GrantRevoked { .. }
            | Event::SilentMessage { .. }
            | Event::StatusChange { .. }
            | Event::SessionChanged { .. }
            | Event::CompactRequested { .. }
            | Event::Error { .. }
            | Event::Unknown => {}
        }
    }

    fn count_summary(&mut self, summary: &ContextSummary) {
        if let (Some(turn), Some(usage)) = (&mut self.turn, summary.usage) {
            turn.usage.add(usage);
        }
    }

    /// Refuses an event that would have no effect or a wrong one: it must not come into the log.
    ///
    /// Errors: [`IllegalEvent`], with the reason.
    pub fn allows(&self, event: &Event) -> Result<(), IllegalEvent> {
        let refuse = |event, why| Err(IllegalEvent { event, why });
        if self.is_over() {
            return refuse("an event", "the session has ended");
        }
        let started = self.has_started();
        let turn = self.turn.as_ref();
        match event {
            Event::SessionStart(_) if started => refuse("session_start", "the session has begun"),
            Event::SessionStart(_) => Ok(()),
            _ if !started => refuse("an event", "the session has not begun"),
            Event::TurnStarted { turn_id, .. } if turn.is_some_and(|turn| turn.id != *turn_id) => {
                refuse("turn_started", "another turn is unfinished")
            }
            Event::AssistantResponse(reply)
                if turn.is_none_or(|turn| turn.id != reply.turn_id || turn.has_open_calls()) =>
            {
                refuse("assistant_response", "its turn does not wait for a reply")
            }
            Event::TurnEnded { turn_id, .. } if turn.is_none_or(|turn| turn.id != *turn_id) => {
                refuse("turn_ended", "its turn is not the unfinished one")
            }
            Event::ToolStarted { call_id, .. } | Event::ToolResult { call_id, .. }
                if !self.is_open_call(call_id) =>
            {
                refuse("a tool event", "no call of that id is open")
            }
            Event::ToolParked { call_id, .. } if !self.is_begun(call_id) => {
                refuse("tool_parked", "no call of that id has started")
            }
            Event::ApprovalRequired { call_id, .. }
                if self.approval().is_some() || !self.is_open_call(call_id) =>
            {
                refuse(
                    "approval_required",
                    "another is pending, or the call is done",
                )
            }
            Event::ApprovalDecision { call_id, .. }
                if self.approval().is_none_or(|open| open.call_id != *call_id) =>
            {
                refuse("approval_decision", "nothing of that id is pending")
            }
            Event::SessionChanged {
                gateway_chat_id: Some(_),
                ..
            } if self.summary.gateway.is_none() => {
                refuse("session_changed", "the session is no chat's")
            }
            Event::Grant(_) => refuse("grant", "no decision stands before it"),
            Event::UserMessage(_)
            | Event::GrantRevoked { .. }
            | Event::MessageDropped { .. }
            | Event::TurnStarted { .. }
            | Event::AssistantResponse(_)
            | Event::ToolStarted { .. }
            | Event::ToolParked { .. }
            | Event::ToolResult { .. }
            | Event::ToolsSkipped { .. }
            | Event::ApprovalRequired { .. }
            | Event::ApprovalDecision { .. }
            | Event::SilentMessage { .. }
            | Event::StatusChange { .. }
            | Event::SessionChanged { .. }
            | Event::TurnEnded { .. }
            | Event::ContextSummary(_)
            | Event::CompactRequested { .. }
            | Event::Error { .. }
            | Event::SessionAdopted {}
            | Event::SessionEnd { .. } => Ok(()),
            Event::Unknown => refuse("an unknown event", "this version cannot write it"),
        }
    }

    /// All messages of the unfinished turn, and those that it will be shown next, are of whom the log
    /// calls `by`, and there are some; no group reads along, and each is surely theirs.
    pub fn is_turn_of(&self, by: Option<&str>) -> bool {
        let gateway = self.summary.gateway.as_deref();
        let is_theirs =
            |sender: &Option<String>| principal::has_said(by, gateway, sender.as_deref());
        let is_closed = |turn: &&Turn| !turn.speakers.is_empty() && !turn.is_of_group;
        let Some(turn) = self.turn.as_ref().filter(is_closed) else {
            return false;
        };
        let mut waiting = self.inbox.iter().map(|one| &one.message);
        turn.speakers.iter().all(is_theirs)
            && waiting.all(|one| is_theirs(&one.sender_id) && !one.is_open_to_others())
    }

    /// The unfinished turn is one person's, and no group reads along: what they allow for the session
    /// can count in it.
    pub fn is_turn_of_one(&self) -> bool {
        let turn = self.turn.as_ref();
        turn.is_some_and(|turn| turn.speakers.len() == 1 && !turn.is_of_group)
    }

    /// The call of that id, as long as it has no result.
    pub fn open_call(&self, call_id: &CallId) -> Option<&CallState> {
        let mut open = self.turn.iter().flat_map(Turn::open_calls);
        open.find(|state| state.call.call_id == *call_id)
    }

    fn is_open_call(&self, call_id: &CallId) -> bool {
        self.open_call(call_id).is_some()
    }

    /// The tool of an open call has begun, and so may park it.
    fn is_begun(&self, call_id: &CallId) -> bool {
        let state = self.open_call(call_id);
        state.is_some_and(|state| state.progress.is_begun())
    }

    /// The calls that are parked, in order.
    pub fn parked_calls(&self) -> impl Iterator<Item = ParkedCall<'_>> {
        let open = self.turn.iter().flat_map(Turn::open_calls);
        open.filter_map(CallState::parked)
    }

    /// As [`Summary::is_parked`], however many calls are.
    pub fn is_parked(&self) -> bool {
        self.summary.status == Status::Active && self.parked_calls().next().is_some()
    }

    fn accept(&mut self, record: &Record, message: &Arc<UserMessage>) {
        self.is_dormant &= message.passive;
        if let Some(turn) = &mut self.turn {
            turn.detached |= message.detached;
        }
        let unseen = Unseen {
            seq: record.seq,
            at: record.timestamp,
            message: Arc::clone(message),
        };
        let Some(place) = self.place_for(message) else {
            return self.held.push(vec![unseen]);
        };
        place.push(unseen);
        // A call that is being made may contain all of it already; while tools run, or a person is
        // waited for, none is.
        if self.turn.as_ref().is_none_or(Turn::has_open_calls) {
            self.forget_old_talk(record.timestamp);
        }
    }

    /// With which messages it is answered; `None` where it waits for a turn that none has yet.
    fn place_for(&mut self, message: &UserMessage) -> Option<&mut Vec<Unseen>> {
        let Some(how) = message.own_turn else {
            return Some(&mut self.inbox);
        };
        let is_free = self.turn.is_none() && self.held.is_empty();
        let asks_last = self.inbox.iter().rfind(|one| !one.message.passive);
        let goes_on = |last: &Unseen| how == OwnTurn::Joins && last.message.is_of_same(message);
        if is_free && asks_last.is_none_or(goes_on) {
            return Some(&mut self.inbox);
        }
        let mut groups = self.held.iter_mut().rev();
        groups.find(|group| group.last().is_some_and(goes_on))
    }

    /// Forgets a message; where that leaves nothing to answer, the next turn's are taken instead.
    fn withdraw(&mut self, message_id: &MessageId) {
        let is_other = |one: &Unseen| one.message.message_id != *message_id;
        self.inbox.retain(is_other);
        self.held
            .iter_mut()
            .for_each(|group| group.retain(is_other));
        self.held.retain(|group| !group.is_empty());
        let has_answer = |turn: &Turn| turn.last_reply.is_some();
        if !self.is_asked() && !self.turn.as_ref().is_some_and(has_answer) {
            self.release_next();
        }
    }

    /// Takes up the messages that wait for the next turn, behind those that are there: a call may contain these.
    fn release_next(&mut self) {
        if !self.held.is_empty() {
            let group = self.held.remove(0);
            self.inbox.extend(group);
        }
    }

    fn release_all(&mut self) {
        let held = mem::take(&mut self.held);
        self.inbox.extend(held.into_iter().flatten());
    }

    /// Keeps of the talk that nobody has to answer what is recent and not too much.
    fn forget_old_talk(&mut self, now: Timestamp) {
        let limits = &self.history.limits().talk;
        let age_max = limits.max_age_hours.saturating_mul(HOUR_MICROS);
        let oldest = now.as_micros().saturating_sub(age_max);
        let mut messages = limits.max_messages;
        let mut bytes = TALK_BYTES_MAX;
        // From the newest on, until one is too many.
        let talk = self.inbox.iter().rev().filter(|one| one.message.passive);
        let kept = talk.take_while(|one| {
            let fits = messages > 0 && one.message.content.len() <= bytes;
            messages = messages.saturating_sub(1);
            bytes = bytes.saturating_sub(one.message.content.len());
            fits && one.at.as_micros() >= oldest
        });
        let first = kept.last().map_or(Seq(u64::MAX), |one| one.seq);
        self.inbox
            .retain(|one| !one.message.passive || one.seq >= first);
    }

    /// Somebody waits for an answer that no call of the model has begun to give; talk that is only
    /// overheard does not count.
    pub fn is_asked(&self) -> bool {
        self.inbox.iter().any(|unseen| !unseen.message.passive)
    }

    fn start_turn(&mut self, turn_id: &TurnId, trigger: Trigger) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == *turn_id) {
            turn.trigger = trigger;
            turn.tries += u32::from(trigger == Trigger::Resume);
            return;
        }
        self.turn = Some(Turn {
            id: turn_id.clone(),
            trigger,
            detached: self.inbox.iter().any(|unseen| unseen.message.detached),
            tries: 0,
            breaks: 0,
            tool_rounds: 0,
            last_reply: None,
            calls: Vec::new(),
            recent: RecentCalls::default(),
            approval: None,
            usage: Usage::default(),
            requester: None,
            speakers: Vec::new(),
            is_of_group: false,
        });
    }

    fn take_reply(&mut self, seq: Seq, reply: &Arc<AssistantResponse>) {
        let contained = self.inbox.iter().rev();
        let mut contained = contained.filter(|one| one.seq <= reply.input_seq);
        let last = contained.find(|one| !one.message.passive);
        let requester = last.map(|one| one.message.sender_id.clone());
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == reply.turn_id) {
            let contained = self.inbox.iter().filter(|one| one.seq <= reply.input_seq);
            contained.for_each(|one| turn.note_speaker(&one.message));
        }
        self.show_messages_up_to(reply.input_seq, seq);
        self.remember(seq, Entry::Assistant(Arc::clone(reply)));
        // One that goes on takes none: the part that ends the message does.
        if !reply.attachments.is_empty() {
            self.handed_out.clear();
        }
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == reply.turn_id) {
            if let Some(requester) = requester {
                turn.requester = requester;
                turn.recent.clear();
            }
            turn.take_reply(reply);
        }
    }

    /// Moves messages that a call contained from the inbox to the history, by event `told_by`.
    fn show_messages_up_to(&mut self, seq: Seq, told_by: Seq) {
        let inbox = mem::take(&mut self.inbox);
        for unseen in inbox {
            if unseen.seq <= seq {
                self.remember(told_by, Entry::User(unseen.message));
            } else {
                self.inbox.push(unseen);
            }
        }
    }

    fn remember(&mut self, seq: Seq, entry: Entry) {
        if self.history_from.is_none() {
            self.history.push(seq, entry);
        }
    }

    fn set_progress(&mut self, call_id: &CallId, progress: Progress) {
        if let Some(state) = self.turn.as_mut().and_then(|turn| turn.open_call(call_id)) {
            state.progress = progress;
        }
    }

    fn begin_call(&mut self, at: Timestamp, call_id: &CallId) {
        let Some(turn) = &mut self.turn else { return };
        if let Some(state) = turn.calls.iter_mut().find(|state| state.is(call_id)) {
            state.progress = Progress::Started;
            turn.recent.begin(&state.call, at);
        }
    }

    fn park(&mut self, call_id: &CallId, on: &AwaitedId) {
        if self.is_begun(call_id) {
            self.set_progress(call_id, Progress::Parked { on: on.clone() });
        }
    }

    fn finish_call(
        &mut self,
        seq: Seq,
        call_id: &CallId,
        output: &ToolOutput,
        appended_bytes: Option<usize>,
    ) {
        let Some(turn) = &mut self.turn else { return };
        let Some(state) = turn.open_call(call_id) else {
            return;
        };
        state.progress = Progress::Done;
        let tool_name = state.call.tool_name.clone();
        turn.tries = 0;
        if turn
            .approval
            .as_ref()
            .is_some_and(|open| open.call_id == *call_id)
        {
            turn.approval = None;
        }
        if self.history_from.is_none() {
            self.history
                .push_result(seq, call_id.clone(), tool_name, output, appended_bytes);
        }
    }

    fn ask(&mut self, approval: Approval) {
        let Some(turn) = &mut self.turn else { return };
        let Some(state) = turn.open_call(&approval.call_id) else {
            return;
        };
        state.progress = Progress::Asked;
        turn.approval = Some(approval);
    }

    fn decide(&mut self, call_id: &CallId, decision: Decision) {
        let Some(turn) = &mut self.turn else { return };
        if turn
            .approval
            .as_ref()
            .is_none_or(|open| open.call_id != *call_id)
        {
            return;
        }
        turn.approval = None;
        if let Some(state) = turn.open_call(call_id) {
            state.progress = Progress::Decided(decision);
        }
    }

    /// What was decided so far counts no longer, and nothing that was begun goes on by itself.
    fn fall_dormant(&mut self) {
        // What waited for turns is answered in the one that a person's next message sets going.
        self.release_all();
        self.is_dormant = self.turn.is_some() || self.is_asked();
        // Nobody is sent what a stranger has handed out.
        self.handed_out.clear();
        let Some(turn) = &mut self.turn else { return };
        turn.approval = None;
        for state in &mut turn.calls {
            if state.progress != Progress::Done {
                state.progress = Progress::Doubted;
            }
        }
    }

    /// Messages stored before the end of a turn count as seen, whatever its outcome.
    fn end_turn(&mut self, seq: Seq) {
        self.show_messages_up_to(seq, seq);
        self.turn = None;
        self.is_dormant = false;
        self.release_next();
        self.history.end_turn(seq.next(), self.inbox.is_empty());
    }
}

impl Progress {
    /// Its tool has begun and has not said what came of it.
    fn is_begun(&self) -> bool {
        match self {
            Progress::Started | Progress::Parked { .. } => true,
            Progress::Waiting
            | Progress::Asked
            | Progress::Decided(_)
            | Progress::Doubted
            | Progress::Done => false,
        }
    }
}

impl CallState {
    /// Whether it is the open call of that id.
    fn is(&self, call_id: &CallId) -> bool {
        self.call.call_id == *call_id && self.progress != Progress::Done
    }

    /// The call with the work that it waits for; `None` unless it is parked.
    pub fn parked(&self) -> Option<ParkedCall<'_>> {
        let Progress::Parked { on } = &self.progress else {
            return None;
        };
        Some(ParkedCall {
            call: &self.call,
            on,
        })
    }
}

impl Turn {
    fn note_speaker(&mut self, message: &UserMessage) {
        self.is_of_group |= message.is_open_to_others();
        if self.speakers.len() < 2 && !self.speakers.contains(&message.sender_id) {
            self.speakers.push(message.sender_id.clone());
        }
    }

    /// A call of the last reply has no result: the model must not be asked, as providers refuse calls
    /// without results.
    pub fn has_open_calls(&self) -> bool {
        self.open_calls().next().is_some()
    }

    /// The calls of the last reply that have no result, in order.
    pub fn open_calls(&self) -> impl Iterator<Item = &CallState> {
        self.calls
            .iter()
            .filter(|state| state.progress != Progress::Done)
    }

    fn open_call(&mut self, call_id: &CallId) -> Option<&mut CallState> {
        self.calls.iter_mut().find(|state| state.is(call_id))
    }

    fn take_reply(&mut self, reply: &AssistantResponse) {
        let is_whole = match reply.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => true,
            FinishReason::Cancelled | FinishReason::Interrupted | FinishReason::Error => false,
        };
        self.last_reply = Some(LastReply {
            message_id: reply
                .continues
                .clone()
                .unwrap_or_else(|| reply.message_id.clone()),
            finish_reason: reply.finish_reason,
        });
        self.calls.clear();
        if is_whole {
            self.tries = 0;
            self.breaks = 0;
            let waiting = reply.tool_calls.iter().map(|call| CallState {
                call: call.clone(),
                progress: Progress::Waiting,
            });
            self.calls.extend(waiting);
            self.tool_rounds += u32::from(!self.calls.is_empty());
        }
        if let Some(usage) = reply.usage {
            self.usage.add(usage);
        }
    }
}

impl Summary {
    /// The gateway's chat that this is, where it is one.
    pub fn chat(&self) -> Option<Chat> {
        Some(Chat {
            gateway: self.gateway.clone()?,
            chat_id: self.gateway_chat_id.clone()?,
            thread_id: self.gateway_thread_id.clone(),
        })
    }

    /// Of no event yet.
    pub(crate) fn empty() -> Summary {
        Summary {
            agent: String::new(),
            on_disconnect: OnDisconnect::Pause,
            gateway: None,
            gateway_chat_id: None,
            gateway_thread_id: None,
            owner: None,
            workdir: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            last_seq: Seq::ZERO,
            title: None,
            model: None,
            status: Status::Active,
            end_reason: None,
            unfinished: false,
            held: 0,
            pending_call: None,
            parked_calls: Vec::new(),
            compact: None,
            message_count: 0,
            user_messages: 0,
            usage: Usage::default(),
            grants: Vec::new(),
            key_marks: Vec::new(),
        }
    }

    /// Folds one event in, which must be the one after `last_seq`.
    pub fn apply(&mut self, record: &Record) {
        self.last_seq = record.seq;
        self.updated_at = record.timestamp;
        match &record.event {
            Event::SessionStart(start) => self.start(start, record.timestamp),
            Event::UserMessage(message) => {
                self.mark_message(record.seq);
                self.message_count += 1;
                let waits = message.own_turn.is_some() && self.unfinished;
                self.held = self.held.saturating_add(u32::from(waits));
                self.unfinished |= !message.passive;
            }
            Event::MessageDropped { .. } => {
                self.message_count = self.message_count.saturating_sub(1);
            }
            Event::TurnStarted { .. } => self.unfinished = true,
            Event::AssistantResponse(reply) => {
                if let Some(usage) = reply.usage {
                    self.usage.add(usage);
                }
                let is_shown = reply.continues.is_none() && !reply.content.is_empty();
                self.message_count += u64::from(is_shown);
            }
            Event::ApprovalRequired { call_id, .. } => self.pending_call = Some(call_id.clone()),
            Event::ApprovalDecision { call_id, .. } => {
                self.pending_call.take_if(|open| open == call_id);
            }
            Event::Grant(_) => {
                self.grants.push(record.seq);
                let beyond = self.grants.len().saturating_sub(GRANTS_MAX);
                self.grants.drain(..beyond);
            }
            Event::GrantRevoked { grants, .. } => self.grants.retain(|one| !grants.contains(one)),
            Event::ToolParked { call_id, .. } => self.note_parked(call_id),
            Event::ToolResult { call_id, .. } => self.note_done(std::slice::from_ref(call_id)),
            Event::ToolsSkipped { call_ids, .. } => self.note_done(call_ids),
            Event::StatusChange { to, .. } => match to {
                Status::Paused => self.status = Status::Paused,
                Status::Active | Status::Running => self.status = Status::Active,
                Status::Completed => {}
            },
            Event::SessionChanged {
                title,
                model,
                gateway_chat_id,
            } => {
                if title.is_some() {
                    self.title.clone_from(title);
                }
                if model.is_some() {
                    self.model.clone_from(model);
                }
                if gateway_chat_id.is_some() && self.gateway.is_some() {
                    self.gateway_chat_id.clone_from(gateway_chat_id);
                }
            }
            Event::SessionAdopted {} => {
                self.forget_calls();
                self.held = 0;
                self.grants.clear();
                self.compact = None;
                // Somebody unknown wrote whose it is, where its tools work and who reads along.
                self.owner = None;
                self.workdir = None;
                self.gateway = None;
                self.gateway_chat_id = None;
                self.gateway_thread_id = None;
            }
            Event::TurnEnded { outcome, .. } => {
                if *outcome == Outcome::Cancelled {
                    self.held = 0;
                }
                if *outcome != Outcome::Completed {
                    self.compact = None;
                }
                self.unfinished = self.held > 0;
                self.held = self.held.saturating_sub(1);
                self.forget_calls();
            }
            Event::SessionEnd { reason, .. } => {
                self.status = Status::Completed;
                self.held = 0;
                self.compact = None;
                self.end_reason = Some(*reason);
                self.unfinished = false;
                self.grants.clear();
                self.forget_calls();
            }
            Event::ContextSummary(summary) => {
                self.compact = None;
                if let Some(usage) = summary.usage {
                    self.usage.add(usage);
                }
            }
            Event::CompactRequested { keep, .. } => {
                self.compact = Some(keep.clone().unwrap_or_default());
            }
            Event::ToolStarted { .. }
            | Event::SilentMessage { .. }
            | Event::Error { .. }
            | Event::Unknown => {}
        }
    }

    /// There is something to do for it: its turn, or a summary that somebody wants.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished || self.compact.is_some()
    }

    /// Its turn waits for what others do, and goes on by itself then: it counts as at work.
    pub fn is_parked(&self) -> bool {
        self.status == Status::Active && !self.parked_calls.is_empty()
    }

    fn note_parked(&mut self, call_id: &CallId) {
        if self.parked_calls.len() < PARKED_KNOWN_MAX && !self.parked_calls.contains(call_id) {
            self.parked_calls.push(call_id.clone());
        }
    }

    fn note_done(&mut self, call_ids: &[CallId]) {
        self.pending_call.take_if(|open| call_ids.contains(open));
        self.parked_calls
            .retain(|parked| !call_ids.contains(parked));
    }

    fn forget_calls(&mut self) {
        self.pending_call = None;
        self.parked_calls.clear();
    }

    fn start(&mut self, start: &SessionStart, at: Timestamp) {
        self.agent.clone_from(&start.agent);
        self.on_disconnect = start.on_disconnect;
        self.gateway.clone_from(&start.gateway);
        self.gateway_chat_id.clone_from(&start.gateway_chat_id);
        self.gateway_thread_id.clone_from(&start.gateway_thread_id);
        self.owner.clone_from(&start.owner);
        self.workdir.clone_from(&start.workdir);
        self.created_at = at;
    }

    /// From which event on the last [`KEYED_MESSAGES`] messages stand.
    pub fn keys_from(&self) -> Seq {
        match self.key_marks.first() {
            Some(first) if self.key_marks.len() >= MARKS_MAX => *first,
            Some(_) | None => Seq(1),
        }
    }

    /// Keeps the place of every hundredth message.
    fn mark_message(&mut self, seq: Seq) {
        if self.user_messages.is_multiple_of(MARK_EVERY) {
            self.key_marks.push(seq);
            if self.key_marks.len() > MARKS_MAX {
                self.key_marks.remove(0);
            }
        }
        self.user_messages += 1;
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests;
