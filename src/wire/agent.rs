//! Agents: the list of them, and what reading them again has changed.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/agents`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentListBody {
    /// In the server's order.
    pub agents: Vec<AgentBody>,
    /// Those whose files cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<BrokenAgentBody>,
}

/// An agent in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBody {
    /// Its name.
    pub name: String,
    /// Its purpose, in its author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The variable without which its model cannot be asked, if the server has it not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_key: Option<String>,
    /// A sentence on what waits for its owner's trust, and does not count until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
    /// The parts of it that do not work as they seem, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// An agent whose files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenAgentBody {
    /// The name of its folder.
    pub name: String,
    /// The mistakes in its files, a line each.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// `POST /api/admin/v1/reload-agents`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadBody {
    /// Names that are new.
    #[serde(default)]
    pub added: Vec<String>,
    /// Names whose files changed.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Names that are gone.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Files that could not be used; their agents stay as they were.
    #[serde(default)]
    pub errors: Vec<FileErrorBody>,
}

/// A file that could not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileErrorBody {
    /// The file, relative to the workspace.
    #[serde(default)]
    pub file: String,
    /// The mistake, with its place in the file where that is known.
    #[serde(default)]
    pub message: String,
}
