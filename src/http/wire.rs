//! What the engine shows, as the bodies of [`wire`](crate::wire). Pure.

use std::collections::BTreeMap;

use crate::base::text;
use crate::domain::event::{Attachment, Record, Usage};
use crate::domain::ids::SessionId;
use crate::domain::spec::AgentSpec;
use crate::domain::transcript::{Role, ShownMessage};
use crate::engine::sessions::view::{PendingApproval, SessionPage, SessionView, line_count};
use crate::engine::{Accepted, ContextUse, StandingGrant};
use crate::http::problem::HttpProblem;
use crate::http::turn::FinalMessage;
use crate::wire::{
    AgentBody, AgentListBody, ApprovalBody, BodyError, BrokenAgentBody, ContextBody, DecidedBody,
    GrantBody, GrantListBody, MessageBody, MessageListBody, NoticeBody, RecordPageBody, ReplyBody,
    SessionBody, SessionListBody, StoredBody, WaitingBody,
};

/// 404 for an agent, whatever it was called.
pub fn agent_not_found(name: &str) -> HttpProblem {
    let name = text::shortened(name);
    HttpProblem::new(404, format!("Agent '{name}' not found"))
}

impl From<BodyError> for HttpProblem {
    fn from(error: BodyError) -> HttpProblem {
        let detail = error.to_string();
        match error {
            BodyError::NoSuchAgent(_) => HttpProblem::new(404, detail),
            BodyError::NotJson { line, column, .. } => HttpProblem::new(400, detail)
                .with_kind("bad-json")
                .with_member("line", line)
                .with_member("column", column),
            BodyError::Empty
            | BodyError::NotUtf8(_)
            | BodyError::NotAnObject(_)
            | BodyError::Missing(_)
            | BodyError::NotAFlag { .. }
            | BodyError::NotText { .. }
            | BodyError::Blank(_)
            | BodyError::TooLong(_)
            | BodyError::LongWish
            | BodyError::Control(_)
            | BodyError::NoChange
            | BodyError::NotACallId
            | BodyError::NotADecision
            | BodyError::NotAList { .. }
            | BodyError::TooManyFiles
            | BodyError::NotAFile(_) => HttpProblem::new(400, detail),
        }
    }
}

/// A session as it stands in a list.
pub fn brief_session(view: &SessionView) -> SessionBody<&str> {
    SessionBody::brief(view.id.clone(), &view.summary, view.status)
}

/// A session as it is shown alone.
pub fn whole_session(view: &SessionView) -> SessionBody<&str> {
    SessionBody {
        working: Some(view.working),
        usage: Some(view.summary.usage),
        model: view.summary.model.as_deref(),
        workdir: view.summary.workdir.as_deref(),
        pending_approval: view.pending_approval.as_ref().map(ApprovalBody::from),
        attached: Some(view.attached),
        last_seq: Some(view.summary.last_seq),
        ..brief_session(view)
    }
}

impl<'a> From<&'a SessionPage> for SessionListBody<&'a str> {
    fn from(page: &'a SessionPage) -> SessionListBody<&'a str> {
        SessionListBody {
            sessions: page.sessions.iter().map(brief_session).collect(),
            next_cursor: page.next_cursor.as_ref().map(SessionId::as_str),
        }
    }
}

impl<'a> From<&'a PendingApproval> for ApprovalBody<&'a str> {
    fn from(pending: &'a PendingApproval) -> ApprovalBody<&'a str> {
        ApprovalBody {
            call_id: pending.call_id.as_str(),
            command: &pending.command,
            kind: pending.kind,
            commands: pending.commands.iter().map(String::as_str).collect(),
            lines: line_count(&pending.command),
            exact: pending.exact,
            session_rules: pending.session_rules.iter().map(String::as_str).collect(),
        }
    }
}

impl<'a> From<&'a [StandingGrant]> for GrantListBody<&'a str> {
    fn from(grants: &'a [StandingGrant]) -> GrantListBody<&'a str> {
        let body = |one: &'a StandingGrant| GrantBody {
            id: one.seq,
            rule: one.grant.rule.as_str(),
            until: one.grant.until,
            by: one.grant.by.as_deref(),
        };
        GrantListBody {
            grants: grants.iter().map(body).collect(),
        }
    }
}

impl<'a> From<&'a ShownMessage> for MessageBody<&'a str> {
    fn from(message: &'a ShownMessage) -> MessageBody<&'a str> {
        MessageBody {
            role: message.role.as_str(),
            content: &message.content,
            message_id: message.message_id.as_str(),
            created_at: Some(message.created_at),
            sender_name: message.sender_name.as_deref(),
            attachments: message.attachments.clone(),
        }
    }
}

impl<'a> From<&'a [ShownMessage]> for MessageListBody<&'a str> {
    fn from(messages: &'a [ShownMessage]) -> MessageListBody<&'a str> {
        MessageListBody {
            messages: messages.iter().map(MessageBody::from).collect(),
        }
    }
}

/// A page of at most `limit` records; a full one says after which to ask on.
pub fn record_page(events: Vec<Record>, limit: usize) -> RecordPageBody {
    let next = events.last().map(|last| last.seq);
    let next = next.filter(|_| events.len() >= limit);
    RecordPageBody::new(events, next)
}

/// Agents in the order given, each with the variable that its model misses, and those that cannot be
/// used. `not_counted` says of some what does not count for want of trust, and `remarks` what does not
/// work as it seems.
pub fn agent_list<'a>(
    agents: impl IntoIterator<Item = (&'a AgentSpec, Option<String>)>,
    not_counted: &BTreeMap<String, String>,
    remarks: &BTreeMap<String, String>,
    broken: Vec<BrokenAgentBody>,
) -> AgentListBody {
    let agents = agents.into_iter().map(|(agent, missing_key)| AgentBody {
        name: agent.name.to_string(),
        description: agent.description.clone(),
        version: agent.version.clone(),
        missing_key,
        not_counted: not_counted.get(agent.name.as_str()).cloned(),
        remarks: Vec::from_iter(remarks.get(agent.name.as_str()).cloned()),
    });
    AgentListBody {
        agents: agents.collect(),
        broken,
    }
}

/// What the next call of a session's model would take.
pub fn context(used: ContextUse) -> ContextBody {
    let ContextUse {
        prompt,
        tools,
        summary,
        history,
        free,
    } = used;
    ContextBody {
        prompt,
        tools,
        summary,
        history,
        free,
    }
}

/// The last message of a turn (a turn may end without one), what the turn cost, and what is to be said of it.
pub fn reply<'a>(
    last: Option<&'a FinalMessage>,
    usage: Usage,
    notices: &[NoticeBody],
) -> ReplyBody<&'a str> {
    ReplyBody {
        message_id: last.map(|message| message.message_id.as_str()),
        role: Role::Assistant.as_str(),
        content: last.map_or("", |message| &message.content),
        usage,
        attachments: files_of(last),
        notices: notices.to_vec(),
    }
}

/// The question of a session that is open.
pub fn waiting<'a>(
    session_id: &'a SessionId,
    pending: &'a PendingApproval,
) -> WaitingBody<&'a str> {
    WaitingBody {
        session_id: session_id.as_str(),
        approval: pending.into(),
    }
}

impl<'a> From<&'a Accepted> for StoredBody<&'a str> {
    fn from(accepted: &'a Accepted) -> StoredBody<&'a str> {
        StoredBody {
            message_id: accepted.message_id.as_str(),
            seq: accepted.seq,
        }
    }
}

/// A decision whose turn has ended, with the last message of it, if it has one, and what is to be said of it.
pub fn decided_and_complete<'a>(
    last: Option<&'a FinalMessage>,
    notices: &[NoticeBody],
) -> DecidedBody<&'a str> {
    DecidedBody::Complete {
        message_id: last.map(|message| message.message_id.as_str()),
        content: last.map_or("", |message| &message.content),
        attachments: files_of(last),
        notices: notices.to_vec(),
    }
}

fn files_of(last: Option<&FinalMessage>) -> Vec<Attachment> {
    last.map_or_else(Vec::new, |message| message.attachments.clone())
}

#[cfg(test)]
mod tests;
