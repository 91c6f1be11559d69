//! The tools of an agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::Pin;
use crate::tools::{Tool, ToolSpec};

/// The tools of an agent, by name.
#[derive(Debug, Clone, Default)]
pub struct Toolbox(Arc<BTreeMap<String, Arc<dyn Tool>>>);

impl Toolbox {
    /// Adds a tool; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Toolbox {
        Arc::make_mut(&mut self.0).insert(tool.spec().name.clone(), tool);
        self
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.get(name)
    }

    /// The programs that its tools run: a policy allows them as they are now, not what they may become.
    pub fn pins(&self) -> Vec<Pin> {
        self.0.values().filter_map(|tool| tool.pin()).collect()
    }

    /// All of them, sorted by name.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.0.values().map(|tool| tool.spec())
    }
}
