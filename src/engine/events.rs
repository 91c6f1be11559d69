//! What is written at the turning points of a turn. Pure.

use std::sync::Arc;

use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{
    AssistantResponse, Attachment, ContextSummary, Decision, Event, Failure, FinishReason, Outcome,
    SaidBy, Status, ToolCall, ToolOutput, Trigger, Usage,
};
use crate::domain::hooks::Hooks;
use crate::domain::ids::{AwaitedId, CallId, MessageId, TurnId};
use crate::domain::state::{CallState, Progress, SessionState};
use crate::engine::watch::live::Live;

/// A paused session goes on.
pub(super) fn goes_on() -> Event {
    Event::StatusChange {
        from: Status::Paused,
        to: Status::Active,
    }
}

/// A turn begins, to answer a message.
pub(super) fn turn_start(turn_id: TurnId) -> Event {
    Event::TurnStarted {
        turn_id,
        trigger: Trigger::Message,
    }
}

/// How a turn is ended.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) error: Option<Failure>,
    /// What the model is told of calls without a result.
    pub(super) skips: &'static str,
    /// Whose word it was.
    pub(super) cause: SaidBy,
}

impl Ending {
    pub(super) fn completed() -> Ending {
        Ending {
            outcome: Outcome::Completed,
            error: None,
            skips: "not run",
            cause: SaidBy::default(),
        }
    }

    /// Somebody, or a rule, wants it so.
    pub(super) fn cancelled(skips: &'static str) -> Ending {
        Ending {
            outcome: Outcome::Cancelled,
            error: None,
            skips,
            cause: SaidBy::default(),
        }
    }

    /// The same by somebody's word in a chat.
    pub(super) fn said_by(self, cause: SaidBy) -> Ending {
        Ending { cause, ..self }
    }

    pub(super) fn failed(error: Failure) -> Ending {
        Ending {
            outcome: Outcome::Failed,
            error: Some(error),
            skips: "the turn failed",
            cause: SaidBy::default(),
        }
    }

    pub(super) fn event(self, turn_id: TurnId, usage: Usage) -> Event {
        Event::TurnEnded {
            turn_id,
            outcome: self.outcome,
            error: self.error,
            usage: (usage.total_tokens > 0).then_some(usage),
            cause: self.cause,
        }
    }
}

/// What the model is told of calls that a person's cancel has skipped.
pub(super) const CANCELLED: &str = "cancelled by the user";

/// What the model is told beside that of calls that began, and whose tool has not come back.
const BEGUN: &str = "; it had begun, and it is unknown what it did";

/// The end of the unfinished turn: open calls are skipped, the reply in flight is kept as far as
/// it came. Nothing if there is none.
pub(super) fn turn_end(live: &Live, ending: Ending) -> Vec<Event> {
    let Some(turn) = &live.state.turn else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let (begun, waiting): (Vec<_>, Vec<_>) = turn
        .open_calls()
        .partition(|state| has_begun(&state.progress));
    events.extend(skipped(&begun, format!("{}{BEGUN}", ending.skips)));
    events.extend(skipped(&waiting, ending.skips.to_owned()));
    let finish_reason = match ending.outcome {
        Outcome::Completed => FinishReason::Stop,
        Outcome::Cancelled => FinishReason::Cancelled,
        Outcome::Failed => FinishReason::Error,
    };
    let kept = partial_reply(live, finish_reason);
    let mut usage = turn.usage;
    if let Some(used) = kept.as_ref().and_then(|one| one.as_reply()?.usage) {
        usage.add(used);
    }
    events.extend(kept);
    events.push(ending.event(turn.id.clone(), usage));
    events
}

/// Whether it is unknown what a call without a result has done.
fn has_begun(progress: &Progress) -> bool {
    match progress {
        Progress::Started | Progress::Parked { .. } | Progress::Doubted => true,
        Progress::Waiting | Progress::Asked | Progress::Decided(_) | Progress::Done => false,
    }
}

fn skipped(calls: &[&CallState], reason: String) -> Option<Event> {
    let call_ids: Vec<CallId> = calls.iter().map(|one| one.call.call_id.clone()).collect();
    (!call_ids.is_empty()).then_some(Event::ToolsSkipped { call_ids, reason })
}

/// The end of whatever is unfinished, messages included that no turn has begun to answer: those
/// count as seen in a turn of their own, `new_turn`. Nothing if nothing is unfinished.
pub(super) fn end_of_all(live: &Live, new_turn: TurnId, ending: Ending) -> Vec<Event> {
    let state = &live.state;
    if state.turn.is_none() && !state.is_asked() {
        return Vec::from_iter(
            state
                .summary
                .compact
                .as_ref()
                .map(|_| unwanted(ending.skips)),
        );
    }
    let mut events = Vec::new();
    if state.summary.status == Status::Paused {
        events.push(goes_on());
    }
    if state.turn.is_some() {
        events.extend(turn_end(live, ending));
    } else {
        events.push(turn_start(new_turn.clone()));
        events.push(ending.event(new_turn, Usage::default()));
    }
    events
}

/// The summary that somebody wanted is not made.
fn unwanted(why: &str) -> Event {
    Event::from(ContextSummary {
        error: Some(why.to_owned()),
        ..ContextSummary::default()
    })
}

/// The reply in flight as far as it came; nothing if nothing came.
pub(super) fn partial_reply(live: &Live, finish_reason: FinishReason) -> Option<Event> {
    let turn = live.state.turn.as_ref()?;
    let reply = live
        .in_flight
        .as_ref()
        .filter(|reply| !reply.text.is_empty())?;
    Some(Event::from(AssistantResponse {
        turn_id: turn.id.clone(),
        message_id: reply.message_id.clone(),
        agent: live.state.summary.agent.clone(),
        model: reply.model.clone(),
        input_seq: reply.input_seq,
        content: Arc::clone(&reply.text),
        tool_calls: Vec::new(),
        // Of a reply that breaks off nobody says what it has used, and it is paid for.
        usage: reply.price.map(|price| {
            let used = live
                .state
                .estimated_usage(reply.input_seq, reply.text.len());
            used.priced(Some(price))
        }),
        finish_reason,
        continues: continued(&live.state),
        provider_data: None,
        attachments: live.state.handed_out.clone(),
    }))
}

/// What came of a reply that broke off, what is to be said of that, and that the turn goes on.
pub(super) fn broken_off(live: &Live, notice: Option<Event>) -> Vec<Event> {
    let kept = partial_reply(live, FinishReason::Interrupted);
    let has_news = kept.is_some() || notice.is_some();
    let turn = live.state.turn.as_ref().filter(|_| has_news);
    let goes_on = turn.map(|turn| Event::TurnStarted {
        turn_id: turn.id.clone(),
        trigger: Trigger::Restart,
    });
    kept.into_iter().chain(notice).chain(goes_on).collect()
}

/// Calls were not whole when their reply ended: they do not run, and the model is told so.
pub(super) fn cut(call_ids: Vec<CallId>) -> [Event; 2] {
    let notice = Event::Error {
        code: NoticeCode::CallCut.as_str().to_owned(),
        message:
            "the reply reached its limit of tokens in the middle of a call, which does not run"
                .to_owned(),
    };
    let reason =
        "not run: the reply reached its limit of tokens in the middle of this call; say it \
                  in fewer words, or in several calls"
            .to_owned();
    [notice, Event::ToolsSkipped { call_ids, reason }]
}

/// The message that the next reply of the unfinished turn goes on with, if the last was cut off.
/// Also when somebody has said something since: whoever puts the text together sees no end in
/// between.
pub(super) fn continued(state: &SessionState) -> Option<MessageId> {
    let last = state.turn.as_ref()?.last_reply.as_ref()?;
    (last.finish_reason == FinishReason::Interrupted).then(|| last.message_id.clone())
}

/// A failure.
pub(super) fn failure(code: FailureCode, message: String) -> Failure {
    Failure {
        code: code.as_str().to_owned(),
        message,
    }
}

/// A call waits for what others do.
pub(super) fn parked(call: &ToolCall, on: AwaitedId) -> Event {
    Event::ToolParked {
        call_id: call.call_id.clone(),
        on,
    }
}

/// What came of a call; of a success with what the agent's hooks say to it.
pub(super) fn result(
    hooks: &Hooks,
    call: &ToolCall,
    mut output: ToolOutput,
    duration_ms: Option<u64>,
    attachments: Vec<Attachment>,
) -> Event {
    let message = hooks.message_after(call).filter(|_| output.success);
    let appended = message.map(|message| format!("\n\n{message}"));
    output
        .content
        .push_str(appended.as_deref().unwrap_or_default());
    Event::ToolResult {
        call_id: call.call_id.clone(),
        result: output,
        duration_ms,
        appended_bytes: appended.map(|text| text.len()),
        attachments,
    }
}

/// What the model is told of a call that did not run.
pub(super) fn refused(content: String) -> ToolOutput {
    ToolOutput {
        success: false,
        content,
    }
}

/// The end of a question whether a call may run that nobody has answered: in one append, so that what the
/// model is told does not depend on who writes next.
pub(super) fn unanswered(call_id: &CallId) -> [Event; 2] {
    let decision = Event::ApprovalDecision {
        call_id: call_id.clone(),
        decision: Decision::Deny,
        by: None,
        source_id: None,
    };
    let result = Event::ToolResult {
        call_id: call_id.clone(),
        result: refused("nobody answered, so it did not run".to_owned()),
        duration_ms: None,
        appended_bytes: None,
        attachments: Vec::new(),
    };
    [decision, result]
}

/// What the model is told of a call that a person decided not to run.
pub(super) fn decided(decision: Decision) -> ToolOutput {
    match decision {
        Decision::Worked => ToolOutput {
            success: true,
            content: "the user says that it did its work; its output was lost".to_owned(),
        },
        Decision::Deny => refused("the user did not allow it".to_owned()),
        Decision::Skip => refused(
            "it is unknown whether it ran: the server stopped meanwhile, and the user chose not \
             to run it again"
                .to_owned(),
        ),
        Decision::AllowOnce | Decision::AllowSession | Decision::AllowAlways | Decision::Retry => {
            refused("not run".to_owned())
        }
    }
}
