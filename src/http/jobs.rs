//! Requests that take their time: what they ask for is done, and what waits then for its turn moves to
//! [`Streams`], with the request it answers.
//!
//! None changes what happens to a turn: it stores, subscribes and watches. When its client leaves
//! it drops the subscription, and the session's own rule (`on_disconnect`) decides.

mod turn_answer;

use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;
use crate::engine::{Begin, EngineError, NewMessage, Presence, Subscription};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::jobs::turn_answer::{Stored, TurnAnswer};
use crate::http::problem::HttpProblem;
use crate::http::server::Incoming;
use crate::http::sse::Audience;
use crate::http::streams::{ClientFollower, SessionWatch, SseStream};
use crate::wire::{Approve, CancelledBody};

/// A request that takes its time, checked.
#[derive(Debug)]
pub enum LongRequest {
    /// `POST …/messages`: say something and wait for the answer.
    Ask {
        /// Where.
        id: SessionId,
        /// What.
        message: NewMessage,
    },
    /// `POST …/stream`: say something and watch the answer.
    Follow {
        /// Where.
        id: SessionId,
        /// What.
        message: NewMessage,
    },
    /// `GET …/events`: watch a session.
    Attach {
        /// Which.
        id: SessionId,
        /// From where on.
        begin: Begin,
        /// In which part.
        presence: Presence,
    },
    /// `POST …/approve`: decide and wait for what comes of it.
    Decide {
        /// Where.
        id: SessionId,
        /// Who.
        by: Principal,
        /// What.
        approve: Approve,
    },
    /// `POST …/cancel`: stop the turn.
    Cancel {
        /// Where.
        id: SessionId,
    },
}

impl LongRequest {
    /// It only waits for the disk, and not for what others do.
    pub fn is_quick(&self) -> bool {
        !matches!(self, LongRequest::Cancel { .. })
    }

    /// The name of its thread, which tells the session in the fifteen bytes that Linux shows.
    pub fn thread_name(&self) -> String {
        match self {
            LongRequest::Follow { id, .. } | LongRequest::Attach { id, .. } => {
                format!("sse-{}", id.short())
            }
            LongRequest::Ask { id, .. }
            | LongRequest::Decide { id, .. }
            | LongRequest::Cancel { id } => {
                format!("wait-{}", id.short())
            }
        }
    }
}

/// Does what the request asks for, up to what must be waited for: returns that, if there is anything.
///
/// It may wait for the disk, and a cancel waits for a moment what comes of it.
pub fn begin(
    context: &ApiContext,
    request: LongRequest,
    incoming: Incoming,
) -> Option<Box<dyn ClientFollower>> {
    let name = request.thread_name();
    let sessions = &context.sessions;
    match request {
        LongRequest::Ask { id, message } => {
            let followed = sessions.submit_and_follow(&id, message);
            let followed =
                followed.map(|(accepted, followed)| (Stored::Message(accepted), followed));
            wait(context, name, id, followed, incoming)
        }
        LongRequest::Decide { id, by, approve } => {
            let Approve {
                call_id,
                command,
                decision,
            } = approve;
            let followed = sessions.approve(&id, &call_id, &command, decision, &by);
            let followed =
                followed.map(|(decided, followed)| (Stored::Decision(decided), followed));
            wait(context, name, id, followed, incoming)
        }
        LongRequest::Cancel { id } => finish(cancel(context, &id), incoming),
        LongRequest::Follow { id, message } => {
            let watch = follow(context, &id, message, &incoming);
            stream(context, name, Audience::Turn, watch, incoming)
        }
        LongRequest::Attach {
            id,
            begin,
            presence,
        } => {
            let watch = attach(context, &id, begin, presence, &incoming);
            stream(context, name, Audience::Session, watch, incoming)
        }
    }
}

/// Waits for a turn, or answers why there is none.
fn wait(
    context: &ApiContext,
    name: String,
    id: SessionId,
    followed: Result<(Stored, Subscription), EngineError>,
    incoming: Incoming,
) -> Option<Box<dyn ClientFollower>> {
    match followed {
        Ok(followed) => Some(TurnAnswer::begin(context, name, id, followed, incoming)),
        Err(error) => finish(Err(error.into()), incoming),
    }
}

/// Sends what there is to send; nothing is left to do.
fn finish(
    answer: Result<Answer, HttpProblem>,
    incoming: Incoming,
) -> Option<Box<dyn ClientFollower>> {
    match answer {
        Ok(answer) => answer.send(incoming),
        Err(problem) => incoming.problem(&problem),
    }
    None
}

fn cancel(context: &ApiContext, id: &SessionId) -> Result<Answer, HttpProblem> {
    let cancelled = context.sessions.cancel(id)?;
    Ok(Answer::json(200, &CancelledBody { cancelled }))
}

fn follow(
    context: &ApiContext,
    id: &SessionId,
    message: NewMessage,
    incoming: &Incoming,
) -> Result<Option<SessionWatch>, HttpProblem> {
    let (_, subscription) = context.sessions.submit_and_follow(id, message)?;
    let watch = SessionWatch::new(subscription, incoming.gone(), &context.stop);
    Ok(Some(watch))
}

/// `None` when there is nothing to show, now or ever.
fn attach(
    context: &ApiContext,
    id: &SessionId,
    begin: Begin,
    presence: Presence,
    incoming: &Incoming,
) -> Result<Option<SessionWatch>, HttpProblem> {
    let subscription = context.sessions.subscribe(id, begin, presence)?;
    if subscription.has_nothing_left() {
        return Ok(None);
    }
    let watch = SessionWatch::new(subscription, incoming.gone(), &context.stop);
    Ok(Some(watch))
}

/// Begins the stream of what is watched, or answers why there is none.
fn stream(
    context: &ApiContext,
    name: String,
    audience: Audience,
    watch: Result<Option<SessionWatch>, HttpProblem>,
    incoming: Incoming,
) -> Option<Box<dyn ClientFollower>> {
    match watch {
        Ok(Some(watch)) => {
            let stream = SseStream::begin(context, name, watch, audience, incoming)?;
            Some(stream)
        }
        Ok(None) => finish(Ok(Answer::nothing()), incoming),
        Err(problem) => finish(Err(problem), incoming),
    }
}
