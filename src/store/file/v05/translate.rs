//! A log of 0.5 as events of ours. Pure.
//!
//! It has no turns: one begins with the first thing that the agent does after a message, and ends
//! before the next message, or with the log. Calls become parts of replies; each is given its result,
//! or skipped. Ids are made of the session's id and the event's number, so that they are the same
//! each time.
//!
//! What has no place in our log is kept as it is, under a type that begins with `v05_`, which readers
//! step over.
//!
//! Invariant: each event is one that [`SessionState`](crate::domain::state::SessionState) allows after
//! those before it.

use std::sync::Arc;
use std::{io, mem};

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::base::digest::sha256;
use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{
    ApprovalKind, AssistantResponse, CONTEXT_TRUNCATED, EndReason, Event, Failure, FinishReason,
    Outcome, Record, SaidBy, SessionStart, ToolCall, ToolOutput, Trigger, Usage, UserMessage,
};
use crate::domain::ids::{CallId, MessageId, Seq, SessionId, SourceId, TurnId};
use crate::domain::message::is_blank;
use crate::domain::time::Timestamp;
use crate::store::file::line;
use crate::store::file::v05::event::{
    CALLS_MAX, Draft, OldCall, OldDeed, OldEvent, OldMessage, OldResult,
};
use crate::store::file::v05::settings::OldSettings;

/// What the model is told of a call without a result.
const NO_RESULT: &str = "No result of this call was written down before the session came to this \
     version of Duragent: it may have run or not, and was not run again.";
/// The same of one that a person was asked about.
const UNDECIDED: &str = "Nobody had allowed this call when the session came to this version of \
     Duragent: it was denied, and did not run.";
/// Why a turn ended without an answer.
const INTERRUPTED: &str =
    "the turn was unfinished when the session came to this version of Duragent";

/// A line of our log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum TranslatedLine {
    /// An event.
    Ours(Record),
    /// A line of 0.5.
    Kept(Kept),
}

impl TranslatedLine {
    /// The line as it is read.
    pub(super) fn into_record(self) -> Record {
        match self {
            TranslatedLine::Ours(record) => record,
            TranslatedLine::Kept(kept) => Record {
                seq: kept.seq,
                timestamp: kept.timestamp,
                cont: false,
                event: Event::Unknown,
            },
        }
    }
}

/// Lines as a log of ours has them.
pub(super) fn encoded(lines: &[TranslatedLine]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        line::encode(line, 0, &mut bytes)?;
    }
    Ok(bytes)
}

/// The last event of lines of ours.
pub(super) fn last(lines: &[TranslatedLine]) -> Option<&Record> {
    let mut ours = lines.iter().rev().filter_map(|line| match line {
        TranslatedLine::Ours(record) => Some(record),
        TranslatedLine::Kept(_) => None,
    });
    ours.next()
}

/// A line without a place in our log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Kept {
    seq: Seq,
    timestamp: Timestamp,
    #[serde(rename = "type")]
    name: String,
    #[serde(serialize_with = "as_event")]
    event: String,
}

/// Writes a line of 0.5 as the object that it is. One too deep to be read a level further down stays a
/// text: a line of ours that cannot be read would be damage.
fn as_event<S: Serializer>(line: &str, serializer: S) -> Result<S::Ok, S::Error> {
    const DEPTH_MAX: usize = 100;
    match serde_json::from_str::<Value>(line) {
        Ok(event) if depth(&event) <= DEPTH_MAX => event.serialize(serializer),
        Ok(_) | Err(_) => line.serialize(serializer),
    }
}

fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + within.unwrap_or(0)
}

/// The lines of our log; `None` if nothing says whose session it is.
pub(super) fn translate(
    id: &SessionId,
    mut events: Vec<OldEvent>,
    mut settings: OldSettings,
) -> Option<Vec<TranslatedLine>> {
    restore_conversation(&mut events, &mut settings);
    let start = start(&events, &settings)?;
    let minted = Timestamp::from_micros(id.timestamp_ms().saturating_mul(1000));
    let first_at = events.iter().find_map(|event| event.at);
    let is_begun = matches!(events.first()?.deed, OldDeed::Start(_));
    let now = if is_begun {
        first_at.or(settings.created_at)
    } else {
        settings.created_at.or(first_at)
    };
    let mut translator = Translator {
        id,
        agent: start.agent.clone(),
        lines: Vec::with_capacity(2 * events.len()),
        now: now.unwrap_or(minted),
        talk_left: events.iter().filter(|event| event.is_talk()).count(),
        rest: events.into_iter().rev().collect(),
        turn: None,
        draft: None,
        last_at: now.unwrap_or(minted),
        calls: Vec::new(),
        is_unanswered: false,
        end: settings.is_over.then_some(EndReason::Completed),
    };
    translator.put(Event::SessionStart(start));
    if let Some(title) = settings.title {
        translator.put(Event::SessionChanged {
            title: Some(title),
            model: None,
            gateway_chat_id: None,
        });
    }
    translator.run();
    Some(translator.lines)
}

/// A log whose beginning was compacted away goes on after the conversation that the state file has:
/// what the log does not hold of it comes first.
fn restore_conversation(events: &mut Vec<OldEvent>, settings: &mut OldSettings) {
    let conversation = mem::take(&mut settings.conversation);
    let is_cut = events
        .first()
        .is_some_and(|first| !matches!(first.deed, OldDeed::Start(_)) && first.seq > Some(1));
    if !is_cut {
        return;
    }
    let covered = settings.last_seq.unwrap_or(u64::MAX);
    let is_message = |event: &&OldEvent| matches!(event.deed, OldDeed::User(_) | OldDeed::Reply(_));
    let known = events.iter().filter(is_message);
    let known = known.filter(|event| event.seq <= Some(covered)).count();
    let lost = conversation.len().saturating_sub(known);
    let at = events.first().and_then(|first| first.at);
    let restored = conversation
        .into_iter()
        .take(lost)
        .map(|event| OldEvent { at, ..event });
    events.splice(0..0, restored);
}

fn start(events: &[OldEvent], settings: &OldSettings) -> Option<SessionStart> {
    let begun = events.iter().find_map(|event| match &event.deed {
        OldDeed::Start(beginning) => Some((**beginning).clone()),
        _ => None,
    });
    let begun = begun.unwrap_or_default();
    let speaker = || {
        events.iter().find_map(|event| match &event.deed {
            OldDeed::Reply(draft) => draft.agent.clone(),
            _ => None,
        })
    };
    let agent = begun.agent.or_else(|| settings.agent.clone());
    let on_disconnect = begun.on_disconnect.or(settings.on_disconnect);
    Some(SessionStart {
        gateway: begun.gateway.or_else(|| settings.gateway.clone()),
        gateway_chat_id: begun
            .gateway_chat_id
            .or_else(|| settings.gateway_chat_id.clone()),
        ..SessionStart::new(agent.or_else(speaker)?, on_disconnect.unwrap_or_default())
    })
}

struct Translator<'a> {
    id: &'a SessionId,
    agent: String,
    lines: Vec<TranslatedLine>,
    /// When the event at hand was written.
    now: Timestamp,
    /// The events to come, the next one last.
    rest: Vec<OldEvent>,
    /// How many of them are talk.
    talk_left: usize,
    turn: Option<OpenTurn>,
    /// A reply that may get more calls.
    draft: Option<Drafted>,
    /// When the last line was written.
    last_at: Timestamp,
    /// The calls of the last reply that have no result.
    calls: Vec<OpenCall>,
    /// Whether a message came after the last reply.
    is_unanswered: bool,
    /// Whether and why the session is over.
    end: Option<EndReason>,
}

/// A reply at hand.
#[derive(Debug)]
struct Drafted {
    at: Timestamp,
    reply: Draft,
    /// What was written in between.
    after: Vec<OldEvent>,
}

#[derive(Debug)]
struct OpenTurn {
    id: TurnId,
    usage: Option<Usage>,
    /// Whether the agent's last word was an answer.
    is_answered: bool,
}

#[derive(Debug)]
struct OpenCall {
    /// The call as 0.5 named it.
    old: String,
    id: CallId,
    question: Question,
}

/// Whether a person was asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// Our log says so, and the answer follows.
    Told,
    /// Nobody has answered.
    Open,
}

impl Translator<'_> {
    fn run(&mut self) {
        while let Some(event) = self.rest.pop() {
            self.now = event.at.unwrap_or(self.now);
            self.talk_left -= usize::from(event.is_talk());
            match (&event.deed, &mut self.draft) {
                (OldDeed::End(reason), _) if self.talk_left == 0 => self.end = Some(*reason),
                (
                    OldDeed::Silent(_) | OldDeed::Error { .. } | OldDeed::Other | OldDeed::End(_),
                    Some(draft),
                ) => draft.after.push(event),
                _ => self.take(event),
            }
        }
        self.flush();
        if self.turn.is_none() && self.is_unanswered {
            self.begin_turn();
        }
        self.end_turn();
        if let Some(reason) = self.end {
            self.put(Event::session_end(reason));
        }
    }

    fn take(&mut self, event: OldEvent) {
        let OldEvent {
            deed, name, raw, ..
        } = event;
        match deed {
            OldDeed::Start(_) if self.lines.len() <= 2 => {}
            OldDeed::User(said) => self.user(said),
            OldDeed::Reply(draft) => {
                self.flush();
                self.begin_reply(draft);
            }
            OldDeed::Call(call) => self.call(call),
            OldDeed::Result(result) => self.result(result),
            OldDeed::Asked { call, command } => {
                if !self.ask(&call, command) {
                    self.keep(&name, raw);
                }
            }
            OldDeed::Decided { call, decision, by } => {
                let told =
                    |open: &&mut OpenCall| open.question == Question::Told && open.old == call;
                let asked = self.calls.iter_mut().find(told);
                match asked.map(|open| {
                    (
                        mem::replace(&mut open.question, Question::None),
                        open.id.clone(),
                    )
                }) {
                    Some((_, call_id)) => self.put(Event::ApprovalDecision {
                        call_id,
                        decision,
                        by,
                        source_id: None,
                    }),
                    None => self.keep(&name, raw),
                }
            }
            OldDeed::Silent(said) => self.silent(said),
            OldDeed::Error { code, message } => {
                // That one would have less of the conversation go to the model.
                let is_ours = code == CONTEXT_TRUNCATED;
                self.put(Event::Error {
                    code: if is_ours { "error".to_owned() } else { code },
                    message,
                });
            }
            OldDeed::Unread => {
                self.put(Event::Error {
                    code: NoticeCode::Unread05.as_str().to_owned(),
                    message: format!(
                        "an event of Duragent 0.5 ({name}) cannot be read; the log keeps it"
                    ),
                });
                self.keep(&name, raw);
            }
            OldDeed::Start(_) | OldDeed::End(_) | OldDeed::Other => self.keep(&name, raw),
            OldDeed::Told => {}
        }
    }

    fn user(&mut self, said: OldMessage) {
        self.flush();
        // Said while a tool ran, it belongs to the turn that goes on after it.
        let goes_on = self
            .calls
            .iter()
            .any(|open| self.find_result(&open.old).is_some());
        if !goes_on {
            self.end_turn();
        }
        let message_id = self.message_id();
        self.put(Event::from(UserMessage {
            sender_id: said.sender_id,
            sender_name: said.sender_name,
            source_id: said.source_id.and_then(|key| SourceId::parse(&key).ok()),
            ..UserMessage::new(message_id, said.content)
        }));
        self.is_unanswered = true;
    }

    fn silent(&mut self, said: OldMessage) {
        self.put(Event::SilentMessage {
            content: said.content,
            sender_id: said.sender_id.unwrap_or_else(|| "unknown".to_owned()),
            sender_name: said.sender_name,
            source_id: said.source_id.and_then(|key| SourceId::parse(&key).ok()),
        });
    }

    fn call(&mut self, call: OldCall) {
        let is_named = !call.id.is_empty();
        let drafted = self.draft.iter().flat_map(|draft| &draft.reply.calls);
        let is_known = drafted.map(|known| &known.id).any(|id| *id == call.id)
            || self.calls.iter().any(|open| open.old == call.id);
        // A reply has told of it already.
        if is_named && is_known {
            return;
        }
        match &mut self.draft {
            Some(draft) if draft.reply.calls.len() < CALLS_MAX => draft.reply.calls.push(call),
            _ => {
                self.flush();
                self.begin_reply(Draft {
                    calls: vec![call],
                    ..Draft::default()
                });
            }
        }
    }

    /// The calls of the reply before have their results before it.
    fn begin_reply(&mut self, reply: Draft) {
        self.settle_calls();
        self.draft = Some(Drafted {
            at: self.now,
            reply,
            after: Vec::new(),
        });
    }

    fn result(&mut self, result: OldResult) {
        self.flush();
        let found = if result.id.is_empty() {
            (!self.calls.is_empty()).then_some(0)
        } else {
            self.calls.iter().position(|open| open.old == result.id)
        };
        let place = found.unwrap_or_else(|| {
            // A result without its call would reach no model.
            self.begin_reply(Draft {
                calls: vec![OldCall {
                    id: result.id.clone(),
                    tool: result
                        .tool
                        .clone()
                        .unwrap_or_else(|| "unknown_tool".to_owned()),
                    arguments: "{}".to_owned(),
                }],
                ..Draft::default()
            });
            self.flush();
            0
        });
        let open = self.calls.remove(place);
        self.put_result(open.id, result);
    }

    fn put_result(&mut self, call_id: CallId, result: OldResult) {
        self.put(Event::ToolResult {
            call_id,
            result: ToolOutput {
                success: result.success,
                content: result.content,
            },
            duration_ms: result.duration_ms,
            appended_bytes: None,
            attachments: Vec::new(),
        });
    }

    /// Tells of a question about an open call, if its answer is told, too; whether it did.
    fn ask(&mut self, call: &str, command: String) -> bool {
        self.flush_if_drafted(call);
        let is_decided = self.coming().any(
            |next| matches!(&next.deed, OldDeed::Decided { call: decided, .. } if decided == call),
        );
        let is_pending = self
            .calls
            .iter()
            .any(|open| open.question == Question::Told);
        let open = self.calls.iter_mut().find(|open| open.old == call);
        let Some(open) = open.filter(|_| !is_pending) else {
            return false;
        };
        if !is_decided {
            open.question = Question::Open;
            return false;
        }
        open.question = Question::Told;
        let call_id = open.id.clone();
        self.put(Event::ApprovalRequired {
            call_id,
            command,
            commands: Vec::new(),
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        });
        true
    }

    fn flush_if_drafted(&mut self, call: &str) {
        let drafted = self.draft.iter().flat_map(|draft| &draft.reply.calls);
        if drafted
            .map(|drafted| drafted.id.as_str())
            .any(|id| id == call)
        {
            self.flush();
        }
    }

    /// Writes the reply at hand, and what came after it.
    fn flush(&mut self) {
        let Some(Drafted { at, reply, after }) = self.draft.take() else {
            return;
        };
        let now = mem::replace(&mut self.now, at);
        self.reply(reply);
        for event in after {
            self.now = event.at.unwrap_or(self.now);
            self.take(event);
        }
        self.now = now;
    }

    fn reply(&mut self, draft: Draft) {
        if is_blank(&draft.text) && draft.calls.is_empty() && draft.usage.is_none() {
            return;
        }
        self.begin_turn();
        let input_seq = self.last_seq();
        let message_id = self.message_id();
        let calls: Vec<(String, ToolCall)> = (0..)
            .zip(draft.calls)
            .map(|(n, call)| (call.id.clone(), self.tool_call(n, call)))
            .collect();
        self.calls.extend(calls.iter().map(|(old, call)| OpenCall {
            old: old.clone(),
            id: call.call_id.clone(),
            question: Question::None,
        }));
        let Some(turn) = &mut self.turn else { return };
        turn.is_answered = calls.is_empty();
        if let Some(usage) = draft.usage {
            turn.usage.get_or_insert_default().add(usage);
        }
        let reply = AssistantResponse {
            turn_id: turn.id.clone(),
            message_id,
            agent: draft.agent.unwrap_or_else(|| self.agent.clone()),
            model: draft.model.unwrap_or_default(),
            input_seq,
            content: Arc::new(draft.text),
            finish_reason: match (calls.is_empty(), draft.is_cut) {
                (false, _) => FinishReason::ToolCalls,
                (true, true) => FinishReason::Length,
                (true, false) => FinishReason::Stop,
            },
            tool_calls: calls.into_iter().map(|(_, call)| call).collect(),
            usage: draft.usage,
            continues: None,
            provider_data: None,
            attachments: Vec::new(),
        };
        self.put(Event::from(reply));
        self.is_unanswered = false;
    }

    /// The `n`-th call of the reply to come.
    fn tool_call(&self, n: u64, call: OldCall) -> ToolCall {
        const NAME_CHARS_MAX: usize = 64;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let plain = |c: char| if is_plain(c) { c } else { '_' };
        let seq = self.last_seq().next();
        ToolCall {
            // Providers name the calls of every reply alike, and in letters that others refuse.
            call_id: CallId::mint(self.now.as_millis(), self.random("call", seq, n)),
            tool_name: call.tool.chars().take(NAME_CHARS_MAX).map(plain).collect(),
            arguments: call.arguments,
            source: None,
        }
    }

    /// Gives the open calls their results, as far as some are told soon; skips the others.
    fn settle_calls(&mut self) {
        let (mut lost, mut undecided) = (Vec::new(), Vec::new());
        for open in mem::take(&mut self.calls) {
            let place = self.find_result(&open.old);
            match place.map(|place| mem::replace(&mut self.rest[place].deed, OldDeed::Told)) {
                Some(OldDeed::Result(result)) => self.put_result(open.id, result),
                _ if open.question == Question::Open => undecided.push(open.id),
                _ => lost.push(open.id),
            }
        }
        for (call_ids, reason) in [(lost, NO_RESULT), (undecided, UNDECIDED)] {
            if !call_ids.is_empty() {
                let reason = reason.to_owned();
                self.put(Event::ToolsSkipped { call_ids, reason });
            }
        }
    }

    /// Where the result of an open call stands among the events to come.
    fn find_result(&self, call: &str) -> Option<usize> {
        let again = |next: &&OldEvent| match &next.deed {
            OldDeed::Call(next) => next.id == call,
            OldDeed::Reply(draft) => draft.calls.iter().any(|next| next.id == call),
            _ => false,
        };
        // The same name again is another call.
        let mut coming = self.coming().take_while(|next| !again(next));
        let found = coming
            .position(|next| matches!(&next.deed, OldDeed::Result(result) if result.id == call));
        found
            .filter(|_| !call.is_empty())
            .map(|ahead| self.rest.len() - 1 - ahead)
    }

    /// The next events, and their calls; not all, which would take for ever in a log made for that.
    fn coming(&self) -> impl Iterator<Item = &OldEvent> {
        const LOOKED_AT_MAX: usize = 200;
        let mut looked_at = 0;
        self.rest.iter().rev().take_while(move |next| {
            looked_at += match &next.deed {
                OldDeed::Reply(draft) => 1 + draft.calls.len(),
                _ => 1,
            };
            looked_at <= LOOKED_AT_MAX
        })
    }

    fn begin_turn(&mut self) {
        if self.turn.is_some() {
            return;
        }
        let seq = self.last_seq().next();
        let id = TurnId::mint(self.now.as_millis(), self.random("turn", seq, 0));
        self.put(Event::TurnStarted {
            turn_id: id.clone(),
            trigger: Trigger::Message,
        });
        self.turn = Some(OpenTurn {
            id,
            usage: None,
            is_answered: false,
        });
    }

    /// Ends the turn, as of the last that was heard of it.
    fn end_turn(&mut self) {
        let now = mem::replace(&mut self.now, self.last_at);
        self.settle_calls();
        if let Some(turn) = self.turn.take() {
            self.put_end(turn);
        }
        self.now = now;
    }

    fn put_end(&mut self, turn: OpenTurn) {
        let is_done = turn.is_answered && !self.is_unanswered;
        let failure = || Failure {
            code: FailureCode::Interrupted.as_str().to_owned(),
            message: INTERRUPTED.to_owned(),
        };
        self.put(Event::TurnEnded {
            turn_id: turn.id,
            outcome: if is_done {
                Outcome::Completed
            } else {
                Outcome::Failed
            },
            error: (!is_done).then(failure),
            usage: turn.usage,
            cause: SaidBy::default(),
        });
    }

    fn put(&mut self, event: Event) {
        self.last_at = self.now;
        self.lines.push(TranslatedLine::Ours(Record {
            seq: self.last_seq().next(),
            timestamp: self.now,
            cont: false,
            event,
        }));
    }

    fn keep(&mut self, name: &str, raw: Option<String>) {
        self.last_at = self.now;
        self.lines.push(TranslatedLine::Kept(Kept {
            seq: self.last_seq().next(),
            timestamp: self.now,
            name: format!("v05_{name}"),
            event: raw.unwrap_or_default(),
        }));
    }

    fn last_seq(&self) -> Seq {
        Seq(self.lines.len() as u64)
    }

    fn message_id(&self) -> MessageId {
        let seq = self.last_seq().next();
        MessageId::mint(self.now.as_millis(), self.random("message", seq, 0))
    }

    /// What stands for chance in an id: nothing else has it.
    fn random(&self, what: &str, seq: Seq, n: u64) -> u128 {
        random(&format!("{} {what} {seq} {n}", self.id))
    }
}

/// The 80 bits of an id that is made of a text.
pub(super) fn random(text: &str) -> u128 {
    const DIGITS: usize = 20;
    u128::from_str_radix(&sha256(text.as_bytes())[..DIGITS], 16).unwrap_or(0)
}
