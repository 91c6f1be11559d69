//! What answers a message, a decision and a cancel.

use serde::{Deserialize, Serialize};

use crate::domain::event::{Attachment, Usage};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::wire::lenient::{OwnedText, or_default};
use crate::wire::session::ApprovalBody;

/// `POST …/messages` at the end of its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyBody<S = String> {
    /// The last message of the turn, which may end without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<S>,
    /// `assistant`
    pub role: S,
    /// The text of that message.
    pub content: S,
    /// Tokens of the whole turn.
    pub usage: Usage,
    /// Files that the turn has sent.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attachments: Vec<Attachment>,
    /// What the turn got over, or why it says nothing; as on streams.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub notices: Vec<NoticeBody>,
}

/// Something that a reader of a reply should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeBody {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// `POST …/messages` whose turn waits for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct WaitingBody<S = String> {
    /// The session that waits.
    pub session_id: S,
    /// The question that is open.
    #[serde(flatten)]
    pub approval: ApprovalBody<S>,
}

/// `POST …/messages` that is answered before its turn ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBody<S = String> {
    /// The message that was stored.
    pub message_id: S,
    /// The number of its record.
    pub seq: Seq,
}

/// `POST …/approve`: how the turn went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[serde(from = "DecidedFields<S>", bound(deserialize = "S: OwnedText"))]
pub enum DecidedBody<S = String> {
    /// The turn has ended.
    Complete {
        /// Its last message.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<S>,
        /// The text of that; empty where there is none, and of a decision that an older server only
        /// acknowledges.
        content: S,
        /// Files that the turn has sent.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
        /// What the turn got over, or why it says nothing.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        notices: Vec<NoticeBody>,
    },
    /// The turn asks again.
    PendingApproval(ApprovalBody<S>),
    /// The decision is stored; the turn goes on.
    Working {
        /// The number of the decision's record.
        seq: Seq,
    },
}

impl Default for DecidedBody {
    /// A decision that is only acknowledged.
    fn default() -> DecidedBody {
        DecidedBody::Complete {
            message_id: None,
            content: String::new(),
            attachments: Vec::new(),
            notices: Vec::new(),
        }
    }
}

/// Version 0.5 has words of its own for `status`, so the rest tells what they mean.
#[derive(Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
struct DecidedFields<S> {
    #[serde(default)]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    message_id: Option<S>,
    #[serde(default)]
    content: S,
    #[serde(default, deserialize_with = "or_default")]
    attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "or_default")]
    notices: Vec<NoticeBody>,
    #[serde(default, deserialize_with = "or_default")]
    seq: Option<Seq>,
    #[serde(flatten)]
    asked: Option<ApprovalBody<S>>,
}

impl<S> From<DecidedFields<S>> for DecidedBody<S> {
    fn from(fields: DecidedFields<S>) -> DecidedBody<S> {
        match (fields.status.as_str(), fields.asked, fields.seq) {
            ("working", _, Some(seq)) => DecidedBody::Working { seq },
            (status, Some(asked), _) if status != "complete" => DecidedBody::PendingApproval(asked),
            _ => DecidedBody::Complete {
                message_id: fields.message_id,
                content: fields.content,
                attachments: fields.attachments,
                notices: fields.notices,
            },
        }
    }
}

/// `POST …/cancel`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledBody {
    /// False when no turn ran.
    pub cancelled: bool,
}

/// `POST …/compact`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactingBody {
    /// The record of the wish.
    pub seq: Seq,
}

/// `GET …/context`: tokens of the next call of the model, roughly
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextBody {
    /// The system prompt.
    pub prompt: u64,
    /// The definitions of the tools.
    pub tools: u64,
    /// The summary of what was said before the history.
    pub summary: u64,
    /// The conversation beside that.
    pub history: u64,
    /// So much more goes to the model before it is summarised, or left out.
    pub free: u64,
}

/// `POST …/ticket`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketBody<S = String> {
    /// As it stands in a query.
    pub ticket: S,
    /// Until when it is good.
    pub expires_at: Timestamp,
}
