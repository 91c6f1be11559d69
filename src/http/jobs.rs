//! Requests that take their time: what they ask for is done, and what waits then for its turn moves to
//! [`Streams`], with the request it answers.
//!
//! None changes what happens to a turn: it stores, subscribes and watches. When its client leaves
//! it drops the subscription, and the session's own rule (`on_disconnect`) decides.

mod turn_answer;

use crossbeam_channel::TryRecvError;

use crate::base::pool::NoThread;
use crate::domain::event::Attachment;
use crate::domain::files::MediaType;
use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;
use crate::engine::{Begin, EngineError, NewMessage, Presence, SearchQuery, Subscription};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::jobs::turn_answer::{Stored, TurnAnswer};
use crate::http::problem::HttpProblem;
use crate::http::server::Incoming;
use crate::http::sse::Audience;
use crate::http::streams::{ClientFollower, SessionWatch, SseStream, Streams};
use crate::wire::{Approve, CancelledBody, SearchBody};

/// A request that takes its time, checked.
#[derive(Debug)]
pub enum LongRequest {
    /// Says something.
    Say(SayRequest),
    /// Does something else.
    Other(OtherRequest),
}

/// Something to say, and an answer that follows the turn.
#[derive(Debug)]
pub struct SayRequest {
    /// Where.
    pub id: SessionId,
    /// What.
    pub message: NewMessage,
    /// `POST …/stream`: to watch the answer; `POST …/messages` waits for it.
    pub is_stream: bool,
}

/// A request that takes its time, and says nothing.
#[derive(Debug)]
pub enum OtherRequest {
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
    /// `POST …/files`: keep the body.
    KeepFile {
        /// Where.
        id: SessionId,
        /// What it is.
        media_type: MediaType,
    },
    /// `GET …/sessions/search`: look through the logs.
    Search {
        /// What for.
        query: SearchQuery,
        /// For whom.
        by: Principal,
    },
    /// `POST …/cancel`: stop the turn.
    Cancel {
        /// Where.
        id: SessionId,
    },
}

impl OtherRequest {
    /// The name of its thread, which tells the session in the fifteen bytes that Linux shows.
    pub fn thread_name(&self) -> String {
        match self {
            OtherRequest::Attach { id, .. } => stream_name(id),
            OtherRequest::Decide { id, .. }
            | OtherRequest::KeepFile { id, .. }
            | OtherRequest::Cancel { id } => wait_name(id),
            OtherRequest::Search { .. } => "wait-search".to_owned(),
        }
    }
}

fn stream_name(id: &SessionId) -> String {
    format!("sse-{}", id.short())
}

fn wait_name(id: &SessionId) -> String {
    format!("wait-{}", id.short())
}

/// Says something, on the thread that works for the session then; its answer begins there.
///
/// Errors: gives the request back when there is no thread.
#[expect(
    clippy::result_large_err,
    reason = "a request that was not begun goes back as it came"
)]
pub fn say(
    context: ApiContext,
    streams: Streams,
    say: SayRequest,
    incoming: Incoming,
) -> Result<(), (Incoming, NoThread)> {
    let sessions = context.sessions.clone();
    let (id, is_stream) = (say.id.clone(), say.is_stream);
    sessions.submit_and_follow_on_thread(
        say.id,
        say.message,
        incoming,
        move |incoming, followed| {
            let follower = if is_stream {
                let watch = followed.map_err(HttpProblem::from);
                let watch = watch.map(|(_, subscription)| {
                    Some(SessionWatch::new(
                        subscription,
                        incoming.gone(),
                        &context.stop,
                    ))
                });
                stream(&context, stream_name(&id), Audience::Turn, watch, incoming)
            } else {
                let followed =
                    followed.map(|(accepted, followed)| (Stored::Message(accepted), followed));
                wait(&context, wait_name(&id), id, followed, incoming)
            };
            if let Some(follower) = follower {
                streams.run_in_passing(follower);
            }
        },
    )
}

/// Does what the request asks for, up to what must be waited for: returns that, if there is anything.
pub fn begin(
    context: &ApiContext,
    request: OtherRequest,
    incoming: Incoming,
) -> Option<Box<dyn ClientFollower>> {
    let name = request.thread_name();
    match request {
        OtherRequest::Decide { id, by, approve } => {
            let Approve {
                call_id,
                command,
                decision,
            } = approve;
            let sessions = &context.sessions;
            let followed = sessions.approve(&id, &call_id, &command, decision, &by);
            let followed =
                followed.map(|(decided, followed)| (Stored::Decision(decided), followed));
            wait(context, name, id, followed, incoming)
        }
        OtherRequest::KeepFile { id, media_type } => {
            finish(keep_file(context, &id, media_type, &incoming), incoming)
        }
        OtherRequest::Search { query, by } => {
            let gone = incoming.gone();
            let goes_on =
                || !context.stop.is_stopped() && gone.try_recv() == Err(TryRecvError::Empty);
            let found = context.sessions.search(&query, &by, &goes_on);
            let found = found.map(|messages| Answer::json(200, &SearchBody { messages }));
            finish(found.map_err(HttpProblem::from), incoming)
        }
        OtherRequest::Cancel { id } => finish(cancel(context, &id), incoming),
        OtherRequest::Attach {
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

fn keep_file(
    context: &ApiContext,
    id: &SessionId,
    media_type: MediaType,
    incoming: &Incoming,
) -> Result<Answer, HttpProblem> {
    let kept = context.sessions.add_file(id, media_type, incoming.body())?;
    let file = Attachment {
        width: None,
        height: None,
        ..kept
    };
    let place = format!("/api/v1/sessions/{id}/files/{}", file.file);
    Ok(Answer::json(201, &file).with_header("Location", place))
}

fn cancel(context: &ApiContext, id: &SessionId) -> Result<Answer, HttpProblem> {
    let cancelled = context.sessions.cancel(id)?;
    Ok(Answer::json(200, &CancelledBody { cancelled }))
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
