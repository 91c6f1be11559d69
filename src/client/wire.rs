//! The JSON of the server's answers, as far as a client reads it; unknown fields are skipped.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
    /// Which workspace it serves; an older server does not say.
    #[serde(default)]
    pub workspace_hash: Option<String>,
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
    /// What does not work of it as it seems, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// `GET /api/v1/sessions`.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionPage {
    /// Newest first.
    #[serde(deserialize_with = "readable_sessions")]
    pub sessions: Vec<Session>,
    /// What the next page is asked for with.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// One session that cannot be read must not hide the others.
fn readable_sessions<'de, D: Deserializer<'de>>(of: D) -> Result<Vec<Session>, D::Error> {
    let all = Vec::<Value>::deserialize(of)?.into_iter();
    let readable = |one: Value| {
        let read = serde_json::from_value(one);
        read.inspect_err(|error| log::warn!("a session of the server is left out: {error}"))
            .ok()
    };
    Ok(all.filter_map(readable).collect())
}

/// A session in a list, or on its own: then with what it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "SessionFields")]
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

/// A session as servers of any age write it.
#[derive(Deserialize)]
struct SessionFields {
    #[serde(alias = "id")]
    session_id: SessionId,
    #[serde(default, deserialize_with = "or_default")]
    agent: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    updated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    title: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    message_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    working: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    pending_approval: Option<PendingApproval>,
}

/// What cannot be read is as good as not said: it must not hide the session.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    of: D,
) -> Result<T, D::Error> {
    let said = Value::deserialize(of)?;
    Ok(serde_json::from_value(said).unwrap_or_default())
}

impl From<SessionFields> for Session {
    fn from(fields: SessionFields) -> Session {
        let minted_at = Timestamp::from_micros(fields.session_id.timestamp_ms() * 1000);
        let created_at = fields.created_at.unwrap_or(minted_at);
        Session {
            agent: fields.agent,
            status: status(&fields.status),
            created_at,
            updated_at: fields.updated_at.unwrap_or(created_at),
            title: fields.title,
            message_count: fields.message_count,
            working: fields.working,
            pending_approval: fields.pending_approval,
            session_id: fields.session_id,
        }
    }
}

/// What a server's word for a session's state means. One that is not known is of a session that can
/// be talked to: to think it over would hide it.
fn status(word: &str) -> Status {
    match word {
        "running" => Status::Running,
        "paused" => Status::Paused,
        "completed" | "ended" | "closed" | "terminated" => Status::Completed,
        _ => Status::Active,
    }
}

/// `POST /api/v1/sessions`.
#[derive(Debug, Clone, Deserialize)]
pub struct CreatedSession {
    /// Its identifier.
    #[serde(alias = "id")]
    pub session_id: SessionId,
}

/// `POST …/approve`: how the turn went on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Approved {
    /// `complete` or `pending_approval`.
    #[serde(default)]
    status: String,
    /// What was said after the decision, where the turn is over.
    #[serde(default)]
    pub content: String,
    #[serde(flatten)]
    asked: Option<PendingApproval>,
}

impl Approved {
    /// The next call that waits for a decision.
    pub fn next_question(&self) -> Option<PendingApproval> {
        self.asked.clone().filter(|_| self.status != "complete")
    }
}

/// `POST /api/admin/v1/reload-agents`: names, and the files with mistakes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Agents that are new.
    #[serde(default)]
    pub added: Vec<String>,
    /// Agents that are others than before.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Agents that are gone.
    #[serde(default)]
    pub removed: Vec<String>,
    /// What is wrong.
    #[serde(default)]
    pub errors: Vec<FileMistake>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMistake {
    /// The file, in the workspace.
    #[serde(default)]
    pub file: String,
    /// What is wrong, with its place.
    #[serde(default)]
    pub message: String,
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
    #[serde(default)]
    pub role: String,
    /// What was said.
    #[serde(default, deserialize_with = "text_or_json")]
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
    /// The refusal in an answer of `status`, in whatever form: problem details, JSON with an `error` or a
    /// `message`, or a line of text. A page for browsers is left out.
    pub fn from_answer(status: u16, body: &str) -> Problem {
        let (title, detail) = match serde_json::from_str::<Value>(body) {
            Ok(json) => {
                let word = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
                let detail = word("detail").or_else(|| said_of_error(&json));
                (word("title"), detail)
            }
            Err(_) => (None, plain_line(body)),
        };
        Problem {
            status,
            title: title.unwrap_or_default(),
            detail: detail.unwrap_or_default(),
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

/// What a JSON text says went wrong, in the forms that servers use.
pub(super) fn said_of_error(json: &Value) -> Option<String> {
    let error = json.get("error");
    let within = error.and_then(|error| error.get("message"));
    let candidates = [json.get("message"), within, error, Some(json)];
    let mut texts = candidates.into_iter().flatten().filter_map(Value::as_str);
    texts.next().map(str::to_owned)
}

/// A short text that is not a page for browsers.
pub(super) fn plain_line(text: &str) -> Option<String> {
    const BYTES_MAX: usize = 300;
    let text = text.trim();
    let is_line = !text.is_empty() && text.len() <= BYTES_MAX && !text.starts_with('<');
    is_line.then(|| text.to_owned())
}

/// A text as it is, nothing for `null`, and anything else as the JSON it is.
pub(super) fn text_or_json<'de, D: Deserializer<'de>>(of: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(of)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_any_age_is_read_and_one_that_cannot_be_hides_no_other() {
        let text = r#"{"sessions":[
            {"session_id":"session_01J00000000000000000000000","agent":"a","status":"idle","new":[1],
             "created_at":"2026-01-01T01:00:00.123456789+01:00"},
            {"session_id":"7"},
            {"id":"session_01J00000000000000000000001","status":"ended","agent":null,"message_count":null,
             "created_at":"0001-01-01T00:00:00Z","updated_at":1767225600}]}"#;
        let page: SessionPage = serde_json::from_str(text).unwrap();
        let shown: Vec<String> = page
            .sessions
            .iter()
            .map(|one| format!("{} {} {}", one.agent, one.status, one.updated_at))
            .collect();
        assert_eq!(
            shown,
            [
                "a active 2026-01-01T00:00:00.123456Z",
                " completed 2024-06-10T02:35:18.400000Z"
            ]
        );
    }

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
            (r#"{"error":"no such agent"}"#, "no such agent"),
            (
                r#"{"error":{"message":"no such agent","code":1}}"#,
                "no such agent",
            ),
            (r#"{"message":"no such agent"}"#, "no such agent"),
            (r#""no such agent""#, "no such agent"),
            ("no such agent\n", "no such agent"),
            ("", "the server answered with status 404"),
        ] {
            let problem = Problem::from_answer(404, body);
            assert_eq!(
                (problem.status, problem.message().as_str()),
                (404, expected)
            );
        }
    }
}
