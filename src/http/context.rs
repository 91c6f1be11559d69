//! What every answer is made from: the engine, and the rest of the program as the API sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::shown::shown_by_name;
use crate::base::stop::Stop;
use crate::domain::spec::AgentSpec;
use crate::engine::Sessions;
use crate::http::ticket::TicketKey;

/// What the API needs to know of the rest of the program.
pub trait Host: Send + Sync {
    /// All agents, sorted by name.
    fn agents(&self) -> Vec<Arc<AgentSpec>>;

    /// What does not count of agents for want of their owner's trust: a sentence by agent, for those
    /// of which there is something.
    fn not_counted(&self) -> BTreeMap<String, String>;

    /// What does not work of agents as their authors may think, a sentence each.
    fn remarks(&self) -> BTreeMap<String, String>;

    /// The agent of that name.
    fn agent(&self, name: &str) -> Option<Arc<AgentSpec>>;

    /// The agents whose files cannot be used, sorted by name.
    fn broken_agents(&self) -> Vec<BrokenAgent>;

    /// The variable without which an agent's model cannot be asked, if it is not set here.
    fn missing_key(&self, agent: &AgentSpec) -> Option<String>;

    /// Reads the agents again.
    fn reload_agents(&self) -> ReloadReport;

    /// Whether the program can do its work.
    fn readiness(&self) -> Readiness;

    /// Which program this is.
    fn version(&self) -> Version;

    /// Asks the program to end; returns at once.
    fn request_shutdown(&self);
}

shown_by_name!(Host);

/// Whether the program can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// The random id kept in the workspace.
    pub workspace_hash: String,
    /// Why it cannot, in sentences without paths; empty when it can.
    pub reasons: Vec<String>,
    /// What an operator should know all the same.
    pub warnings: Vec<String>,
}

/// An agent whose files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenAgent {
    /// The name of its folder.
    pub name: String,
    /// What is wrong, a line each.
    pub errors: Vec<String>,
}

/// Which program this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// When it was built.
    pub build_date: &'static str,
    /// What it was built with.
    pub features: Vec<&'static str>,
    /// What the programs of tools are locked into: `trust`, `bubblewrap` or `docker`.
    pub sandbox: &'static str,
}

/// What reading the agents again has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReloadReport {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names whose files changed.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Files that could not be used; their agents stay as they were.
    pub errors: Vec<FileError>,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file, relative to the workspace.
    pub file: String,
    /// What is wrong with it, and where.
    pub message: String,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSettings {
    /// `server.request_timeout_seconds`: how long a blocking answer waits for its turn.
    pub request_timeout: Duration,
    /// `server.keep_alive_interval_seconds`: how long a stream may be silent.
    pub keep_alive_interval: Duration,
}

/// What every answer is made from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The engine.
    pub sessions: Sessions,
    /// The rest of the program.
    pub host: Arc<dyn Host>,
    /// How long things may take.
    pub settings: ApiSettings,
    /// Makes the tickets that the gate knows.
    pub tickets: TicketKey,
    /// Ends all streams and waits.
    pub stop: Stop,
}
