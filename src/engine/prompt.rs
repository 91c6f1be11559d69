//! The system prompt of a session: the same bytes at every call, so that providers' caches hold.

use crate::domain::spec::{AgentSpec, PromptVars};
use crate::domain::state::Summary;

/// The agent's texts with their variables filled in. Times are those of the session's start, UTC.
pub(super) fn system(spec: &AgentSpec, summary: &Summary) -> String {
    let started = summary.created_at.to_string();
    spec.prompts.render(&PromptVars {
        date: started.get(..10).unwrap_or_default(),
        time: started.get(11..16).unwrap_or_default(),
        agent_name: spec.name.as_str(),
        agent_home: &spec.home.to_string_lossy(),
    })
}
