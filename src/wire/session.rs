//! Sessions: what a list, an answer and the beginning of a stream say of them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::event::{ApprovalKind, Attachment, Event, Record, Status, Usage};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::search::FoundMessage;
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::wire::lenient::{OwnedText, or_default, text_or_json};

/// A session in a list, or on its own: then with all that is optional here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SessionFields<S>", bound(deserialize = "S: OwnedText"))]
pub struct SessionBody<S = String> {
    /// Its identifier.
    pub session_id: SessionId,
    /// The name of its agent.
    pub agent: S,
    /// Its state; `running` and `paused` depend on attached clients too.
    pub status: Status,
    /// When it began.
    pub created_at: Timestamp,
    /// When something last happened.
    pub updated_at: Timestamp,
    /// A name given by a person, never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<S>,
    /// Messages of people and of the agent.
    pub message_count: u64,
    /// A turn runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working: Option<bool>,
    /// Tokens of all its turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The model that it uses in place of its agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<S>,
    /// The folder that its tools work in, where that is not the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<S>,
    /// The call that waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_approval: Option<ApprovalBody<S>>,
    /// Number of attached clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached: Option<usize>,
    /// The number of its last record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<Seq>,
}

impl<'a, S: From<&'a str>> SessionBody<S> {
    /// As it stands in a list. `status` may know more than the log: whether clients are attached.
    pub fn brief(session_id: SessionId, summary: &'a Summary, status: Status) -> SessionBody<S> {
        let title = summary.title.as_deref().filter(|title| !title.is_empty());
        SessionBody {
            session_id,
            agent: S::from(&summary.agent),
            status,
            created_at: summary.created_at,
            updated_at: summary.updated_at,
            title: title.map(S::from),
            message_count: summary.message_count,
            working: None,
            usage: None,
            model: None,
            workdir: None,
            pending_approval: None,
            attached: None,
            last_seq: None,
        }
    }
}

/// A session as servers of any age write it.
#[derive(Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
struct SessionFields<S> {
    #[serde(alias = "id")]
    session_id: SessionId,
    #[serde(default, deserialize_with = "or_default")]
    agent: S,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    updated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    title: Option<S>,
    #[serde(default, deserialize_with = "or_default")]
    message_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    working: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    usage: Option<Usage>,
    #[serde(default, deserialize_with = "or_default")]
    model: Option<S>,
    #[serde(default, deserialize_with = "or_default")]
    workdir: Option<S>,
    #[serde(default = "Option::default", deserialize_with = "or_default")]
    pending_approval: Option<ApprovalBody<S>>,
    #[serde(default, deserialize_with = "or_default")]
    attached: Option<usize>,
    #[serde(default, deserialize_with = "or_default")]
    last_seq: Option<Seq>,
}

impl<S> From<SessionFields<S>> for SessionBody<S> {
    fn from(fields: SessionFields<S>) -> SessionBody<S> {
        let minted_at = Timestamp::from_micros(fields.session_id.timestamp_ms() * 1000);
        let created_at = fields.created_at.unwrap_or(minted_at);
        SessionBody {
            agent: fields.agent,
            status: status_of(&fields.status),
            created_at,
            updated_at: fields.updated_at.unwrap_or(created_at),
            title: fields.title,
            message_count: fields.message_count,
            working: fields.working,
            usage: fields.usage,
            model: fields.model,
            workdir: fields.workdir,
            pending_approval: fields.pending_approval,
            attached: fields.attached,
            last_seq: fields.last_seq,
            session_id: fields.session_id,
        }
    }
}

/// A word that is not known is of a session that can be talked to: to think it over would hide it.
fn status_of(word: &str) -> Status {
    match word {
        "running" => Status::Running,
        "paused" => Status::Paused,
        "completed" | "ended" | "closed" | "terminated" => Status::Completed,
        _ => Status::Active,
    }
}

/// A call that waits for a decision; also the event `approval_required`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct ApprovalBody<S = String> {
    /// The call.
    #[serde(alias = "id")]
    pub call_id: S,
    /// The text that would run; a decision names it byte for byte.
    pub command: S,
    /// May it run, or what became of it? A word of an older server asks for permission.
    #[serde(default = "policy", deserialize_with = "kind")]
    pub kind: ApprovalKind,
    /// The simple commands of the text; an older server does not name them.
    #[serde(default)]
    pub commands: Vec<S>,
    /// Number of lines of the text, at least 1; 0 of an older server, which does not say.
    #[serde(default)]
    pub lines: usize,
    /// "Allow always" would allow this text alone, since what it does depends on more than its commands.
    #[serde(default)]
    pub exact: bool,
    /// The rules that `allow_session` would add; it is no answer where there are none.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub session_rules: Vec<S>,
}

/// `GET …/grants`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct GrantListBody<S = String> {
    /// What is allowed for the session, oldest first.
    pub grants: Vec<GrantBody<S>>,
}

/// A rule that somebody has allowed for the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct GrantBody<S = String> {
    /// The number of its event, by which it is taken back.
    pub id: Seq,
    /// As rules of policies are written.
    pub rule: S,
    /// From then on it counts no longer.
    pub until: Timestamp,
    /// Whose turns it counts in; nobody's name for the server's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<S>,
}

fn policy() -> ApprovalKind {
    ApprovalKind::Policy
}

fn kind<'de, D: Deserializer<'de>>(of: D) -> Result<ApprovalKind, D::Error> {
    let word = Value::deserialize(of)?;
    Ok(serde_json::from_value(word).unwrap_or(ApprovalKind::Policy))
}

/// `GET /api/v1/sessions`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct SessionListBody<S = String> {
    /// Newest first.
    #[serde(deserialize_with = "readable_sessions")]
    pub sessions: Vec<SessionBody<S>>,
    /// The `cursor` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<S>,
}

/// One session that cannot be read must not hide the others.
fn readable_sessions<'de, D: Deserializer<'de>, S: OwnedText>(
    of: D,
) -> Result<Vec<SessionBody<S>>, D::Error> {
    let all = Vec::<Value>::deserialize(of)?.into_iter();
    let readable = |one: Value| {
        let read = serde_json::from_value(one);
        read.inspect_err(|error| log::warn!("a session of the server is left out: {error}"))
            .ok()
    };
    Ok(all.filter_map(readable).collect())
}

/// `GET …/messages`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct MessageListBody<S = String> {
    /// Oldest first.
    pub messages: Vec<MessageBody<S>>,
}

/// The messages that a search found, the best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchBody {
    /// The messages.
    pub messages: Vec<FoundMessage>,
}

/// A message of either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct MessageBody<S = String> {
    /// `user` or `assistant`.
    #[serde(default)]
    pub role: S,
    /// The text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub content: S,
    /// Its identifier; empty of an older server.
    #[serde(default, deserialize_with = "or_default")]
    pub message_id: S,
    /// When it was stored; an older server may not say.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub created_at: Option<Timestamp>,
    /// The writer's name, where there are several.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub sender_name: Option<S>,
    /// Files that came or go with it.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attachments: Vec<Attachment>,
}

/// `GET …/events` as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordPageBody {
    /// In order. Events that only a newer version knows are left out.
    #[serde(deserialize_with = "records")]
    pub events: Vec<Record>,
    /// The number after which the next page begins; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seq>,
}

impl RecordPageBody {
    /// Records as they are shown: without those that have no form here, being a newer version's, and
    /// without what is for the provider of a model alone.
    pub fn new(mut events: Vec<Record>, next: Option<Seq>) -> RecordPageBody {
        events.retain(|record| record.event != Event::Unknown);
        events.iter_mut().for_each(Record::hide_provider_data);
        RecordPageBody { events, next }
    }
}

/// The log's own reader knows all that a record may look like.
fn records<'de, D: Deserializer<'de>>(of: D) -> Result<Vec<Record>, D::Error> {
    let lines = Vec::<Value>::deserialize(of)?;
    let read = lines
        .iter()
        .map(|line| Record::parse(line.to_string().as_bytes()));
    read.collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
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
        let page: SessionListBody = serde_json::from_str(text).unwrap();
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
}
