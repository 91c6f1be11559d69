//! JSON bodies: what clients send, checked, and what they are answered. Pure.
//!
//! Names of fields are the API (`docs/api.md`): new ones may come, none is renamed. Fields of a
//! request that we do not know are ignored; those we know must have their type.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::event::{ApprovalKind, Decision, Event, Record, Usage};
use crate::domain::ids::{AgentName, CallId, MessageId, Seq, SessionId};
use crate::domain::spec::AgentSpec;
use crate::domain::time::Timestamp;
use crate::engine::sessions::view::{
    PendingApproval, Role, SessionPage, SessionView, ShownMessage, line_count,
};
use crate::http::context::BrokenAgent;
use crate::http::problem::Problem;
use crate::http::turn::Reply;

/// How long a title or the name of a model may be.
const NAME_CHARS_MAX: usize = 200;

/// `POST /api/v1/sessions`
#[derive(Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Whose session it will be.
    pub agent: String,
}

/// `POST …/messages` and `…/stream`
#[derive(Debug, PartialEq, Eq)]
pub struct Say {
    /// The text; not blank.
    pub content: String,
}

/// `PATCH /api/v1/sessions/{id}`
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// At most 200 characters, none of them a control character; empty takes the title away.
    pub title: Option<String>,
    /// Not empty, and the same otherwise.
    pub model: Option<String>,
}

/// `POST …/approve`
#[derive(Debug, PartialEq, Eq)]
pub struct Approve {
    /// Which call.
    pub call_id: String,
    /// What the person was shown.
    pub command: String,
    /// What was decided.
    pub decision: Decision,
}

impl NewSession {
    /// Reads the body. Errors: 400; 404 for what no agent can be called.
    pub fn parse(body: &[u8]) -> Result<NewSession, Problem> {
        let agent = Fields::parse(body)?.text("agent")?;
        match AgentName::parse(&agent) {
            Ok(_) => Ok(NewSession { agent }),
            Err(_) => Err(agent_not_found(&agent)),
        }
    }
}

impl Say {
    /// Reads the body. Errors: 400.
    pub fn parse(body: &[u8]) -> Result<Say, Problem> {
        let content = Fields::parse(body)?.text("content")?;
        if content.trim().is_empty() {
            return Err(Problem::new(400, "`content` must not be empty"));
        }
        Ok(Say { content })
    }
}

impl Change {
    /// Reads the body. Errors: 400, also when there is nothing to change.
    pub fn parse(body: &[u8]) -> Result<Change, Problem> {
        let mut fields = Fields::parse(body)?;
        let change = Change {
            title: fields.optional_text("title")?,
            model: fields.optional_text("model")?,
        };
        if change.title.is_none() && change.model.is_none() {
            return Err(Problem::new(400, "give `title`, `model` or both"));
        }
        check_name("title", change.title.as_deref())?;
        check_name("model", change.model.as_deref())?;
        if change.model.as_deref() == Some("") {
            return Err(Problem::new(400, "`model` must not be empty"));
        }
        Ok(change)
    }
}

impl Approve {
    /// Reads the body. Errors: 400.
    pub fn parse(body: &[u8]) -> Result<Approve, Problem> {
        let mut fields = Fields::parse(body)?;
        let call_id = fields.text("call_id")?;
        if CallId::parse(&call_id).is_err() {
            return Err(Problem::new(400, "`call_id` is not the id of a call"));
        }
        Ok(Approve {
            call_id,
            command: fields.text("command")?,
            decision: decision(&fields.text("decision")?)?,
        })
    }
}

/// 404 for an agent, whatever it was called.
pub fn agent_not_found(name: &str) -> Problem {
    let name = shortened(name);
    Problem::new(404, format!("Agent '{name}' not found"))
}

/// The beginning of a text: an answer need not carry a page of somebody's input back.
pub fn shortened(text: &str) -> &str {
    const SHOWN_CHARS: usize = 100;
    text.char_indices()
        .nth(SHOWN_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}

fn check_name(field: &str, value: Option<&str>) -> Result<(), Problem> {
    let value = value.unwrap_or_default();
    if value.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::new(
            400,
            format!("`{field}` must not be longer than {NAME_CHARS_MAX} characters"),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::new(
            400,
            format!("`{field}` must not hold control characters"),
        ));
    }
    Ok(())
}

fn decision(word: &str) -> Result<Decision, Problem> {
    Ok(match word {
        "allow_once" => Decision::AllowOnce,
        "allow_always" => Decision::AllowAlways,
        "deny" => Decision::Deny,
        "retry" => Decision::Retry,
        "skip" => Decision::Skip,
        "worked" => Decision::Worked,
        _ => {
            return Err(Problem::new(
                400,
                "`decision` must be `allow_once`, `allow_always` or `deny`; \
                 for a call of kind `uncertain` also `retry`, `skip` or `worked`",
            ));
        }
    })
}

/// The fields of a JSON object, taken one by one, so that each complaint names its field.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(body: &[u8]) -> Result<Fields, Problem> {
        if body.is_empty() {
            return Err(Problem::new(400, "there is no body: send a JSON object"));
        }
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Problem::new(400, format!("the body is not UTF-8 from byte {at} on"))
        })?;
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(other) => Err(Problem::new(
                400,
                format!("the body must be a JSON object, not {}", kind_of(&other)),
            )),
            Err(error) => Err(bad_json(&error)),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, Problem> {
        self.optional_text(name)?
            .ok_or_else(|| Problem::new(400, format!("missing field `{name}`")))
    }

    /// A field that is `null` is one that is not there.
    fn optional_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Problem::new(
                400,
                format!("`{name}` must be a string, not {}", kind_of(&other)),
            )),
        }
    }
}

/// The parser's words end with the line and the column.
fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(400, format!("the body is not valid JSON: {error}"))
        .with_kind("bad-json")
        .with_member("line", error.line())
        .with_member("column", error.column())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A session, in a list or alone.
#[derive(Debug, Serialize)]
pub struct SessionBody<'a> {
    session_id: &'a SessionId,
    agent: &'a str,
    status: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    message_count: u64,
    #[serde(flatten)]
    details: Option<SessionDetails<'a>>,
}

#[derive(Debug, Serialize)]
struct SessionDetails<'a> {
    working: bool,
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_approval: Option<ApprovalBody<'a>>,
    attached: usize,
    last_seq: Seq,
}

#[derive(Debug, Serialize)]
struct ApprovalBody<'a> {
    call_id: &'a CallId,
    command: &'a str,
    kind: ApprovalKind,
    commands: &'a [String],
    lines: usize,
    exact: bool,
}

impl<'a> From<&'a PendingApproval> for ApprovalBody<'a> {
    fn from(pending: &'a PendingApproval) -> ApprovalBody<'a> {
        ApprovalBody {
            call_id: &pending.call_id,
            command: &pending.command,
            kind: pending.kind,
            commands: &pending.commands,
            lines: line_count(&pending.command),
            exact: pending.exact,
        }
    }
}

impl<'a> SessionBody<'a> {
    /// As it stands in a list.
    pub fn brief(view: &'a SessionView) -> SessionBody<'a> {
        let summary = &view.summary;
        SessionBody {
            session_id: &view.id,
            agent: &summary.agent,
            status: view.status.as_str(),
            created_at: summary.created_at,
            updated_at: summary.updated_at,
            title: summary.title.as_deref().filter(|title| !title.is_empty()),
            message_count: summary.message_count,
            details: None,
        }
    }

    /// As it is shown alone.
    pub fn whole(view: &'a SessionView) -> SessionBody<'a> {
        SessionBody {
            details: Some(SessionDetails {
                working: view.working,
                usage: view.summary.usage,
                model: view.summary.model.as_deref(),
                pending_approval: view.pending_approval.as_ref().map(ApprovalBody::from),
                attached: view.attached,
                last_seq: view.summary.last_seq,
            }),
            ..SessionBody::brief(view)
        }
    }
}

/// `GET /api/v1/sessions`
#[derive(Debug, Serialize)]
pub struct SessionList<'a> {
    sessions: Vec<SessionBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a SessionId>,
}

impl<'a> From<&'a SessionPage> for SessionList<'a> {
    fn from(page: &'a SessionPage) -> SessionList<'a> {
        SessionList {
            sessions: page.sessions.iter().map(SessionBody::brief).collect(),
            next_cursor: page.next_cursor.as_ref(),
        }
    }
}

/// A message of either side.
#[derive(Debug, Serialize)]
pub struct MessageBody<'a> {
    role: &'static str,
    content: &'a str,
    message_id: &'a MessageId,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<&'a str>,
}

impl<'a> From<&'a ShownMessage> for MessageBody<'a> {
    fn from(message: &'a ShownMessage) -> MessageBody<'a> {
        MessageBody {
            role: message.role.as_str(),
            content: &message.content,
            message_id: &message.message_id,
            created_at: message.created_at,
            sender_name: message.sender_name.as_deref(),
        }
    }
}

/// `GET …/messages`
#[derive(Debug, Serialize)]
pub struct MessageList<'a> {
    messages: Vec<MessageBody<'a>>,
}

impl<'a> From<&'a [ShownMessage]> for MessageList<'a> {
    fn from(messages: &'a [ShownMessage]) -> MessageList<'a> {
        MessageList {
            messages: messages.iter().map(MessageBody::from).collect(),
        }
    }
}

/// `GET …/events` as JSON.
#[derive(Debug, Serialize)]
pub struct EventPage {
    events: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Seq>,
}

impl EventPage {
    /// A page of at most `limit` records; a full one says after which to ask on.
    pub fn new(mut events: Vec<Record>, limit: usize) -> EventPage {
        let next = events.last().map(|last| last.seq);
        let next = next.filter(|_| events.len() >= limit);
        // An event of a newer version has no form that we could show.
        events.retain(|record| record.event != Event::Unknown);
        events.iter_mut().for_each(Record::hide_provider_data);
        EventPage { events, next }
    }
}

/// `GET /api/v1/agents`
#[derive(Debug, Serialize)]
pub struct AgentList<'a> {
    agents: Vec<AgentBrief<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    broken: Vec<BrokenAgent>,
}

#[derive(Debug, Serialize)]
struct AgentBrief<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_counted: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<&'a str>,
}

impl<'a> AgentList<'a> {
    /// In the order given, each with the variable that its model misses, and those that cannot be
    /// used. `not_counted` says of some what does not count for want of trust, and `remarks` what does
    /// not work as it seems.
    pub fn new(
        agents: impl IntoIterator<Item = (&'a AgentSpec, Option<String>)>,
        not_counted: &'a BTreeMap<String, String>,
        remarks: &'a BTreeMap<String, String>,
        broken: Vec<BrokenAgent>,
    ) -> AgentList<'a> {
        let agents = agents.into_iter().map(|(agent, missing_key)| AgentBrief {
            name: agent.name.as_str(),
            description: agent.description.as_deref(),
            version: agent.version.as_deref(),
            missing_key,
            not_counted: not_counted.get(agent.name.as_str()).map(String::as_str),
            remarks: remarks
                .get(agent.name.as_str())
                .map(String::as_str)
                .into_iter()
                .collect(),
        });
        AgentList {
            agents: agents.collect(),
            broken,
        }
    }
}

/// `POST …/messages` at the end of its turn.
#[derive(Debug, Serialize)]
pub struct ReplyBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a MessageId>,
    role: &'static str,
    content: &'a str,
    usage: Usage,
}

impl<'a> ReplyBody<'a> {
    /// The last message of a turn (a turn may end without one), and what the turn cost.
    pub fn new(reply: Option<&'a Reply>, usage: Usage) -> ReplyBody<'a> {
        ReplyBody {
            message_id: reply.map(|reply| &reply.message_id),
            role: Role::Assistant.as_str(),
            content: reply.map_or("", |reply| &reply.content),
            usage,
        }
    }
}

/// `POST …/ticket`
#[derive(Debug, Serialize)]
pub struct TicketBody<'a> {
    /// As it stands in a query.
    pub ticket: &'a str,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// `POST …/messages` whose turn waits for a decision.
#[derive(Debug, Serialize)]
pub struct WaitingBody<'a> {
    session_id: &'a SessionId,
    #[serde(flatten)]
    approval: ApprovalBody<'a>,
}

impl<'a> WaitingBody<'a> {
    /// The question that is open.
    pub fn new(session_id: &'a SessionId, pending: &'a PendingApproval) -> WaitingBody<'a> {
        WaitingBody {
            session_id,
            approval: pending.into(),
        }
    }
}

/// `POST …/messages` that is answered before its turn ends.
#[derive(Debug, Serialize)]
pub struct StoredBody<'a> {
    /// The message that was stored.
    pub message_id: &'a MessageId,
    /// Its record.
    pub seq: Seq,
}

/// `POST …/approve`
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum DecidedBody<'a> {
    /// The turn has ended.
    Complete {
        /// Its last message.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
        /// The text of that.
        content: &'a str,
    },
    /// The turn asks again.
    PendingApproval {
        /// For this call.
        call_id: &'a CallId,
        /// What would run.
        command: &'a str,
        /// What is asked.
        kind: ApprovalKind,
        /// The simple commands of that.
        commands: &'a [String],
        /// How many lines it has.
        lines: usize,
        /// Whether "allow always" would allow this text alone.
        exact: bool,
    },
    /// The decision is stored; the turn goes on.
    Working {
        /// The record of the decision.
        seq: Seq,
    },
}

impl<'a> DecidedBody<'a> {
    /// The last message of the turn, if it has one.
    pub fn complete(reply: Option<&'a Reply>) -> DecidedBody<'a> {
        DecidedBody::Complete {
            message_id: reply.map(|reply| &reply.message_id),
            content: reply.map_or("", |reply| &reply.content),
        }
    }

    /// The next question.
    pub fn pending(pending: &'a PendingApproval) -> DecidedBody<'a> {
        DecidedBody::PendingApproval {
            call_id: &pending.call_id,
            command: &pending.command,
            kind: pending.kind,
            commands: &pending.commands,
            lines: line_count(&pending.command),
            exact: pending.exact,
        }
    }
}

/// `POST …/cancel`
#[derive(Debug, Serialize)]
pub struct CancelledBody {
    /// Whether there was something to cancel.
    pub cancelled: bool,
}

#[cfg(test)]
mod tests;
