//! Agents as the engine needs them, from the files that were read.

use std::sync::Arc;

use crate::agents::AgentDirectory;
use crate::domain::ids::AgentName;
use crate::engine::{Agent, Agents};
use crate::tools::{AskAlways, Toolbox};

/// The agents of the workspace.
#[derive(Debug)]
pub(super) struct LoadedAgents(pub(super) Arc<AgentDirectory>);

impl Agents for LoadedAgents {
    fn get(&self, name: &str) -> Option<Agent> {
        let name = AgentName::parse(name).ok()?;
        Some(Agent {
            spec: self.0.get(&name)?,
            tools: Toolbox::default(),
            policy: Arc::new(AskAlways),
        })
    }
}
