//! Makes the tools of an agent from what its files say.

use crate::domain::spec::AgentSpec;
use crate::tools::Toolbox;

/// Makes the tools of agents: what tools need of the server, and no agent's alone.
#[derive(Debug, Default)]
pub struct Workshop {}

impl Workshop {
    /// The tools that `spec` asks for, and those found beside it.
    pub fn toolbox(&self, spec: &AgentSpec) -> Toolbox {
        log::debug!("agent {}: {} tools", spec.name, spec.tools.len());
        Toolbox::default()
    }
}
