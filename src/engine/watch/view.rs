//! Sessions and messages as surfaces show them.

use crate::domain::event::{ApprovalKind, OnDisconnect, Status};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::state::{Approval, Summary};

/// A session, for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// Its identifier.
    pub id: SessionId,
    /// The folded log, without the conversation.
    pub summary: Summary,
    /// As in the summary, but `running` while a turn is at work that nobody watches.
    pub status: Status,
    /// A turn is at work, waits for a slot, or waits for what others do and goes on by itself then.
    pub working: bool,
    /// Clients that count as attached: those that only look on do not.
    pub attached: usize,
    /// The open question; only known when one session is asked for, as it stands in the log alone.
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
    /// The text that would run, byte for byte: an answer must repeat it.
    pub command: String,
    /// The simple commands of that.
    pub commands: Vec<String>,
    /// The question: may it run, or has it.
    pub kind: ApprovalKind,
    /// "Allow always" would allow this text alone, and nothing like it.
    pub exact: bool,
    /// The rules that "for this session" would add.
    pub session_rules: Vec<String>,
    /// Whose message led to it; `None` for the server's owner.
    pub requester_id: Option<String>,
}

impl From<&Approval> for PendingApproval {
    fn from(approval: &Approval) -> PendingApproval {
        PendingApproval {
            call_id: approval.call_id.clone(),
            command: approval.command.clone(),
            commands: commands_of(&approval.command, &approval.commands),
            kind: approval.kind,
            exact: approval.exact,
            session_rules: approval.session_rules.clone(),
            requester_id: approval.requester_id.clone(),
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

/// The lines of a command, at least one: a reader of a long one is told.
pub fn line_count(command: &str) -> usize {
    command.lines().count().max(1)
}

/// One page of a list of sessions, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<SessionId>,
}
