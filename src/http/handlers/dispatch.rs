//! From a request to its handler: who may do this, whose session it is, what the client can read.

use crate::domain::principal::Principal;
use crate::http::answer::Answer;
use crate::http::callers;
use crate::http::context::ApiContext;
use crate::http::handlers::handled::Handled;
use crate::http::handlers::request::ApiRequest;
use crate::http::handlers::{agents, conversation, files, gateways, process, sessions};
use crate::http::headers::{self, EVENT_STREAM, JSON};
use crate::http::jobs::{LongRequest, OtherRequest};
use crate::http::problem::HttpProblem;
use crate::http::query::Query;
use crate::http::route::ApiRoute;

/// Finds the route and does what it stands for; never waits for a turn.
///
/// Errors: the problem to answer.
pub fn dispatch(context: &ApiContext, request: &dyn ApiRequest) -> Result<Handled, HttpProblem> {
    let route = ApiRoute::parse(request.method(), request.path())?;
    let asker = callers::check(&route, request.requester(), || request.ends())?;
    if let Some(id) = route.session() {
        context.sessions.refuse_unseen(id, known(&asker)?)?;
    }
    headers::check_single(|name| request.values(name))?;
    check_accept(&route, request.list("Accept").as_deref())?;
    if !request.body().is_empty() {
        headers::check_coding(request.list("Content-Encoding").as_deref())?;
        // A file may be anything.
        if !matches!(route, ApiRoute::BringFile(_)) {
            headers::check_json(request.header("Content-Type"))?;
        }
    }
    let query = Query::parse(request.query())?;
    let by = || known(&asker).cloned();
    let answer = match route {
        ApiRoute::PostMessage(id) => {
            return conversation::post_message(context, id, request, by()?);
        }
        ApiRoute::Stream(id) => {
            let say = conversation::stream(context, id, request, by()?)?;
            return Ok(Handled::Wait(LongRequest::Say(say)));
        }
        ApiRoute::Events(id) => return conversation::events(context, id, request, &query),
        ApiRoute::Approve(id) => {
            let decide = conversation::approve(id, request, by()?)?;
            return Ok(Handled::Wait(LongRequest::Other(decide)));
        }
        ApiRoute::BringFile(id) => {
            let file = files::bring(id, request)?;
            return Ok(Handled::Wait(LongRequest::Other(file)));
        }
        ApiRoute::FetchFile(id, file) => files::fetch(context, &id, &file)?,
        ApiRoute::Cancel(id) => {
            let cancel = OtherRequest::Cancel { id };
            return Ok(Handled::Wait(LongRequest::Other(cancel)));
        }
        ApiRoute::ShowContext(id) => sessions::context(context, &id)?,
        ApiRoute::Compact(id) => sessions::compact(context, &id, request, &by()?)?,
        ApiRoute::IssueTicket(id) => sessions::issue_ticket(context, &id, &by()?)?,
        ApiRoute::ListGrants(id) => sessions::grants(context, &id)?,
        ApiRoute::RevokeGrants(id, which) => sessions::revoke_grants(context, &id, which, &by()?)?,
        ApiRoute::ListMessages(id) => conversation::messages(context, &id, &query)?,
        ApiRoute::ListSessions => sessions::list(context, &query, by()?)?,
        ApiRoute::SearchSessions => {
            let search = sessions::search(&query, by()?)?;
            return Ok(Handled::Wait(LongRequest::Other(search)));
        }
        ApiRoute::CreateSession => sessions::create(context, request, by()?)?,
        ApiRoute::ShowSession(id) => sessions::show(context, &id)?,
        ApiRoute::ChangeSession(id) => sessions::change(context, &id, request)?,
        ApiRoute::DeleteSession(id) => sessions::delete(context, &id, &query)?,
        ApiRoute::ListAgents => agents::list(context),
        ApiRoute::ShowAgent(name) => agents::show(context, &name)?,
        ApiRoute::ReloadAgents => agents::reload(context),
        ApiRoute::ListGateways => gateways::list(context),
        ApiRoute::GatewayLog(name) => gateways::log(context, &name)?,
        ApiRoute::RestartGateway(name) => gateways::restart(context, &name)?,
        ApiRoute::ListPairings => gateways::pairings(context)?,
        ApiRoute::ApproveSender => gateways::approve(context, request)?,
        ApiRoute::ShowOutbox => gateways::outbox(context)?,
        ApiRoute::ClearOutbox => gateways::clear_outbox(context)?,
        ApiRoute::Home => process::home(),
        ApiRoute::Livez => process::livez(),
        ApiRoute::Readyz => process::readyz(context, request.requester()),
        ApiRoute::Version => process::version(context),
        ApiRoute::Shutdown => process::shutdown(context),
        ApiRoute::Options(allow) => Answer::nothing().with_header("Allow", allow),
    };
    Ok(Handled::Answer(answer))
}

/// Who asks. Where that matters the gate lets nobody in whom it does not know.
///
/// Errors: 401.
fn known(asker: &Option<Principal>) -> Result<&Principal, HttpProblem> {
    asker
        .as_ref()
        .ok_or_else(|| HttpProblem::new(401, "it is not known who asks"))
}

/// Refuses early what the client could not read. Errors: 406.
pub(super) fn check_accept(route: &ApiRoute, accept: Option<&str>) -> Result<(), HttpProblem> {
    let offered: &[&str] = match route {
        ApiRoute::Home
        | ApiRoute::Livez
        // A file comes as what it is.
        | ApiRoute::FetchFile(..)
        | ApiRoute::Options(_) => return Ok(()),
        ApiRoute::Stream(_) => &[EVENT_STREAM],
        ApiRoute::Events(_) => &[EVENT_STREAM, JSON],
        ApiRoute::Readyz
        | ApiRoute::Version
        | ApiRoute::ListAgents
        | ApiRoute::ShowAgent(_)
        | ApiRoute::ListSessions
        | ApiRoute::SearchSessions
        | ApiRoute::CreateSession
        | ApiRoute::ShowSession(_)
        | ApiRoute::ChangeSession(_)
        | ApiRoute::DeleteSession(_)
        | ApiRoute::ListMessages(_)
        | ApiRoute::PostMessage(_)
        | ApiRoute::BringFile(_)
        | ApiRoute::IssueTicket(_)
        | ApiRoute::Approve(_)
        | ApiRoute::ListGrants(_)
        | ApiRoute::RevokeGrants(..)
        | ApiRoute::Cancel(_)
        | ApiRoute::ShowContext(_)
        | ApiRoute::Compact(_)
        | ApiRoute::ReloadAgents
        | ApiRoute::ListGateways
        | ApiRoute::GatewayLog(_)
        | ApiRoute::RestartGateway(_)
        | ApiRoute::ListPairings
        | ApiRoute::ApproveSender
        | ApiRoute::ShowOutbox
        | ApiRoute::ClearOutbox
        | ApiRoute::Shutdown => &[JSON],
    };
    if offered.iter().any(|media| headers::accepts(accept, media)) {
        return Ok(());
    }
    let detail = format!("`Accept` must admit {}", offered.join(" or "));
    Err(HttpProblem::new(406, detail))
}
