//! Gateways: how they are, who is let in, what chats lack.

use crate::http::answer::Answer;
use crate::http::context::{ApiContext, GatewayRefusal};
use crate::http::handlers::request::ApiRequest;
use crate::http::problem::HttpProblem;
use crate::wire::{ApproveSender, RestartedBody};

pub(super) fn list(context: &ApiContext) -> Answer {
    Answer::json(200, &context.host.gateways().list())
}

pub(super) fn log(context: &ApiContext, name: &str) -> Result<Answer, HttpProblem> {
    Ok(Answer::json(200, &context.host.gateways().log(name)?))
}

pub(super) fn restart(context: &ApiContext, name: &str) -> Result<Answer, HttpProblem> {
    context.host.gateways().restart(name)?;
    let status = "restarting".to_owned();
    Ok(Answer::json(202, &RestartedBody { status }))
}

pub(super) fn pairings(context: &ApiContext) -> Result<Answer, HttpProblem> {
    Ok(Answer::json(200, &context.host.gateways().pairings()?))
}

pub(super) fn approve(
    context: &ApiContext,
    request: &dyn ApiRequest,
) -> Result<Answer, HttpProblem> {
    let approve = ApproveSender::parse(request.body())?;
    Ok(Answer::json(200, &context.host.gateways().admit(&approve)?))
}

pub(super) fn outbox(context: &ApiContext) -> Result<Answer, HttpProblem> {
    Ok(Answer::json(200, &context.host.gateways().outbox()?))
}

pub(super) fn clear_outbox(context: &ApiContext) -> Result<Answer, HttpProblem> {
    Ok(Answer::json(200, &context.host.gateways().clear_outbox()?))
}

impl From<GatewayRefusal> for HttpProblem {
    fn from(refusal: GatewayRefusal) -> HttpProblem {
        let status = match &refusal {
            GatewayRefusal::NotFound(_) | GatewayRefusal::NoSuchCode(_) => 404,
            GatewayRefusal::NoProgram(_) => 409,
            GatewayRefusal::Failed(_) => 500,
        };
        HttpProblem::new(status, refusal.to_string())
    }
}
