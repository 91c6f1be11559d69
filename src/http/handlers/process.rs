//! The process itself: whether it lives, whether it can work, which one it is, and its end.

use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::problem::HttpProblem;
use crate::http::requester::{Credential, Requester};
use crate::wire::{ReadinessBody, ShutdownBody};

const HOME: &str = "\
This is Duragent: it keeps AI agents alive. It speaks JSON and server-sent events.

GET  /api/v1/agents                   the agents
POST /api/v1/sessions                 begin a session: {\"agent\": \"…\"}
POST /api/v1/sessions/{id}/stream     say something, and watch the answer: {\"content\": \"…\"}
GET  /api/v1/sessions/{id}/events     watch a session
GET  /livez, /readyz, /version        how the server is
";

pub(super) fn home() -> Answer {
    Answer::text(HOME)
}

pub(super) fn livez() -> Answer {
    Answer::text("ok")
}

/// With names of agents for those who may use the API; for others there are codes and counts alone.
pub(super) fn readyz(context: &ApiContext, requester: Option<&Requester>) -> Answer {
    let readiness = context.host.readiness();
    if !readiness.reasons.is_empty() {
        let problem = HttpProblem::new(503, readiness.reasons.join("; "))
            .with_member("workspace_hash", readiness.workspace_hash)
            .with_member("reasons", readiness.reasons);
        return failure::retry_later(problem, RETRY_SOON).into();
    }
    let not_counted: Vec<String> = match requester.map(|requester| requester.credential) {
        None | Some(Credential::Ticket) => Vec::new(),
        Some(Credential::Account | Credential::Token) => {
            context.host.not_counted().into_values().collect()
        }
    };
    let body = ReadinessBody {
        status: Some("ok".to_owned()),
        not_counted,
        ..readiness
    };
    Answer::json(200, &body)
}

pub(super) fn version(context: &ApiContext) -> Answer {
    Answer::json(200, &context.host.version())
}

pub(super) fn shutdown(context: &ApiContext) -> Answer {
    context.host.request_shutdown();
    let status = "shutting_down".to_owned();
    Answer::json(202, &ShutdownBody { status })
}
