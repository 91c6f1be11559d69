//! Requests that take their time: each begins on a thread of its own, with the request it answers.
//! A stream that has shown all there is leaves its thread for [`Streams`].
//!
//! None changes what happens to a turn: it stores, subscribes and watches. When its client leaves
//! it drops the subscription, and the session's own rule (`on_disconnect`) decides.

mod blocking;

use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;
use crate::engine::{Begin, NewMessage, Presence};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::problem::HttpProblem;
use crate::http::server::Incoming;
use crate::http::sse::Audience;
use crate::http::streams::{SessionWatch, SseStream, Streams};
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

/// Does what the request asks for, and answers it. Blocks until the answer is sent or `streams` has taken it
/// over, the client is gone, or the stop is given.
pub fn run(context: &ApiContext, streams: &Streams, request: LongRequest, incoming: Incoming) {
    if let Some(stream) = begin(context, request, incoming) {
        streams.run(stream);
    }
}

/// Does all but the stream that it may lead to.
fn begin(context: &ApiContext, request: LongRequest, incoming: Incoming) -> Option<Box<SseStream>> {
    let name = request.thread_name();
    match request {
        LongRequest::Ask { id, message } => {
            let answer = blocking::ask(context, &id, message, incoming.gone());
            finish(answer, incoming)
        }
        LongRequest::Decide { id, by, approve } => {
            let answer = blocking::decide(context, &id, &by, &approve, incoming.gone());
            finish(answer, incoming)
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

/// Sends what there is to send; nothing is left to do.
fn finish(answer: Result<Answer, HttpProblem>, incoming: Incoming) -> Option<Box<SseStream>> {
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
) -> Option<Box<SseStream>> {
    match watch {
        Ok(Some(watch)) => SseStream::begin(context, name, watch, audience, incoming),
        Ok(None) => finish(Ok(Answer::nothing()), incoming),
        Err(problem) => finish(Err(problem), incoming),
    }
}
