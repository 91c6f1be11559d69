//! What to do now: one pure decision on a session's state.
//!
//! Because it depends on the log alone, a turn that resumes after a crash, a pause or an approval
//! takes the same path as one that was never interrupted.

use crate::domain::event::{FinishReason, Outcome, Status};
use crate::domain::state::{CallState, SessionState, Turn};

/// The next thing to do for a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing: it waits for a message. So does a turn that came from elsewhere.
    Idle,
    /// Ask the model; a turn is started first if there is none.
    CallModel,
    /// Have the older part of the conversation summarised: before the model is asked, or because somebody wants it.
    Summarise,
    /// Run these calls, which have no result yet and are not parked, in order.
    RunTools(Vec<CallState>),
    /// Nothing: it waits for others, a person's decision or what parked calls wait for. No thread does.
    AwaitOthers,
    /// Write that the turn is over.
    EndTurn(Outcome),
    /// Nothing: it waits for a client.
    Paused,
}

/// Decides the next step.
pub fn next_step(state: &SessionState) -> Step {
    match state.summary.status {
        Status::Completed => return Step::Idle,
        Status::Paused => return Step::Paused,
        Status::Active | Status::Running => {}
    }
    if state.is_dormant {
        return Step::Idle;
    }
    match &state.turn {
        None if state.is_asked() => ask_model(state),
        None if state.summary.compact.is_some() => Step::Summarise,
        None => Step::Idle,
        Some(turn) => next_in_turn(state, turn),
    }
}

/// No call is open now: the one place where a conversation may be cut.
fn ask_model(state: &SessionState) -> Step {
    if state.wants_summary() {
        Step::Summarise
    } else {
        Step::CallModel
    }
}

fn next_in_turn(state: &SessionState, turn: &Turn) -> Step {
    // One question at a time: nothing after it runs, and calls before it have run or are parked.
    if turn.approval.is_some() {
        return Step::AwaitOthers;
    }
    if turn.has_open_calls() {
        let can_run = turn.open_calls().filter(|state| state.parked().is_none());
        let can_run: Vec<CallState> = can_run.cloned().collect();
        return if can_run.is_empty() {
            Step::AwaitOthers
        } else {
            Step::RunTools(can_run)
        };
    }
    let Some(last) = &turn.last_reply else {
        // The messages that it was started for may have been withdrawn.
        return if state.is_asked() {
            ask_model(state)
        } else {
            Step::EndTurn(Outcome::Cancelled)
        };
    };
    match last.finish_reason {
        FinishReason::Interrupted => ask_model(state),
        FinishReason::Cancelled => Step::EndTurn(Outcome::Cancelled),
        FinishReason::Error => Step::EndTurn(Outcome::Failed),
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
            // Either the results of its calls, or a message that it has not seen, want an answer.
            let wants_more = !turn.calls.is_empty() || state.is_asked();
            if wants_more {
                ask_model(state)
            } else {
                Step::EndTurn(Outcome::Completed)
            }
        }
    }
}

#[cfg(test)]
mod tests;
