//! What takes its time: jobs that run on threads of their own, each with the request it answers.
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
use crate::http::wire::{Approve, CancelledBody};

use self::stream::Relay;
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

/// Does the job and answers the request. Blocks until the answer is sent, the client is gone or
/// the stop is given.
pub fn run(context: &Context, job: Job, incoming: Incoming) {
    if let Some(relay) = begin(context, job, incoming) {
        relay.run();
    }
}

/// Does the job but for the stream that it may lead to. Apart, so that a stream that lasts does not
/// keep what this takes of the stack.
#[inline(never)]
fn begin(context: &Context, job: Job, incoming: Incoming) -> Option<Box<Relay>> {
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
        Job::Follow { id, message } => follow(context, &id, message, incoming),
        Job::Attach {
            id,
            begin,
            presence,
        } => attach(context, &id, begin, presence, incoming),
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
    incoming: Incoming,
) -> Option<Box<Relay>> {
    match context.sessions.submit_and_follow(id, message) {
        Ok((_, subscription)) => {
            let watch = Watch::new(subscription, incoming.gone(), &context.stop);
            Relay::begin(context, watch, Audience::Turn, incoming)
        }
        Err(error) => finish(Err(error.into()), incoming),
    }
}

fn attach(
    context: &Context,
    id: &SessionId,
    begin: Begin,
    presence: Presence,
    incoming: Incoming,
) -> Option<Box<Relay>> {
    match context.sessions.subscribe(id, begin, presence) {
        Ok(subscription) if subscription.has_nothing_left() => {
            finish(Ok(Answer::nothing()), incoming)
        }
        Ok(subscription) => {
            let watch = Watch::new(subscription, incoming.gone(), &context.stop);
            Relay::begin(context, watch, Audience::Session, incoming)
        }
        Err(error) => finish(Err(error.into()), incoming),
    }
}
