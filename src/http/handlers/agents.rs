//! Agents: what there is, and reading it again.

use crate::engine::EngineError;
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::problem::HttpProblem;
use crate::http::wire;

pub(super) fn list(context: &ApiContext) -> Answer {
    let (agents, not_counted) = (context.host.agents(), context.host.not_counted());
    let host = &context.host;
    let listed = agents
        .iter()
        .map(|agent| (&**agent, host.missing_key(agent)));
    let remarks = host.remarks();
    let list = wire::agent_list(listed, &not_counted, &remarks, host.broken_agents());
    Answer::json(200, &list)
}

pub(super) fn show(context: &ApiContext, name: &str) -> Result<Answer, HttpProblem> {
    match context.host.agent(name) {
        Some(agent) => Ok(Answer::json(200, &agent.public_json())),
        None => Err(not_shown(context, name)),
    }
}

fn not_shown(context: &ApiContext, name: &str) -> HttpProblem {
    let broken = context.host.broken_agents();
    let found = broken.into_iter().find(|one| one.name == name);
    found.map_or_else(
        || wire::agent_not_found(name),
        |one| {
            let mistake = one.errors.join("; ");
            let agent = one.name;
            EngineError::AgentBroken { agent, mistake }.into()
        },
    )
}

pub(super) fn reload(context: &ApiContext) -> Answer {
    Answer::json(200, &context.host.reload_agents())
}
