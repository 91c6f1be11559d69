//! What is written at the turning points of a turn. Pure.

use crate::domain::event::{
    AssistantResponse, Decision, Event, Failure, FinishReason, Outcome, Status, ToolOutput, Trigger,
};
use crate::domain::ids::{CallId, MessageId, TurnId};
use crate::domain::state::SessionState;
use crate::engine::live::Live;

/// A paused session goes on.
pub(super) fn goes_on() -> Event {
    Event::StatusChange {
        from: Status::Paused,
        to: Status::Active,
    }
}

/// The end of the unfinished turn; nothing if there is none.
pub(super) fn turn_end(
    state: &SessionState,
    outcome: Outcome,
    error: Option<Failure>,
) -> Vec<Event> {
    let ended = state.turn.as_ref().map(|turn| Event::TurnEnded {
        turn_id: turn.id.clone(),
        outcome,
        error,
        usage: (turn.usage.total_tokens > 0).then_some(turn.usage),
    });
    ended.into_iter().collect()
}

/// What the model is told of calls that a person's cancel has skipped.
pub(super) const CANCELLED: &str = "cancelled by the user";

/// Ends whatever is unfinished: the reply in flight is kept as far as it came, open calls are
/// skipped for the `reason`, messages stored before count as seen. Nothing if nothing is unfinished.
/// `new_turn` is for messages that no turn has begun to answer.
pub(super) fn cancellation(live: &Live, new_turn: TurnId, reason: &str) -> Vec<Event> {
    let state = &live.state;
    let mut events = Vec::new();
    if state.turn.is_none() && state.inbox.is_empty() {
        return events;
    }
    if state.summary.status == Status::Paused {
        events.push(goes_on());
    }
    let Some(turn) = &state.turn else {
        events.push(Event::TurnStarted {
            turn_id: new_turn.clone(),
            trigger: Trigger::Message,
        });
        events.push(Event::TurnEnded {
            turn_id: new_turn,
            outcome: Outcome::Cancelled,
            error: None,
            usage: None,
        });
        return events;
    };
    let open: Vec<CallId> = turn
        .open_calls()
        .map(|state| state.call.call_id.clone())
        .collect();
    if !open.is_empty() {
        events.push(Event::ToolsSkipped {
            call_ids: open,
            reason: reason.to_owned(),
        });
    }
    events.extend(partial_reply(live, FinishReason::Cancelled));
    events.extend(turn_end(state, Outcome::Cancelled, None));
    events
}

/// The reply in flight as far as it came; nothing if nothing came.
pub(super) fn partial_reply(live: &Live, finish_reason: FinishReason) -> Option<Event> {
    let turn = live.state.turn.as_ref()?;
    let reply = live
        .in_flight
        .as_ref()
        .filter(|reply| !reply.text.is_empty())?;
    Some(Event::AssistantResponse(AssistantResponse {
        turn_id: turn.id.clone(),
        message_id: reply.message_id.clone(),
        agent: live.state.summary.agent.clone(),
        model: reply.model.clone(),
        input_seq: reply.input_seq,
        content: reply.text.clone(),
        tool_calls: Vec::new(),
        usage: None,
        finish_reason,
        continues: continued(&live.state),
        provider_data: None,
    }))
}

/// The message that the next reply of the unfinished turn goes on with, if the last was cut off.
/// Also when somebody has said something since: whoever puts the text together sees no end in
/// between.
pub(super) fn continued(state: &SessionState) -> Option<MessageId> {
    let last = state.turn.as_ref()?.last_reply.as_ref()?;
    (last.finish_reason == FinishReason::Interrupted).then(|| last.message_id.clone())
}

/// A failure.
pub(super) fn failure(code: &str, message: String) -> Failure {
    Failure {
        code: code.to_owned(),
        message,
    }
}

/// What the model is told of a call that did not run.
pub(super) fn refused(content: String) -> ToolOutput {
    ToolOutput {
        success: false,
        content,
    }
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
        Decision::AllowOnce | Decision::AllowAlways | Decision::Retry => {
            refused("not run".to_owned())
        }
    }
}
