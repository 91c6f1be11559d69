//! Sessions and messages as surfaces show them.

use crate::domain::event::{ApprovalKind, OnDisconnect, Status};
use crate::domain::ids::{CallId, MessageId, SessionId};
use crate::domain::state::{Approval, Summary};
use crate::domain::time::Timestamp;

/// A session, for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// Which session.
    pub id: SessionId,
    /// What its log says.
    pub summary: Summary,
    /// How it stands now, clients considered.
    pub status: Status,
    /// A turn is at work, or waits for what others do and goes on by itself then.
    pub working: bool,
    /// How many clients are attached.
    pub attached: usize,
    /// What it waits for; only known when one session is asked for.
    pub pending_approval: Option<PendingApproval>,
}

impl SessionView {
    /// A session of which nothing is asked. `has_worker` says whether a thread works for it, or will.
    pub(in crate::engine) fn new(
        id: &SessionId,
        summary: Summary,
        has_worker: bool,
        attached: usize,
    ) -> SessionView {
        let working = has_worker || summary.is_parked();
        let continues = summary.on_disconnect == OnDisconnect::Continue;
        let runs_alone = working && attached == 0 && continues;
        SessionView {
            id: id.clone(),
            status: if runs_alone && summary.status == Status::Active {
                Status::Running
            } else {
                summary.status
            },
            working,
            attached,
            pending_approval: None,
            summary,
        }
    }
}

/// A question that is open.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingApproval {
    /// The call.
    pub call_id: CallId,
    /// What would run.
    pub command: String,
    /// The simple commands of that.
    pub commands: Vec<String>,
    /// What is asked.
    pub kind: ApprovalKind,
    /// Whether "allow always" would allow this text alone.
    pub exact: bool,
}

impl From<&Approval> for PendingApproval {
    fn from(approval: &Approval) -> PendingApproval {
        PendingApproval {
            call_id: approval.call_id.clone(),
            command: approval.command.clone(),
            commands: commands_of(&approval.command, &approval.commands),
            kind: approval.kind,
            exact: approval.exact,
        }
    }
}

/// The simple commands of a question; a log of before does not name them.
pub(in crate::engine) fn commands_of(command: &str, commands: &[String]) -> Vec<String> {
    match commands {
        [] => vec![command.to_owned()],
        known => known.to_vec(),
    }
}

/// How many lines a command has.
pub fn line_count(command: &str) -> usize {
    command.lines().count().max(1)
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A person.
    User,
    /// The agent.
    Assistant,
}

impl Role {
    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A message as the API shows it: the parts of a continued reply are one, under the first id.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownMessage {
    /// Who says it.
    pub role: Role,
    /// Its text.
    pub content: String,
    /// Its identifier.
    pub message_id: MessageId,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The writer's name, where there are several.
    pub sender_name: Option<String>,
}

/// One page of a list of sessions, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<SessionId>,
}
