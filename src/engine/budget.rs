//! What bounds the conversations of an agent. Pure.

use crate::domain::spec::AgentSpec;
use crate::domain::time::Timestamp;
use crate::domain::window::{Limits, tokens_of_bytes};
use crate::engine::inner::Agent;
use crate::engine::prompt;

/// The limits of a session of `agent`, as its files are now.
pub(super) fn limits(agent: &Agent) -> Limits {
    let spec: &AgentSpec = &agent.spec;
    Limits {
        history_tokens: spec.session.max_history_tokens,
        input_tokens: spec.model.max_input_tokens,
        output_tokens: spec.model.max_output_tokens,
        model: spec.model.main.name.clone(),
        fixed_tokens: tokens_of_bytes(fixed_bytes(agent)),
        tool_results: spec.session.tool_results.clone(),
        talk: spec.access.groups.context_buffer.clone(),
    }
}

/// The size of what every call contains beside the conversation.
fn fixed_bytes(agent: &Agent) -> usize {
    // Sessions differ in the time of their start, which is as long for all.
    let any = Timestamp::default();
    let tools = agent
        .tools
        .specs()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    prompt::system(&agent.spec, any).len() + tools.sum::<usize>()
}
