//! Agents: what there is, and reading it again.

use crate::http::answer::Answer;
use crate::http::context::Context;
use crate::http::problem::Problem;
use crate::http::wire::{self, AgentList};

pub(super) fn list(context: &Context) -> Answer {
    let agents = context.host.agents();
    Answer::json(200, &AgentList::new(agents.iter().map(AsRef::as_ref)))
}

pub(super) fn show(context: &Context, name: &str) -> Result<Answer, Problem> {
    match context.host.agent(name) {
        Some(agent) => Ok(Answer::json(200, &agent.public_json())),
        None => Err(wire::agent_not_found(name)),
    }
}

pub(super) fn reload(context: &Context) -> Answer {
    Answer::json(200, &context.host.reload_agents())
}
