//! What agents can do: the trait that the engine uses, and a box of tools.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::domain::event::{ToolCall, ToolOutput};

/// Something an agent can do.
pub trait Tool: Send + Sync + Debug {
    /// What the model is told of it.
    fn spec(&self) -> &ToolSpec;

    /// Runs it. `arguments` is the JSON text of the model, unchecked. It ends soon after
    /// `cancel` closes, and takes the processes it started with it.
    fn run(&self, arguments: &str, cancel: &Receiver<std::convert::Infallible>) -> ToolOutput;
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// What it does, in a sentence or a page.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: serde_json::Value,
    /// What running it twice would mean.
    pub effect: Effect,
}

/// What running a tool twice would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// Twice is not as once.
    #[default]
    Write,
}

/// The tools of an agent, by name.
#[derive(Debug, Clone, Default)]
pub struct Toolbox(BTreeMap<String, Arc<dyn Tool>>);

impl Toolbox {
    /// Adds a tool; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Toolbox {
        self.0.insert(tool.spec().name.clone(), tool);
        self
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.get(name)
    }

    /// All of them, sorted by name.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.0.values().map(|tool| tool.spec())
    }
}

/// Says what an agent may do.
pub trait Policy: Send + Sync + Debug {
    /// Judges a call before it runs.
    fn judge(&self, call: &ToolCall) -> Verdict;
}

/// What a policy says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// A person is asked, and shown this.
    Ask {
        /// What would run.
        command: String,
    },
    /// It does not run; the model is told why.
    Deny {
        /// Why.
        reason: String,
    },
}

/// The policy of one who wrote none: every call is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskAlways;

impl Policy for AskAlways {
    fn judge(&self, call: &ToolCall) -> Verdict {
        Verdict::Ask {
            command: format!("{} {}", call.tool_name, call.arguments),
        }
    }
}
