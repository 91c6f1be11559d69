//! What is said in a session: read it, say something, follow it, decide.

use crate::domain::files::AttachedFile;
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::principal::Principal;
use crate::engine::{Begin, NewMessage, Presence};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::handlers::handled::Handled;
use crate::http::handlers::request::{ApiRequest, key_of};
use crate::http::headers::{self, EVENT_STREAM};
use crate::http::jobs::{LongRequest, OtherRequest, SayRequest};
use crate::http::problem::HttpProblem;
use crate::http::query::Query;
use crate::http::requester::Credential;
use crate::http::streams::STREAM_HEADERS;
use crate::http::wire;
use crate::wire::{Approve, MessageListBody, Say, StoredBody};

/// Who does not say how many wants them all, and gets them in almost any session.
const MESSAGES_DEFAULT: usize = MESSAGES_MAX;
const MESSAGES_MAX: usize = 1000;
const EVENTS_DEFAULT: usize = 100;
const EVENTS_MAX: usize = 1000;
const HISTORY_DEFAULT: usize = 20;
const HISTORY_MAX: usize = 1000;

pub(super) fn messages(
    context: &ApiContext,
    id: &SessionId,
    query: &Query,
) -> Result<Answer, HttpProblem> {
    let limit = query.number("limit", MESSAGES_DEFAULT, 1..=MESSAGES_MAX)?;
    let before = query.parsed("before", "the id of a message", |text| {
        MessageId::parse(text).ok()
    })?;
    let messages = context.sessions.messages(id, limit, before.as_ref())?;
    Ok(Answer::json(
        200,
        &MessageListBody::from(messages.as_slice()),
    ))
}

pub(super) fn post_message(
    context: &ApiContext,
    id: SessionId,
    request: &dyn ApiRequest,
    from: Principal,
) -> Result<Handled, HttpProblem> {
    let message = with_files(context, &id, request, from)?;
    if headers::prefers_async(request.list("Prefer").as_deref()) {
        return submit(context, &id, message).map(Handled::Answer);
    }
    let is_stream = false;
    Ok(Handled::Wait(LongRequest::Say(SayRequest {
        id,
        message,
        is_stream,
    })))
}

/// Answers as soon as the message is stored; its turn needs no client.
fn submit(
    context: &ApiContext,
    id: &SessionId,
    message: NewMessage,
) -> Result<Answer, HttpProblem> {
    let detached = NewMessage {
        detached: true,
        ..message
    };
    let accepted = context.sessions.submit(id, detached)?;
    let body = StoredBody::from(&accepted);
    Ok(Answer::json(202, &body).with_header("Preference-Applied", "respond-async"))
}

pub(super) fn stream(
    context: &ApiContext,
    id: SessionId,
    request: &dyn ApiRequest,
    from: Principal,
) -> Result<SayRequest, HttpProblem> {
    Ok(SayRequest {
        message: with_files(context, &id, request, from)?,
        id,
        is_stream: true,
    })
}

/// The message of a body, with what is known of the files that it brings.
fn with_files(
    context: &ApiContext,
    id: &SessionId,
    request: &dyn ApiRequest,
    from: Principal,
) -> Result<NewMessage, HttpProblem> {
    let (message, files) = new_message(request, from)?;
    Ok(NewMessage {
        attachments: context.sessions.attached(id, &files)?,
        ..message
    })
}

/// The message of a body, and the files that it names.
pub(super) fn new_message(
    request: &dyn ApiRequest,
    from: Principal,
) -> Result<(NewMessage, Vec<AttachedFile>), HttpProblem> {
    let key = key_of(request)?;
    let say = Say::parse(request.body())?;
    let message = NewMessage {
        key,
        ..NewMessage::new(from, say.content)
    };
    Ok((message, say.attachments))
}

/// A stream for those who ask for one, else a page of the log.
pub(super) fn events(
    context: &ApiContext,
    id: SessionId,
    request: &dyn ApiRequest,
    query: &Query,
) -> Result<Handled, HttpProblem> {
    let accept = request.list("Accept");
    let accept = accept.as_deref();
    let has_ticket = has_ticket(request);
    if has_ticket && !headers::accepts(accept, EVENT_STREAM) {
        let detail = "a ticket opens the stream alone: `Accept` must admit text/event-stream";
        return Err(HttpProblem::new(406, detail));
    }
    if has_ticket || headers::asks_for(accept, EVENT_STREAM) {
        let attach = Attach::read(request, query)?;
        return match request.method() {
            "HEAD" => head_of_stream(context, &id, attach).map(Handled::Answer),
            _ => Ok(Handled::Wait(LongRequest::Other(attach.job(id)))),
        };
    }
    let limit = query.number("limit", EVENTS_DEFAULT, 1..=EVENTS_MAX)?;
    let after = query.parsed("after", "the number of an event", |text| {
        text.parse().ok().map(Seq)
    })?;
    let records = context
        .sessions
        .events(&id, after.unwrap_or(Seq::ZERO), limit)?;
    let page = wire::record_page(records, limit);
    Ok(Handled::Answer(Answer::json(200, &page)))
}

fn has_ticket(request: &dyn ApiRequest) -> bool {
    let requester = request.requester();
    requester.is_some_and(|requester| requester.credential == Credential::Ticket)
}

/// How somebody wants to watch.
pub(super) struct Attach {
    begin: Begin,
    presence: Presence,
}

impl Attach {
    /// Errors: 400.
    pub(super) fn read(request: &dyn ApiRequest, query: &Query) -> Result<Attach, HttpProblem> {
        let history = query.number("history", HISTORY_DEFAULT, 0..=HISTORY_MAX)?;
        let header = request.header("Last-Event-ID");
        let seen = headers::last_event_id(header, query.get("last_event_id"))?;
        let may_take_part = !has_ticket(request);
        Ok(Attach {
            begin: seen.map_or(Begin::Now { history }, Begin::After),
            presence: Presence {
                is_readonly: query.flag("readonly")? || !may_take_part,
                detaches_others: query.flag("detach_others")? && may_take_part,
            },
        })
    }

    /// The stream that is opened by it.
    pub(super) fn job(self, id: SessionId) -> OtherRequest {
        OtherRequest::Attach {
            id,
            begin: self.begin,
            presence: self.presence,
        }
    }
}

/// What the stream would begin with. Who asks for that only takes no part.
fn head_of_stream(
    context: &ApiContext,
    id: &SessionId,
    attach: Attach,
) -> Result<Answer, HttpProblem> {
    let looks_on = Presence {
        is_readonly: true,
        detaches_others: false,
    };
    let subscription = context.sessions.subscribe(id, attach.begin, looks_on)?;
    if subscription.has_nothing_left() {
        return Ok(Answer::nothing());
    }
    Ok(Answer::head_of_stream(&STREAM_HEADERS))
}

pub(super) fn approve(
    id: SessionId,
    request: &dyn ApiRequest,
    by: Principal,
) -> Result<OtherRequest, HttpProblem> {
    Ok(OtherRequest::Decide {
        id,
        by,
        approve: Approve::parse(request.body())?,
    })
}
