//! From a request to its answer, or to the job that will answer it: one file per resource.

mod agents;
mod conversation;
mod process;
mod sessions;

use crate::base::socket_owner::Ends;
use crate::domain::ids::SourceId;
use crate::http::access::Caller;
use crate::http::answer::Answer;
use crate::http::callers;
use crate::http::context::Context;
use crate::http::headers::{self, EVENT_STREAM, JSON};
use crate::http::jobs::LongRequest;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::route::Route;

/// What handlers see of a request.
pub trait Request {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The path, as sent, without the query.
    fn path(&self) -> &str;
    /// What stands after the `?`; empty without one.
    fn query(&self) -> &str;
    /// The values of a header, in order.
    fn values(&self, name: &str) -> Vec<&str>;
    /// The value of a header that has one, if it stands there; see [`headers::check_single`].
    fn header(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }
    /// The list that a header is, if it stands there: it may be spread over several.
    ///
    /// Source: RFC 9110, section 5.3.
    fn list(&self, name: &str) -> Option<String> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.join(", "))
    }
    /// The whole body.
    fn body(&self) -> &[u8];
    /// By what right it was let in.
    fn caller(&self) -> Caller;
    /// The two addresses of its connection.
    fn ends(&self) -> Ends;
}

/// What a request leads to.
#[derive(Debug)]
pub enum Work {
    /// The answer.
    Answer(Answer),
    /// Something that takes its time, on a thread of its own.
    Wait(LongRequest),
}

/// Finds the route and does what it stands for; never waits for a turn.
///
/// Errors: the problem to answer.
pub fn work(context: &Context, request: &dyn Request) -> Result<Work, Problem> {
    let route = Route::parse(request.method(), request.path())?;
    callers::check(&route, request.caller(), request.ends())?;
    headers::check_single(|name| request.values(name))?;
    check_accept(&route, request.list("Accept").as_deref())?;
    if !request.body().is_empty() {
        headers::check_coding(request.list("Content-Encoding").as_deref())?;
        headers::check_json(request.header("Content-Type"))?;
    }
    let query = Query::parse(request.query())?;
    let answer = match route {
        Route::PostMessage(id) => return conversation::post_message(context, id, request),
        Route::Stream(id) => return conversation::stream(id, request).map(Work::Wait),
        Route::Events(id) => return conversation::events(context, id, request, &query),
        Route::Approve(id) => return conversation::approve(id, request).map(Work::Wait),
        Route::Cancel(id) => return Ok(Work::Wait(LongRequest::Cancel { id })),
        Route::IssueTicket(id) => sessions::issue_ticket(context, &id)?,
        Route::ListMessages(id) => conversation::messages(context, &id, &query)?,
        Route::ListSessions => sessions::list(context, &query)?,
        Route::CreateSession => sessions::create(context, request)?,
        Route::ShowSession(id) => sessions::show(context, &id)?,
        Route::ChangeSession(id) => sessions::change(context, &id, request)?,
        Route::DeleteSession(id) => sessions::delete(context, &id, &query)?,
        Route::ListAgents => agents::list(context),
        Route::ShowAgent(name) => agents::show(context, &name)?,
        Route::ReloadAgents => agents::reload(context),
        Route::Home => process::home(),
        Route::Livez => process::livez(),
        Route::Readyz => process::readyz(context, request.caller()),
        Route::Version => process::version(context),
        Route::Shutdown => process::shutdown(context),
        Route::Options(allow) => Answer::nothing().with_header("Allow", allow),
    };
    Ok(Work::Answer(answer))
}

/// Refuses early what the client could not read. Errors: 406.
fn check_accept(route: &Route, accept: Option<&str>) -> Result<(), Problem> {
    let offered: &[&str] = match route {
        Route::Home | Route::Livez | Route::Options(_) => return Ok(()),
        Route::Stream(_) => &[EVENT_STREAM],
        Route::Events(_) => &[EVENT_STREAM, JSON],
        Route::Readyz
        | Route::Version
        | Route::ListAgents
        | Route::ShowAgent(_)
        | Route::ListSessions
        | Route::CreateSession
        | Route::ShowSession(_)
        | Route::ChangeSession(_)
        | Route::DeleteSession(_)
        | Route::ListMessages(_)
        | Route::PostMessage(_)
        | Route::IssueTicket(_)
        | Route::Approve(_)
        | Route::Cancel(_)
        | Route::ReloadAgents
        | Route::Shutdown => &[JSON],
    };
    if offered.iter().any(|media| headers::accepts(accept, media)) {
        return Ok(());
    }
    let detail = format!("`Accept` must admit {}", offered.join(" or "));
    Err(Problem::new(406, detail))
}

/// The caller's own key of a request that may be repeated.
fn key_of(request: &dyn Request) -> Result<Option<SourceId>, Problem> {
    headers::idempotency_key(request.header("Idempotency-Key"))
}

#[cfg(test)]
mod tests;
