//! Agents as the engine needs them: what their files say, what they can do and what they may do.

use std::sync::{Arc, OnceLock};

use crate::base::shown::shown_by_name;
use crate::domain::spec::AgentSpec;
use crate::domain::window::Limits;
use crate::engine::error::EngineError;
use crate::policy::Policy;
use crate::tools::Toolbox;

/// Agents as the engine needs them; implemented where they are loaded.
pub trait Agents: Send + Sync {
    /// The agent of that name, as last loaded.
    fn get(&self, name: &str) -> Option<Agent>;

    /// Why the files of an agent that is there cannot be used; `None` when there is no such agent.
    fn mistake(&self, _name: &str) -> Option<String> {
        None
    }
}

impl dyn Agents {
    /// The agent of that name.
    ///
    /// Errors: [`EngineError::AgentBroken`]; else what `missing` makes of the name.
    pub(super) fn find(
        &self,
        name: &str,
        missing: impl FnOnce(String) -> EngineError,
    ) -> Result<Agent, EngineError> {
        self.get(name).ok_or_else(|| match self.mistake(name) {
            Some(mistake) => EngineError::AgentBroken {
                agent: name.to_owned(),
                mistake,
            },
            None => missing(name.to_owned()),
        })
    }
}

shown_by_name!(Agents);

/// An agent, ready to run.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its files, read and checked.
    pub spec: Arc<AgentSpec>,
    /// Its tools.
    pub tools: Toolbox,
    /// Judges each call of a tool.
    pub policy: Arc<dyn Policy>,
    /// What bounds its conversations, once somebody has asked: all of its prompt and its tools count for that. So
    /// who changes those makes another agent.
    pub(super) limits: Arc<OnceLock<Limits>>,
}

impl Agent {
    /// The agent of these files and parts.
    pub fn new(spec: Arc<AgentSpec>, tools: Toolbox, policy: Arc<dyn Policy>) -> Agent {
        Agent {
            spec,
            tools,
            policy,
            limits: Arc::default(),
        }
    }
}
