//! Sessions: begin, list, show, change and end them.

use std::time::SystemTime;

use crate::domain::event::Status;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::principal::{Principal, Way};
use crate::domain::search::{FOUND_MAX, FOUND_USUAL, SINCE_RULE, since};
use crate::engine::{ListQuery, SearchQuery, SessionDraft, Workdir};
use crate::http::answer::Answer;
use crate::http::callers;
use crate::http::context::ApiContext;
use crate::http::handlers::request::{ApiRequest, key_of};
use crate::http::jobs::OtherRequest;
use crate::http::problem::HttpProblem;
use crate::http::query::Query;
use crate::http::wire;
use crate::wire::{
    Change, Compact, CompactingBody, GrantListBody, NewSession, SessionListBody, TicketBody,
};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

pub(super) fn create(
    context: &ApiContext,
    request: &dyn ApiRequest,
    by: Principal,
) -> Result<Answer, HttpProblem> {
    let key = key_of(request)?;
    let new = NewSession::parse(request.body())?;
    let workdir = new.workdir.as_deref();
    let draft = SessionDraft {
        workdir: workdir
            .map(|path| workdir_for(context, request, path, &by))
            .transpose()?,
        key,
        ..SessionDraft::new(new.agent, by)
    };
    let session = context.sessions.create(&draft)?;
    let place = format!("/api/v1/sessions/{}", session.id);
    Ok(Answer::json(201, &wire::brief_session(&session)).with_header("Location", place))
}

/// The folder that a session is to work in. A program of a tool would leave its own by this.
fn workdir_for(
    context: &ApiContext,
    request: &dyn ApiRequest,
    path: &str,
    by: &Principal,
) -> Result<Workdir, HttpProblem> {
    let requester = request.requester();
    callers::refuse_programs(requester, || request.ends())?;
    let way = requester.map_or(Way::Network, |requester| requester.way);
    Ok(context.sessions.check_workdir(path, by, way)?)
}

pub(super) fn list(
    context: &ApiContext,
    query: &Query,
    by: Principal,
) -> Result<Answer, HttpProblem> {
    let page = context.sessions.list(&list_query(query, by)?)?;
    Ok(Answer::json(200, &SessionListBody::from(&page)))
}

pub(super) fn list_query(query: &Query, by: Principal) -> Result<ListQuery, HttpProblem> {
    Ok(ListQuery {
        limit: query.number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?,
        cursor: query.parsed("cursor", "the `next_cursor` of a page", |text| {
            SessionId::parse(text).ok()
        })?,
        status: query.parsed(
            "status",
            "`active`, `running`, `paused` or `completed`",
            parse_status,
        )?,
        agent: query.get("agent").map(str::to_owned),
        // To the server's owner all are shown: without a filter, only those of a page are read.
        owner: Some(by).filter(|by| !by.is_owner()),
    })
}

/// A search looks through all logs: it takes a thread of its own.
pub(super) fn search(query: &Query, by: Principal) -> Result<OtherRequest, HttpProblem> {
    let text = query.get("query").unwrap_or_default();
    if text.trim().is_empty() {
        return Err(HttpProblem::new(
            400,
            "`query` is missing: the words to look for",
        ));
    }
    let query = SearchQuery {
        text: text.to_owned(),
        agent: query.get("agent").map(str::to_owned),
        since: query.parsed("since", SINCE_RULE, |text| {
            since(text, SystemTime::now().into())
        })?,
        limit: query.number("limit", FOUND_USUAL, 1..=FOUND_MAX)?,
    };
    Ok(OtherRequest::Search { query, by })
}

fn parse_status(word: &str) -> Option<Status> {
    [
        Status::Active,
        Status::Running,
        Status::Paused,
        Status::Completed,
    ]
    .into_iter()
    .find(|status| status.as_str() == word)
}

/// A ticket for the session's stream, which shows what `by` may see. It opens something: no cache may
/// keep it.
pub(super) fn issue_ticket(
    context: &ApiContext,
    id: &SessionId,
    by: &Principal,
) -> Result<Answer, HttpProblem> {
    context.sessions.show(id)?;
    let now = SystemTime::now().into();
    let ticket = context.tickets.issue(id, by, now);
    let body = TicketBody {
        ticket: ticket.text.as_str(),
        expires_at: ticket.expires_at,
    };
    Ok(Answer::json(200, &body).with_header("Cache-Control", "no-store"))
}

pub(super) fn show(context: &ApiContext, id: &SessionId) -> Result<Answer, HttpProblem> {
    let session = context.sessions.show(id)?;
    Ok(Answer::json(200, &wire::whole_session(&session)))
}

pub(super) fn change(
    context: &ApiContext,
    id: &SessionId,
    request: &dyn ApiRequest,
) -> Result<Answer, HttpProblem> {
    let change = Change::parse(request.body())?;
    let session = context.sessions.change(id, change.title, change.model)?;
    Ok(Answer::json(200, &wire::whole_session(&session)))
}

pub(super) fn grants(context: &ApiContext, id: &SessionId) -> Result<Answer, HttpProblem> {
    let grants = context.sessions.grants(id)?;
    Ok(Answer::json(200, &GrantListBody::from(grants.as_slice())))
}

/// Takes a grant back, or all. One that is not there is 404, as it may be mistyped; that there are none at
/// all is what was wanted.
pub(super) fn revoke_grants(
    context: &ApiContext,
    id: &SessionId,
    which: Option<Seq>,
    by: &Principal,
) -> Result<Answer, HttpProblem> {
    let was_any = context.sessions.revoke_grants(id, which, by, None)?;
    match which.filter(|_| !was_any) {
        Some(seq) => Err(HttpProblem::new(404, format!("there is no grant {seq}"))),
        None => Ok(Answer::nothing()),
    }
}

/// What the next call of its model would take.
pub(super) fn context(context: &ApiContext, id: &SessionId) -> Result<Answer, HttpProblem> {
    let used = context.sessions.context(id)?;
    Ok(Answer::json(200, &wire::context(used)))
}

/// Answers as soon as the wish is stored; what comes of it, the session's events tell.
pub(super) fn compact(
    context: &ApiContext,
    id: &SessionId,
    request: &dyn ApiRequest,
    by: &Principal,
) -> Result<Answer, HttpProblem> {
    let Compact { keep } = Compact::parse(request.body())?;
    let seq = context.sessions.compact(id, keep, by)?;
    Ok(Answer::json(202, &CompactingBody { seq }))
}

pub(super) fn delete(
    context: &ApiContext,
    id: &SessionId,
    query: &Query,
) -> Result<Answer, HttpProblem> {
    if query.flag("keep")? {
        context.sessions.end(id)?;
    } else {
        context.sessions.delete(id)?;
    }
    Ok(Answer::nothing())
}
