//! The builtin `reload_tools`: has the agent's tools made anew, so that one it has just written is
//! there at its next step.

use std::sync::Arc;

use serde_json::json;

use crate::base::shown::shown_by_name;
use crate::domain::ids::AgentName;
use crate::tools::builtin::{self, BuiltinAnswer};
use crate::tools::{Effect, Run, RunResult, Tool, ToolSpec};

const DESCRIPTION: &str = "Looks for your tools anew. Call it when you have written or changed a tool: \
     from your next step on you have what is there now. The answer names it.";

/// Who makes the tools of agents, as this tool needs it.
pub trait ToolMaker: Send + Sync {
    /// Makes an agent's tools anew and returns their names; `None` if there is no such agent.
    fn remake(&self, agent: &AgentName) -> Option<Vec<String>>;
}

shown_by_name!(ToolMaker);

/// Has the tools of one agent made anew.
#[derive(Debug)]
pub(super) struct ReloadTool {
    spec: ToolSpec,
    maker: Arc<dyn ToolMaker>,
    agent: AgentName,
}

impl ReloadTool {
    pub(super) fn new(maker: Arc<dyn ToolMaker>, agent: AgentName) -> ReloadTool {
        let parameters = json!({"type": "object", "properties": {}});
        ReloadTool {
            spec: builtin::spec("reload_tools", DESCRIPTION, parameters, Effect::Idempotent),
            maker,
            agent,
        }
    }

    fn answer(&self) -> BuiltinAnswer {
        let names = self.maker.remake(&self.agent);
        let names = names.ok_or("your agent's files are gone")?;
        Ok(format!("Your tools are now: {}.", names.join(", ")))
    }
}

impl Tool for ReloadTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, _: &Run<'_>) -> RunResult {
        builtin::output(self.answer()).into()
    }
}
