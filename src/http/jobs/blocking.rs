//! Answers that wait for a turn: `POST …/messages` and `POST …/approve`.

use std::convert::Infallible;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::domain::event::{Status, Usage};
use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;
use crate::engine::EngineError;
use crate::engine::sessions::view::PendingApproval;
use crate::engine::{Accepted, Cut, Decided, Flow, NewMessage};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::problem::HttpProblem;
use crate::http::streams::{SessionWatch, WatchWake};
use crate::http::turn::{TurnEnd, TurnReader};
use crate::http::wire;
use crate::wire::{Approve, DecidedBody, StoredBody};

/// The end of a wait for a turn.
#[derive(Debug, PartialEq)]
enum WaitOutcome {
    /// The turn ended with an answer.
    Done(Usage),
    /// The turn waits for a decision.
    Asks(PendingApproval),
    /// The turn goes on: it took longer than the server lets an answer wait, or the client has
    /// left. One that has only closed its sending half still reads this.
    GoesOn,
}

/// Stores a message and waits for the answer to it.
///
/// Errors: what to answer instead; once the message is stored, its id is in it.
pub(super) fn ask(
    context: &ApiContext,
    id: &SessionId,
    message: NewMessage,
    gone: Receiver<Infallible>,
) -> Result<Answer, HttpProblem> {
    let (accepted, subscription) = context.sessions.submit_and_follow(id, message)?;
    let mut turn = TurnReader::default();
    let watch = SessionWatch::new(subscription, gone, &context.stop);
    let outcome = wait_for_turn(context, id, watch, &mut turn);
    let outcome = outcome
        .map_err(|problem| problem.with_member("message_id", accepted.message_id.as_str()))?;
    Ok(reply_answer(id, &accepted, &turn, &outcome))
}

/// Stores a decision and waits for what comes of it.
///
/// Errors: what to answer instead.
pub(super) fn decide(
    context: &ApiContext,
    id: &SessionId,
    by: &Principal,
    approve: &Approve,
    gone: Receiver<Infallible>,
) -> Result<Answer, HttpProblem> {
    let Approve {
        call_id,
        command,
        decision,
    } = approve;
    let sessions = &context.sessions;
    let (decided, subscription) = sessions.approve(id, call_id, command, *decision, by)?;
    let mut turn = TurnReader::default();
    let watch = SessionWatch::new(subscription, gone, &context.stop);
    let outcome = wait_for_turn(context, id, watch, &mut turn)?;
    Ok(decided_answer(decided, &turn, &outcome))
}

/// Watches a turn until its outcome is known.
///
/// Errors: the turn failed or was cancelled, or nothing more can be learned of it.
fn wait_for_turn(
    context: &ApiContext,
    id: &SessionId,
    mut watch: SessionWatch,
    turn: &mut TurnReader,
) -> Result<WaitOutcome, HttpProblem> {
    let deadline = Instant::now() + context.settings.request_timeout;
    let mut items = Vec::new();
    loop {
        let flow = watch.pull(&mut items)?;
        items.drain(..).for_each(|item| turn.take(item.event));
        if let Some(end) = turn.end() {
            return outcome_of(end);
        }
        let has_more = flow == Flow::More;
        if !has_more && let Some(question) = open_question(context, id, turn)? {
            return Ok(WaitOutcome::Asks(question));
        }
        let wake = match flow {
            Flow::More => watch.look(),
            Flow::Open => watch.wait_until(deadline),
            Flow::Over => return Err(no_more(context, id, "its events have ended")),
            Flow::Cut(cut @ Cut::Waits(_)) => return Err(failure::turn_waits(&cut.to_string())),
            Flow::Cut(cut) => return Err(no_more(context, id, &cut.to_string())),
        };
        match wake {
            WatchWake::News => {}
            WatchWake::Gone => return Ok(WaitOutcome::GoesOn),
            WatchWake::Late => {
                watch.let_it_run_on();
                return Ok(WaitOutcome::GoesOn);
            }
            WatchWake::Stopped => return Err(shutting_down()),
        }
    }
}

fn outcome_of(end: &TurnEnd) -> Result<WaitOutcome, HttpProblem> {
    match end {
        TurnEnd::Done { usage } => Ok(WaitOutcome::Done(*usage)),
        TurnEnd::Cancelled => {
            Err(HttpProblem::new(409, "the turn was cancelled").with_kind("turn-cancelled"))
        }
        TurnEnd::Failed { code, message } => Err(failure::turn_failed(code, message.clone())),
    }
}

/// The last question of the turn, if it is open still: in the events of a turn of long ago (a
/// repeated key) it may have been answered, and who follows a message sees no decisions.
fn open_question(
    context: &ApiContext,
    id: &SessionId,
    turn: &TurnReader,
) -> Result<Option<PendingApproval>, EngineError> {
    let Some(asked) = turn.asked() else {
        return Ok(None);
    };
    let pending = context.sessions.show(id)?.pending_approval;
    Ok(pending.filter(|pending| pending == asked))
}

/// Why a session's events have ended without the turn's end: it is gone, over, or only these events
/// have ended.
fn no_more(context: &ApiContext, id: &SessionId, reason: &str) -> HttpProblem {
    if context.stop.is_stopped() {
        return shutting_down();
    }
    match context.sessions.show(id) {
        Err(error) => error.into(),
        Ok(session) if session.status == Status::Completed => {
            EngineError::SessionEnded(id.clone()).into()
        }
        Ok(_) => cut_off(reason),
    }
}

fn shutting_down() -> HttpProblem {
    let detail = "the server is shutting down; what was sent is stored, and the turn is unaffected";
    failure::retry_later(HttpProblem::new(503, detail), RETRY_SOON)
}

fn cut_off(reason: &str) -> HttpProblem {
    let detail = format!("the turn is unaffected, but no longer followed here: {reason}");
    failure::retry_later(HttpProblem::new(503, detail), RETRY_SOON)
}

fn reply_answer(
    id: &SessionId,
    accepted: &Accepted,
    turn: &TurnReader,
    outcome: &WaitOutcome,
) -> Answer {
    match outcome {
        WaitOutcome::Done(usage) => Answer::json(200, &wire::reply(turn.reply(), *usage)),
        WaitOutcome::Asks(pending) => Answer::json(202, &wire::waiting(id, pending)),
        WaitOutcome::GoesOn => Answer::json(202, &StoredBody::from(accepted)),
    }
}

fn decided_answer(decided: Decided, turn: &TurnReader, outcome: &WaitOutcome) -> Answer {
    match outcome {
        WaitOutcome::Done(_) => Answer::json(200, &wire::decided_and_complete(turn.reply())),
        WaitOutcome::Asks(pending) => {
            Answer::json(200, &DecidedBody::PendingApproval(pending.into()))
        }
        WaitOutcome::GoesOn => {
            Answer::json(202, &DecidedBody::<&str>::Working { seq: decided.seq })
        }
    }
}
