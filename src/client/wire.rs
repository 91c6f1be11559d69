//! The JSON of the server's answers, as far as a client reads it; unknown fields are skipped.

use serde::{Deserialize, Serialize};

use crate::client::event::PendingApproval;
use crate::domain::event::Status;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;

/// `GET /api/v1/agents`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentList {
    /// In the server's order.
    pub agents: Vec<AgentInfo>,
    /// Those whose files cannot be used.
    #[serde(default)]
    pub broken: Vec<BrokenAgent>,
}

/// An agent whose files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenAgent {
    /// Its name.
    pub name: String,
    /// What is wrong, a line each.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// `GET /readyz`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Readiness {
    /// Why it takes no requests.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What an operator should know all the same.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An agent in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The variable without which its model cannot be asked, if the server has it not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_key: Option<String>,
    /// What does not count of it for want of its owner's trust, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
}

/// `GET /api/v1/sessions`.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionPage {
    /// Newest first.
    pub sessions: Vec<Session>,
    /// What the next page is asked for with.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A session in a list, or on its own: then with what it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its identifier.
    pub session_id: SessionId,
    /// The agent.
    pub agent: String,
    /// How it stands.
    pub status: Status,
    /// When it began.
    pub created_at: Timestamp,
    /// When something last happened.
    pub updated_at: Timestamp,
    /// A name given by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Messages of people and of the agent.
    #[serde(default)]
    pub message_count: u64,
    /// Whether a turn runs now; a list does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<bool>,
    /// The call that waits for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_approval: Option<PendingApproval>,
}

/// `POST /api/v1/sessions`.
#[derive(Debug, Clone, Deserialize)]
pub struct CreatedSession {
    /// Its identifier.
    pub session_id: SessionId,
    /// The agent.
    pub agent: String,
}

/// `GET /api/v1/sessions/{id}/messages`.
#[derive(Debug, Clone, Deserialize)]
pub struct MessageList {
    /// Oldest first.
    pub messages: Vec<ShownMessage>,
}

/// A message of the history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShownMessage {
    /// `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// `POST …/cancel`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Cancelled {
    /// Whether there was something to cancel.
    pub cancelled: bool,
}

/// A refusal, as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The kind of refusal.
    #[serde(default)]
    pub title: String,
    /// What exactly was refused.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// The refusal in an answer of `status`; a body of another shape is left out.
    pub fn from_answer(status: u16, body: &str) -> Problem {
        let parsed: Option<Problem> = serde_json::from_str(body).ok();
        let (title, detail) =
            parsed.map_or_else(Default::default, |problem| (problem.title, problem.detail));
        Problem {
            status,
            title,
            detail,
        }
    }

    /// The most exact words it has.
    pub fn message(&self) -> String {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => format!("the server answered with status {}", self.status),
            ("", title) => format!("the server answered: {title} ({})", self.status),
            (detail, _) => detail.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_it_knows() {
        for (body, expected) in [
            (
                r#"{"type":"urn:x","title":"Not Found","status":404,"detail":"Agent 'x' not found"}"#,
                "Agent 'x' not found",
            ),
            (
                r#"{"title":"Not Found"}"#,
                "the server answered: Not Found (404)",
            ),
            ("<html>nginx</html>", "the server answered with status 404"),
        ] {
            let problem = Problem::from_answer(404, body);
            assert_eq!(
                (problem.status, problem.message().as_str()),
                (404, expected)
            );
        }
    }
}
