//! Sessions told in a few words, for tests: events by number, logs made of them, and random walks
//! through everything that may happen to a session.

use std::mem;
use std::sync::Arc;

use crate::domain::event::{
    ApprovalKind, AssistantResponse, CONTEXT_TRUNCATED, ContextSummary, Decision, EndReason, Event,
    Failure, FinishReason, OnDisconnect, Outcome, OwnTurn, Record, SaidBy, SessionStart, Status,
    ToolCall, ToolOutput, Trigger, Usage, UserMessage,
};
use crate::domain::ids::{AwaitedId, CallId, MessageId, Seq, TurnId};
use crate::domain::message::Message;
use crate::domain::spec::{ToolResultSpec, Truncation};
use crate::domain::state::{Progress, SessionState};
use crate::domain::step::{Step, next_step};
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;

/// The `n`th message of a test; people's and replies' are numbered together.
pub(crate) fn message_id(n: u64) -> MessageId {
    MessageId::mint(n, 0)
}

/// The `n`th turn.
pub(crate) fn turn_id(n: u64) -> TurnId {
    TurnId::mint(n, 0)
}

/// The `n`th call.
pub(crate) fn call_id(n: u64) -> CallId {
    CallId::parse(&format!("call_{n}")).unwrap()
}

/// The first event.
pub(crate) fn start() -> Event {
    Event::SessionStart(SessionStart::new("ada", OnDisconnect::Pause))
}

/// Message `n` of a person.
pub(crate) fn user(n: u64, text: &str) -> Event {
    Event::from(user_message(n, text))
}

/// Message `n` without its event around it: see [`user`].
pub(crate) fn user_message(n: u64, text: &str) -> UserMessage {
    UserMessage::new(message_id(n), text)
}

/// Message `n` is withdrawn.
pub(crate) fn dropped(n: u64) -> Event {
    Event::MessageDropped {
        message_id: message_id(n),
        reason: "queue full".to_owned(),
    }
}

/// Turn `n` starts, or starts again.
pub(crate) fn started(n: u64, trigger: Trigger) -> Event {
    Event::TurnStarted {
        turn_id: turn_id(n),
        trigger,
    }
}

/// Reply `n`, in turn 1, of a call that contained the events up to `input_seq`.
pub(crate) fn reply(n: u64, input_seq: u64, text: &str) -> AssistantResponse {
    AssistantResponse {
        turn_id: turn_id(1),
        message_id: message_id(n),
        agent: "ada".to_owned(),
        model: "echo/echo".to_owned(),
        input_seq: Seq(input_seq),
        content: Arc::new(text.to_owned()),
        tool_calls: Vec::new(),
        usage: None,
        finish_reason: FinishReason::Stop,
        continues: None,
        provider_data: None,
        attachments: Vec::new(),
    }
}

impl AssistantResponse {
    /// The same, in turn `n`.
    pub(crate) fn in_turn(mut self, n: u64) -> Self {
        self.turn_id = turn_id(n);
        self
    }

    /// The same, asking for calls.
    pub(crate) fn asking(mut self, calls: &[u64]) -> Self {
        self.tool_calls = calls.iter().map(|n| tool_call(*n)).collect();
        self.finish_reason = FinishReason::ToolCalls;
        self
    }

    /// The same, ended for another reason.
    pub(crate) fn but(mut self, why: FinishReason) -> Self {
        self.finish_reason = why;
        self
    }

    /// The same, going on with message `n`.
    pub(crate) fn continuing(mut self, n: u64) -> Self {
        self.continues = Some(message_id(n));
        self
    }

    /// The same, at a cost.
    pub(crate) fn costing(mut self, prompt: u64, completion: u64) -> Self {
        self.usage = Some(Usage::new(prompt, completion));
        self
    }

    /// As an event.
    pub(crate) fn event(self) -> Event {
        Event::from(self)
    }
}

/// Call `n`, of the tool `date`.
pub(crate) fn tool_call(n: u64) -> ToolCall {
    ToolCall {
        call_id: call_id(n),
        tool_name: "date".to_owned(),
        arguments: "{}".to_owned(),
        source: None,
    }
}

/// The tool of call `n` is about to run.
pub(crate) fn runs(n: u64) -> Event {
    Event::ToolStarted {
        call_id: call_id(n),
        tool_name: "date".to_owned(),
    }
}

/// The work that call `n` waits for.
pub(crate) fn awaited(n: u64) -> AwaitedId {
    AwaitedId::parse(&format!("job:{n}")).unwrap()
}

/// Call `n` is parked.
pub(crate) fn parks(n: u64) -> Event {
    Event::ToolParked {
        call_id: call_id(n),
        on: awaited(n),
    }
}

/// Call `n` has its result.
pub(crate) fn result(n: u64, content: &str) -> Event {
    Event::ToolResult {
        call_id: call_id(n),
        result: output(true, content),
        duration_ms: None,
        appended_bytes: None,
        attachments: Vec::new(),
    }
}

/// A tool's answer.
pub(crate) fn output(success: bool, content: &str) -> ToolOutput {
    ToolOutput {
        success,
        content: content.to_owned(),
    }
}

/// Calls are skipped.
pub(crate) fn skipped(calls: &[u64]) -> Event {
    Event::ToolsSkipped {
        call_ids: calls.iter().map(|n| call_id(*n)).collect(),
        reason: "cancelled".to_owned(),
    }
}

/// Somebody is asked about call `n`.
pub(crate) fn asks(n: u64) -> Event {
    Event::ApprovalRequired {
        call_id: call_id(n),
        command: format!("date {n}"),
        commands: Vec::new(),
        kind: ApprovalKind::Policy,
        exact: false,
        session_rules: Vec::new(),
        requester_id: None,
    }
}

/// Somebody decides on call `n`.
pub(crate) fn decides(n: u64, decision: Decision) -> Event {
    Event::ApprovalDecision {
        call_id: call_id(n),
        decision,
        by: None,
        source_id: None,
    }
}

/// The session pauses.
pub(crate) fn pauses() -> Event {
    Event::StatusChange {
        from: Status::Active,
        to: Status::Paused,
    }
}

/// The session goes on.
pub(crate) fn wakes() -> Event {
    Event::StatusChange {
        from: Status::Paused,
        to: Status::Active,
    }
}

/// Turn `n` is over.
pub(crate) fn ended(n: u64, outcome: Outcome) -> Event {
    let failure = Failure {
        code: "provider_error".to_owned(),
        message: "it is down".to_owned(),
    };
    Event::TurnEnded {
        turn_id: turn_id(n),
        outcome,
        error: (outcome == Outcome::Failed).then_some(failure),
        usage: None,
        cause: SaidBy::default(),
    }
}

/// Something recoverable happened.
pub(crate) fn notice() -> Event {
    Event::Error {
        code: "retry".to_owned(),
        message: "tried again".to_owned(),
    }
}

/// From here on less of the conversation goes to the model.
pub(crate) fn truncated() -> Event {
    Event::Error {
        code: CONTEXT_TRUNCATED.to_owned(),
        message: "less of it".to_owned(),
    }
}

/// A summary of what came up to event `upto_seq`.
pub(crate) fn summary(upto_seq: u64, text: &str) -> ContextSummary {
    ContextSummary {
        upto_seq: Seq(upto_seq),
        text: Some(text.to_owned()),
        model: "echo/echo".to_owned(),
        ..ContextSummary::default()
    }
}

/// The events as a log, [`start`] before them: the first of them is event 2.
pub(crate) fn log(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let events = [start()].into_iter().chain(events);
    events
        .zip(1..)
        .map(|(event, seq)| record(seq, event))
        .collect()
}

/// Event number `seq`.
pub(crate) fn record(seq: u64, event: Event) -> Record {
    Record {
        seq: Seq(seq),
        timestamp: Timestamp::from_micros(seq),
        cont: false,
        event,
    }
}

/// The state that a log leaves.
pub(crate) fn fold(records: &[Record]) -> SessionState {
    fold_within(Limits::none(), records)
}

/// Limits that a walk runs into: about so many tokens of history, and little of each result.
pub(crate) fn tight(history_tokens: u64) -> Limits {
    Limits {
        history_tokens,
        input_tokens: Some(600),
        tool_results: ToolResultSpec {
            max_tokens: 40,
            truncation: Truncation::Both,
            keep_first: 1,
            keep_last: 2,
        },
        ..Limits::none()
    }
}

/// The state that a log leaves within limits.
pub(crate) fn fold_within(limits: Limits, records: &[Record]) -> SessionState {
    let mut state = SessionState::new(limits);
    records.iter().for_each(|record| state.apply(record));
    state
}

/// Something that those who watch a session are shown, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WalkStep {
    /// A record was written.
    Record(Record),
    /// A model was asked, with the events up to this one.
    Asked(Seq),
    /// A piece of its text came.
    Text(String),
}

/// The records of a walk.
pub(crate) fn records_of(walk: &[WalkStep]) -> Vec<Record> {
    let records = walk.iter().filter_map(|shown| match shown {
        WalkStep::Record(record) => Some(record.clone()),
        WalkStep::Asked(_) | WalkStep::Text(_) => None,
    });
    records.collect()
}

/// A session to which happens what `choices` say, one of all things that can happen after what
/// came before: the same choices tell the same story. Each event is one that the state allows.
pub(crate) fn walk(choices: &[u8]) -> Vec<WalkStep> {
    let mut walk = RandomWalk {
        state: SessionState::new(Limits::none()),
        shown: Vec::new(),
        in_flight: None,
        last_id: 0,
    };
    walk.write(start());
    choices.iter().for_each(|choice| walk.go(*choice));
    walk.shown
}

struct RandomWalk {
    state: SessionState,
    shown: Vec<WalkStep>,
    in_flight: Option<(Seq, String)>,
    last_id: u64,
}

impl RandomWalk {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn write(&mut self, event: Event) {
        self.state.allows(&event).unwrap();
        let record = record(self.state.summary.last_seq.0 + 1, event);
        self.state.apply(&record);
        self.shown.push(WalkStep::Record(record));
    }

    /// Something from outside, or (mostly) the next step of the turn.
    fn go(&mut self, choice: u8) {
        if self.state.is_over() {
            return;
        }
        match choice % 16 {
            0 | 1 => self.say(choice),
            2 if choice > 200 => self.write(truncated()),
            2 => self.write(notice()),
            3 => self.drop_a_message(),
            4 if choice > 100 => self.cancel(),
            5 if choice > 100 => self.crash(choice),
            6 if choice == 230 => self.adopt(),
            6 if choice == 246 => self.end_session(),
            7 if self.in_flight.is_none() && self.state.turn.is_some() => self.pause(),
            8 if choice > 100 => self.resolve(choice),
            9 if choice > 80 => self.summarise(u64::from(choice / 16)),
            _ => self.step(choice / 16),
        }
    }

    fn say(&mut self, choice: u8) {
        let n = self.new_id();
        let text = format!("question {n}{}", "?".repeat(usize::from(choice)));
        if self.state.summary.status == Status::Paused {
            self.write(wakes());
        }
        let passive = n.is_multiple_of(5);
        let own_turn = match choice / 16 {
            1..=4 => Some(OwnTurn::Begins),
            5..=7 => Some(OwnTurn::Joins),
            _ => None,
        };
        self.write(Event::from(UserMessage {
            passive,
            own_turn: own_turn.filter(|_| !passive),
            sender_id: own_turn.map(|_| format!("{}", n % 2)),
            ..user_message(n, &text)
        }));
    }

    fn drop_a_message(&mut self) {
        let asked = self.in_flight.as_ref().map_or(Seq::ZERO, |(seq, _)| *seq);
        let held = self.state.held.iter().flatten();
        let unasked = self.state.inbox.iter().filter(|one| one.seq > asked);
        let found = unasked.chain(held).next();
        if let Some(message_id) = found.map(|unseen| unseen.message.message_id.clone()) {
            self.write(Event::MessageDropped {
                message_id,
                reason: "queue full".to_owned(),
            });
        }
    }

    fn pause(&mut self) {
        if self.state.summary.status == Status::Active {
            self.write(pauses());
        }
    }

    fn cancel(&mut self) {
        if self.state.turn.is_none() || self.state.summary.status == Status::Paused {
            return;
        }
        self.skip_open_calls();
        self.keep_partial(FinishReason::Cancelled);
        self.end_turn(Outcome::Cancelled);
    }

    /// What one of the parked calls waits for is there.
    fn resolve(&mut self, choice: u8) {
        let parked = self.state.parked_calls();
        let ids: Vec<CallId> = parked.map(|parked| parked.call.call_id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        self.write(Event::ToolResult {
            call_id: ids[usize::from(choice) % ids.len()].clone(),
            result: output(true, "it is there"),
            duration_ms: None,
            appended_bytes: None,
            attachments: Vec::new(),
        });
    }

    /// What came before some event is summarised, or is not.
    fn summarise(&mut self, part: u64) {
        let has_open_calls = self
            .state
            .turn
            .as_ref()
            .is_some_and(|turn| turn.has_open_calls());
        if self.in_flight.is_some() || has_open_calls {
            return;
        }
        let upto_seq = self.state.summary.last_seq.0 * part / 16;
        let text = (!part.is_multiple_of(3)).then(|| format!("up to {upto_seq}"));
        let has_failed = text.is_none();
        self.write(Event::from(ContextSummary {
            error: has_failed.then(|| "no".to_owned()),
            text,
            usage: Some(Usage::new(7, 2)),
            ..summary(upto_seq, "")
        }));
        if has_failed && part.is_multiple_of(2) {
            self.write(truncated());
        }
    }

    /// The process dies; with some choices the power too, and text that was shown is lost.
    fn crash(&mut self, choice: u8) {
        let Some(turn) = self.state.turn.as_ref().map(|turn| turn.id.clone()) else {
            return;
        };
        if let Some((_, text)) = &mut self.in_flight {
            let kept = match choice / 16 {
                0..=9 => text.chars().count(),
                10..=12 => text.chars().count() / 2,
                _ => 0,
            };
            *text = text.chars().take(kept).collect();
        }
        self.keep_partial(FinishReason::Interrupted);
        if self.state.summary.status == Status::Active {
            self.write(Event::TurnStarted {
                turn_id: turn,
                trigger: Trigger::Resume,
            });
        }
    }

    /// The files come into the hands of another account.
    fn adopt(&mut self) {
        self.keep_partial(FinishReason::Interrupted);
        self.write(Event::SessionAdopted {});
    }

    fn end_session(&mut self) {
        self.skip_open_calls();
        self.in_flight = None;
        self.write(Event::session_end(EndReason::Timeout));
    }

    fn skip_open_calls(&mut self) {
        let turn = self.state.turn.as_ref();
        let open: Vec<CallId> = turn
            .iter()
            .flat_map(|turn| turn.open_calls())
            .map(|open| open.call.call_id.clone())
            .collect();
        if !open.is_empty() {
            self.write(Event::ToolsSkipped {
                call_ids: open,
                reason: "cancelled".to_owned(),
            });
        }
    }

    fn keep_partial(&mut self, why: FinishReason) {
        let Some((input_seq, text)) = mem::take(&mut self.in_flight) else {
            return;
        };
        if !text.is_empty() {
            let partial = self.next_reply(input_seq, &text).but(why);
            self.write(partial.event());
        }
    }

    fn next_reply(&mut self, input_seq: Seq, text: &str) -> AssistantResponse {
        let turn = self.state.turn.clone().unwrap();
        let last = turn.last_reply.as_ref();
        let cut = last.filter(|last| last.finish_reason == FinishReason::Interrupted);
        AssistantResponse {
            turn_id: turn.id,
            continues: cut.map(|last| last.message_id.clone()),
            ..reply(self.new_id(), input_seq.0, text)
        }
    }

    fn end_turn(&mut self, outcome: Outcome) {
        let turn_id = self.state.turn.as_ref().unwrap().id.clone();
        let usage = self.state.turn.as_ref().unwrap().usage;
        self.write(Event::TurnEnded {
            turn_id,
            outcome,
            error: None,
            usage: Some(usage),
            cause: SaidBy::default(),
        });
    }

    fn step(&mut self, variant: u8) {
        match next_step(&self.state) {
            Step::Idle => self.say(variant),
            Step::Paused => self.write(wakes()),
            Step::EndTurn(outcome) => self.end_turn(outcome),
            Step::CallModel => self.call_model(variant),
            // Nobody asks for one here.
            Step::Summarise => self.summarise(u64::from(variant)),
            Step::RunTools(calls) => {
                // Those that only read run beside one another, and end in any order.
                let any = &calls[usize::from(variant) % calls.len()];
                let is_free = matches!(any.progress, Progress::Waiting | Progress::Started);
                let next = if is_free && variant > 9 {
                    any
                } else {
                    &calls[0]
                };
                self.bring_on(&next.call, &next.progress, variant);
            }
            Step::AwaitOthers if self.state.approval().is_some() => self.decide(variant),
            Step::AwaitOthers => self.resolve(variant),
        }
    }

    fn call_model(&mut self, variant: u8) {
        if self.state.turn.is_none() {
            let n = self.new_id();
            return self.write(started(n, Trigger::Message));
        }
        let last_seq = self.state.summary.last_seq;
        let Some((_, text)) = &mut self.in_flight else {
            self.in_flight = Some((last_seq, String::new()));
            return self.shown.push(WalkStep::Asked(last_seq));
        };
        if variant < 8 {
            let piece = format!("{}é {variant} ", text.len());
            text.push_str(&piece);
            return self.shown.push(WalkStep::Text(piece));
        }
        self.finish_reply(variant);
    }

    fn finish_reply(&mut self, variant: u8) {
        let Some((input_seq, text)) = mem::take(&mut self.in_flight) else {
            return;
        };
        if variant == 8 {
            self.in_flight = Some((input_seq, text));
            self.keep_partial(FinishReason::Error);
            return self.end_turn(Outcome::Failed);
        }
        let mut reply = self.next_reply(input_seq, &text).costing(7, 2);
        if variant > 11 {
            let calls: Vec<u64> = (11..variant).step_by(2).map(|_| self.new_id()).collect();
            reply = reply.asking(&calls);
        } else if reply.content.is_empty() {
            // The last piece and the end came together.
            reply.content = Arc::new("yes".to_owned());
        }
        self.write(reply.event());
        // Else the end of the turn was torn off.
        if variant != 9 && matches!(next_step(&self.state), Step::EndTurn(_)) {
            self.end_turn(Outcome::Completed);
        }
    }

    fn bring_on(&mut self, call: &ToolCall, progress: &Progress, variant: u8) {
        let call_id = call.call_id.clone();
        let asks = Event::ApprovalRequired {
            call_id: call_id.clone(),
            command: "date".to_owned(),
            commands: vec!["date".to_owned()],
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        };
        let starts = Event::ToolStarted {
            call_id: call_id.clone(),
            tool_name: call.tool_name.clone(),
        };
        let parks = Event::ToolParked {
            call_id: call_id.clone(),
            on: awaited(self.last_id),
        };
        let answers = |success| Event::ToolResult {
            call_id: call_id.clone(),
            result: output(success, &"it is noon ".repeat(usize::from(variant) * 3)),
            duration_ms: None,
            appended_bytes: None,
            attachments: Vec::new(),
        };
        self.write(match progress {
            Progress::Waiting if variant < 4 => asks,
            Progress::Waiting if variant < 12 => starts,
            Progress::Started if variant < 4 => asks,
            Progress::Started if variant < 8 => parks,
            Progress::Decided(Decision::AllowOnce) => starts,
            Progress::Doubted => asks,
            Progress::Decided(_) | Progress::Waiting => answers(false),
            Progress::Started | Progress::Parked { .. } | Progress::Asked | Progress::Done => {
                answers(true)
            }
        });
    }

    fn decide(&mut self, variant: u8) {
        let call_id = self.state.approval().unwrap().call_id.clone();
        self.write(Event::ApprovalDecision {
            call_id,
            decision: if variant < 8 {
                Decision::AllowOnce
            } else {
                Decision::Deny
            },
            by: None,
            source_id: None,
        });
    }
}

/// Errors: the strictest provider would refuse these messages; see [`Message`].
pub(crate) fn check_messages(messages: &[Message]) -> Result<(), String> {
    let mut open: Vec<&CallId> = Vec::new();
    let mut last = "";
    for message in messages {
        let speaker = speaker(message);
        if is_empty(message) {
            return Err(format!("{message:?} is empty"));
        }
        match message {
            Message::Tool { call_id, .. } => {
                let at = open.iter().position(|open| *open == call_id);
                open.remove(at.ok_or_else(|| format!("{call_id} answers nothing"))?);
            }
            Message::User { .. } | Message::Assistant(_) if !open.is_empty() => {
                return Err(format!("{open:?} are not answered directly"));
            }
            Message::User { .. } | Message::Assistant(_) if speaker == last => {
                return Err(format!("two messages of {speaker} in a row"));
            }
            Message::Assistant(_) if last.is_empty() => {
                return Err("the model speaks first".to_owned());
            }
            Message::Assistant(reply) => {
                open.extend(reply.tool_calls.iter().map(|call| &call.call_id));
            }
            Message::User { .. } => {}
        }
        last = speaker;
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("{open:?} are not answered"))
    }
}

/// The same for the whole of a call, which the model must not have spoken last in.
pub(crate) fn check_conversation(messages: &[Message]) -> Result<(), String> {
    check_messages(messages)?;
    match messages.last() {
        Some(Message::Assistant(_)) => Err("the model speaks last".to_owned()),
        Some(Message::User { .. } | Message::Tool { .. }) | None => Ok(()),
    }
}

fn speaker(message: &Message) -> &'static str {
    match message {
        Message::User { .. } => "user",
        Message::Assistant(_) => "assistant",
        Message::Tool { .. } => "tool",
    }
}

fn is_empty(message: &Message) -> bool {
    let is_blank = |text: &str| text.trim().is_empty();
    match message {
        // A file needs no words, but words that are nothing are refused.
        Message::User { text, attachments } if !attachments.is_empty() => {
            !text.is_empty() && is_blank(text)
        }
        Message::User { text, .. } => is_blank(text),
        Message::Assistant(reply) => is_blank(&reply.text) && reply.tool_calls.is_empty(),
        Message::Tool { output, .. } => is_blank(&output.content),
    }
}
