//! From a request to its handler: who may do this, whose session it is, what the client can read.

use crate::domain::principal::Principal;
use crate::http::answer::Answer;
use crate::http::callers;
use crate::http::context::Context;
use crate::http::handlers::handled::Handled;
use crate::http::handlers::request::ApiRequest;
use crate::http::handlers::{agents, conversation, process, sessions};
use crate::http::headers::{self, EVENT_STREAM, JSON};
use crate::http::jobs::LongRequest;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::route::Route;

/// Finds the route and does what it stands for; never waits for a turn.
///
/// Errors: the problem to answer.
pub fn dispatch(context: &Context, request: &dyn ApiRequest) -> Result<Handled, Problem> {
    let route = Route::parse(request.method(), request.path())?;
    let asker = callers::check(&route, request.requester(), || request.ends())?;
    if let Some(id) = route.session() {
        context.sessions.refuse_unseen(id, known(&asker)?)?;
    }
    headers::check_single(|name| request.values(name))?;
    check_accept(&route, request.list("Accept").as_deref())?;
    if !request.body().is_empty() {
        headers::check_coding(request.list("Content-Encoding").as_deref())?;
        headers::check_json(request.header("Content-Type"))?;
    }
    let query = Query::parse(request.query())?;
    let by = || known(&asker).cloned();
    let answer = match route {
        Route::PostMessage(id) => return conversation::post_message(context, id, request, by()?),
        Route::Stream(id) => return conversation::stream(id, request, by()?).map(Handled::Wait),
        Route::Events(id) => return conversation::events(context, id, request, &query),
        Route::Approve(id) => return conversation::approve(id, request, by()?).map(Handled::Wait),
        Route::Cancel(id) => return Ok(Handled::Wait(LongRequest::Cancel { id })),
        Route::IssueTicket(id) => sessions::issue_ticket(context, &id, &by()?)?,
        Route::ListMessages(id) => conversation::messages(context, &id, &query)?,
        Route::ListSessions => sessions::list(context, &query, by()?)?,
        Route::CreateSession => sessions::create(context, request, by()?)?,
        Route::ShowSession(id) => sessions::show(context, &id)?,
        Route::ChangeSession(id) => sessions::change(context, &id, request)?,
        Route::DeleteSession(id) => sessions::delete(context, &id, &query)?,
        Route::ListAgents => agents::list(context),
        Route::ShowAgent(name) => agents::show(context, &name)?,
        Route::ReloadAgents => agents::reload(context),
        Route::Home => process::home(),
        Route::Livez => process::livez(),
        Route::Readyz => process::readyz(context, request.requester()),
        Route::Version => process::version(context),
        Route::Shutdown => process::shutdown(context),
        Route::Options(allow) => Answer::nothing().with_header("Allow", allow),
    };
    Ok(Handled::Answer(answer))
}

/// Who asks. Where that matters the gate lets nobody in whom it does not know.
///
/// Errors: 401.
fn known(asker: &Option<Principal>) -> Result<&Principal, Problem> {
    asker
        .as_ref()
        .ok_or_else(|| Problem::new(401, "it is not known who asks"))
}

/// Refuses early what the client could not read. Errors: 406.
pub(super) fn check_accept(route: &Route, accept: Option<&str>) -> Result<(), Problem> {
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
