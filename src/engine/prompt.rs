//! What a session's model is told of its agent: the same bytes at every call, so that providers'
//! caches hold.

use serde_json::Value;

use crate::domain::prompt::{self, PromptPart, PromptVars};
use crate::domain::spec::AgentSpec;
use crate::domain::time::Timestamp;
use crate::llm::ToolDefinition;
use crate::tools::Toolbox;

/// The parts of the system prompt of a session that began at `started`; times in it are of the
/// agent's zone.
pub fn parts(spec: &AgentSpec, started: Timestamp) -> Vec<PromptPart> {
    let clock = spec.zone.clock(started);
    let minutes = clock.get(..5).unwrap_or_default();
    let vars = PromptVars {
        date: &spec.zone.date(started),
        time: &format!("{minutes} {}", spec.zone.name()),
        agent_name: spec.name.as_str(),
        agent_home: &spec.home.to_string_lossy(),
    };
    prompt::parts(spec, &vars)
}

/// The system prompt of a session that began at `started`, and whose tools work in `workdir`, if that
/// is not the agent's own folder.
pub(in crate::engine) fn system(
    spec: &AgentSpec,
    started: Timestamp,
    workdir: Option<&str>,
) -> String {
    let mut parts = parts(spec, started);
    parts.extend(workdir.map(prompt::workdir));
    prompt::joined(&parts)
}

/// The tools as the model of an agent is told of them, sorted by name.
pub fn definitions(spec: &AgentSpec, tools: &Toolbox) -> Vec<ToolDefinition> {
    let is_lean = spec.has_lean_prompt();
    let definition = |tool: &crate::tools::ToolSpec| {
        let mut told = ToolDefinition {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.clone(),
        };
        if is_lean {
            told.description = prompt::first_sentence(&tool.description).to_owned();
            shorten(&mut told.parameters);
        }
        told
    };
    tools.specs().map(definition).collect()
}

/// Leaves the first sentence of each description of a schema. What a property is called is none.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                if let (Value::String(text), "description") = (&mut *value, key.as_str()) {
                    *text = prompt::first_sentence(text).to_owned();
                }
                shorten(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
