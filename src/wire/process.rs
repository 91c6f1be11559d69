//! The server itself: whether it can work, which program it is, and its end.

use serde::{Deserialize, Serialize};

use crate::wire::lenient::or_default;

/// `GET /readyz`. A server that cannot work answers 503 with a problem
/// that has these members too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessBody {
    /// Sentences on what of agents waits for their owner's trust; only for those who may use the
    /// API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_counted: Vec<String>,
    /// Why it takes no requests, in sentences without paths; empty when it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// `ok`; in a problem it is the HTTP status, which is read as none.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<String>,
    /// Sentences that an operator should know although it works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The random id kept in the workspace; version 0.5 does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_hash: Option<String>,
}

/// `GET /version`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionBody {
    /// The program's version; an answer without it comes from another program.
    pub version: String,
    /// The commit it was built from.
    #[serde(default)]
    pub commit: String,
    /// When it was built.
    #[serde(default)]
    pub build_date: String,
    /// The features it was built with.
    #[serde(default)]
    pub features: Vec<String>,
    /// The lock of tools' programs: `trust`, `bubblewrap` or `docker`.
    #[serde(default)]
    pub sandbox: String,
}

/// `POST /api/admin/v1/shutdown`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownBody {
    /// `shutting_down`
    pub status: String,
}
