//! The system prompt of a session: the same bytes at every call, so that providers' caches hold.

use crate::domain::spec::AgentSpec;
use crate::domain::state::Summary;

/// The agent's texts with their variables filled in. Times are those of the session's start.
pub(super) fn system(spec: &AgentSpec, summary: &Summary) -> String {
    let started = summary.created_at.to_string();
    let parts = [
        &spec.prompts.soul,
        &spec.prompts.system_prompt,
        &spec.prompts.instructions,
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    parts
        .join("\n\n")
        .replace("{{date}}", started.get(..10).unwrap_or_default())
        .replace("{{agent.name}}", spec.name.as_str())
}
