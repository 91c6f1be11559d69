//! Agents as the engine needs them, from the files that were read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::agents::AgentDirectory;
use crate::base::lock::lock;
use crate::domain::ids::AgentName;
use crate::domain::spec::AgentSpec;
use crate::engine::{Agent, Agents};
use crate::tools::AskAlways;
use crate::tools::workshop::Workshop;

/// The agents of the workspace, each with its tools and its policy.
#[derive(Debug)]
pub(super) struct LoadedAgents {
    directory: Arc<AgentDirectory>,
    workshop: Workshop,
    /// Made when an agent is first used, and anew when its files were read again.
    made: Mutex<HashMap<AgentName, Agent>>,
}

impl LoadedAgents {
    pub(super) fn new(directory: Arc<AgentDirectory>, workshop: Workshop) -> LoadedAgents {
        LoadedAgents {
            directory,
            workshop,
            made: Mutex::default(),
        }
    }

    fn make(&self, spec: Arc<AgentSpec>) -> Agent {
        Agent {
            tools: self.workshop.toolbox(&spec),
            policy: Arc::new(AskAlways),
            spec,
        }
    }
}

impl Agents for LoadedAgents {
    fn get(&self, name: &str) -> Option<Agent> {
        let name = AgentName::parse(name).ok()?;
        let spec = self.directory.get(&name);
        let mut made = lock(&self.made);
        let Some(spec) = spec else {
            made.remove(&name);
            return None;
        };
        if let Some(agent) = made.get(&name)
            && Arc::ptr_eq(&agent.spec, &spec)
        {
            return Some(agent.clone());
        }
        let agent = self.make(spec);
        made.insert(name, agent.clone());
        Some(agent)
    }
}
