//! What takes its time: jobs that begin on threads of their own, each with the request it answers.
//! A stream that has shown all there is leaves its thread for [`Streams`].
//!
//! A job never changes what happens to a turn: it stores, subscribes and watches. When its client
//! leaves it drops the subscription, and the session's own rule (`on_disconnect`) decides.

mod blocking;
mod stream;
mod watch;

use crate::domain::ids::SessionId;
use crate::engine::{Begin, NewMessage, Presence};
use crate::http::answer::Answer;
use crate::http::context::Context;
use crate::http::problem::Problem;
use crate::http::server::Incoming;
use crate::http::sse::Audience;
use crate::http::streams::Streams;
use crate::wire::{Approve, CancelledBody};

pub use self::stream::{Desk, Progress, Reach, Relay, STREAM_HEADERS, client_left};
use self::watch::Watch;

/// A request that takes its time, checked.
#[derive(Debug)]
pub enum Job {
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
        /// What.
        approve: Approve,
    },
    /// `POST …/cancel`: stop the turn.
    Cancel {
        /// Where.
        id: SessionId,
    },
}

impl Job {
    /// The name of its thread, which tells the session in the fifteen bytes that Linux shows.
    pub fn thread_name(&self) -> String {
        match self {
            Job::Follow { id, .. } | Job::Attach { id, .. } => format!("sse-{}", id.short()),
            Job::Ask { id, .. } | Job::Decide { id, .. } | Job::Cancel { id } => {
                format!("wait-{}", id.short())
            }
        }
    }
}

/// Does the job and answers the request. Blocks until the answer is sent or `streams` has taken it
/// over, the client is gone, or the stop is given.
pub fn run(context: &Context, streams: &Streams, job: Job, incoming: Incoming) {
    if let Some(relay) = begin(context, job, incoming) {
        relay.run(streams);
    }
}

/// Does the job but for the stream that it may lead to. Apart, so that a stream that lasts does not
/// keep what this takes of the stack.
#[inline(never)]
fn begin(context: &Context, job: Job, incoming: Incoming) -> Option<Box<Relay>> {
    let name = job.thread_name();
    match job {
        Job::Ask { id, message } => {
            let answer = blocking::ask(context, &id, message, incoming.gone());
            finish(answer, incoming)
        }
        Job::Decide { id, approve } => {
            let answer = blocking::decide(context, &id, &approve, incoming.gone());
            finish(answer, incoming)
        }
        Job::Cancel { id } => finish(cancel(context, &id), incoming),
        Job::Follow { id, message } => {
            let watch = follow(context, &id, message, &incoming);
            stream(context, name, Audience::Turn, watch, incoming)
        }
        Job::Attach {
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
fn finish(answer: Result<Answer, Problem>, incoming: Incoming) -> Option<Box<Relay>> {
    match answer {
        Ok(answer) => answer.send(incoming),
        Err(problem) => incoming.problem(&problem),
    }
    None
}

fn cancel(context: &Context, id: &SessionId) -> Result<Answer, Problem> {
    let cancelled = context.sessions.cancel(id)?;
    Ok(Answer::json(200, &CancelledBody { cancelled }))
}

fn follow(
    context: &Context,
    id: &SessionId,
    message: NewMessage,
    incoming: &Incoming,
) -> Result<Option<Watch>, Problem> {
    let (_, subscription) = context.sessions.submit_and_follow(id, message)?;
    let watch = Watch::new(subscription, incoming.gone(), &context.stop);
    Ok(Some(watch))
}

/// `None` when there is nothing to show, now or ever.
fn attach(
    context: &Context,
    id: &SessionId,
    begin: Begin,
    presence: Presence,
    incoming: &Incoming,
) -> Result<Option<Watch>, Problem> {
    let subscription = context.sessions.subscribe(id, begin, presence)?;
    if subscription.has_nothing_left() {
        return Ok(None);
    }
    let watch = Watch::new(subscription, incoming.gone(), &context.stop);
    Ok(Some(watch))
}

/// Begins the stream of what is watched, or answers why there is none.
fn stream(
    context: &Context,
    name: String,
    audience: Audience,
    watch: Result<Option<Watch>, Problem>,
    incoming: Incoming,
) -> Option<Box<Relay>> {
    match watch {
        Ok(Some(watch)) => Relay::begin(context, name, watch, audience, incoming),
        Ok(None) => finish(Ok(Answer::nothing()), incoming),
        Err(problem) => finish(Err(problem), incoming),
    }
}
