//! The events of a session: everything that ever happened to it, and all that it remembers.
//!
//! Names of types and fields are the file format (`docs/session-format.md`); they never change.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::chat::Chat;
use crate::domain::code::NoticeCode;
use crate::domain::ids::{AwaitedId, CallId, MessageId, Seq, SourceId, TurnId};
use crate::domain::prices::{Cost, Price};
use crate::domain::time::Timestamp;

/// The format that `session_start` names; a session of a newer one is refused.
pub const FORMAT: u32 = 1;

/// One line of the log: an event, its number and its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Its number in the session.
    pub seq: Seq,
    /// When it was written.
    pub timestamp: Timestamp,
    /// It was written in one piece with the line before it, so a torn append can be told from damage.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cont: bool,
    /// The event itself; in the log its keys stand beside `seq` and `timestamp`.
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// Reads the JSON object of one line; unknown keys are ignored.
    ///
    /// Errors: the JSON is bad, or a key of a known event is missing or ill-typed.
    pub fn parse(json: &[u8]) -> Result<Record, serde_json::Error> {
        RecordHead::parse(json)?.record(json)
    }

    /// Leaves out what a provider gave us to give back to it: it is for nobody else.
    pub fn hide_provider_data(&mut self) {
        if let Event::AssistantResponse(reply) = &mut self.event {
            Arc::make_mut(reply).provider_data = None;
        }
    }
}

/// What a line says before it comes to its event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordHead<'a> {
    /// As of the record.
    pub seq: Seq,
    /// As of the record.
    pub timestamp: Timestamp,
    /// As of the record.
    #[serde(default)]
    pub cont: bool,
    /// The word for the type of the event.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
}

impl<'a> RecordHead<'a> {
    /// Reads it of a line's JSON object. Of one that a log of ours begins like no more is looked at than
    /// that: whoever has not compared its checksum reads the [record](Self::record) too.
    ///
    /// Errors: as of [`Record::parse`].
    pub fn parse(json: &'a [u8]) -> Result<RecordHead<'a>, serde_json::Error> {
        match RecordHead::at_front(json) {
            Some(head) => Ok(head),
            None => serde_json::from_slice(json),
        }
    }

    /// Reads the record that it is the head of.
    ///
    /// Errors: as of [`Record::parse`].
    pub fn record(self, json: &[u8]) -> Result<Record, serde_json::Error> {
        Ok(Record {
            seq: self.seq,
            timestamp: self.timestamp,
            cont: self.cont,
            event: match &*self.kind {
                "user_message" => Event::UserMessage(serde_json::from_slice(json)?),
                "assistant_response" => Event::AssistantResponse(serde_json::from_slice(json)?),
                // Such an enum is read into a tree first, which costs little for small events.
                _ => serde_json::from_slice(json)?,
            },
        })
    }

    /// The head of a line whose keys stand where we write them; `None` says nothing of another.
    fn at_front(json: &'a [u8]) -> Option<RecordHead<'a>> {
        const TIME_BYTES: usize = "1970-01-01T00:00:00.000000Z".len();
        let checked = json.strip_prefix(b"{\"crc\":\"")?.split_at_checked(8)?.1;
        let (seq, rest) = until(checked.strip_prefix(b"\",\"seq\":")?, b',')?;
        let rest = rest.strip_prefix(b"\"timestamp\":\"")?;
        let (timestamp, rest) = rest.split_at_checked(TIME_BYTES)?;
        let rest = rest.strip_prefix(b"\",")?;
        let in_piece = rest.strip_prefix(b"\"cont\":true,");
        let kind = in_piece.unwrap_or(rest).strip_prefix(b"\"type\":\"")?;
        let (kind, _) = until(kind, b'"').filter(|(kind, _)| !kind.contains(&b'\\'))?;
        Some(RecordHead {
            seq: Seq(str::from_utf8(seq).ok()?.parse().ok()?),
            timestamp: Timestamp::parse(str::from_utf8(timestamp).ok()?).ok()?,
            cont: in_piece.is_some(),
            kind: Cow::Borrowed(str::from_utf8(kind).ok()?),
        })
    }
}

/// What stands before the first `end`, and what behind it.
fn until(text: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == end)?;
    Some((&text[..at], &text[at + 1..]))
}

impl From<UserMessage> for Event {
    fn from(message: UserMessage) -> Event {
        Event::UserMessage(Arc::new(message))
    }
}

impl From<AssistantResponse> for Event {
    fn from(reply: AssistantResponse) -> Event {
        Event::AssistantResponse(Arc::new(reply))
    }
}

impl From<ContextSummary> for Event {
    fn from(summary: ContextSummary) -> Event {
        Event::ContextSummary(Arc::new(summary))
    }
}

/// The code of the [`Event::Error`] that says: the provider found the conversation too long, and
/// from here on less of it goes to the model.
pub const CONTEXT_TRUNCATED: &str = NoticeCode::ContextTruncated.as_str();
/// The code of an [`Event::Error`] after which no model is shown the files of messages before it.
pub const FILES_WITHHELD: &str = NoticeCode::FilesWithheld.as_str();

/// The code of an [`Event::Error`] that says that a reply broke off and is gone on with.
pub const REPLY_CONTINUED: &str = NoticeCode::Continued.as_str();

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The session begins; always the first event.
    SessionStart(SessionStart),
    /// A message was accepted. Shared with the state that it is folded into, and with who watches.
    UserMessage(Arc<UserMessage>),
    /// A stored message was withdrawn by a queue rule; the model never sees it.
    MessageDropped {
        /// The message.
        message_id: MessageId,
        /// The rule, in words.
        reason: String,
    },
    /// The agent begins to work, or tries the same turn once more.
    TurnStarted {
        /// The turn.
        turn_id: TurnId,
        /// Why it starts.
        trigger: Trigger,
    },
    /// One reply of the model, text and tool calls. Shared as a message is.
    AssistantResponse(Arc<AssistantResponse>),
    /// A tool is about to run; written and synced before the deed.
    ToolStarted {
        /// The call.
        call_id: CallId,
        /// The tool.
        tool_name: String,
    },
    /// A call that has started waits for something that others do: its result comes later, and may
    /// come to another process than this one.
    ToolParked {
        /// The call.
        call_id: CallId,
        /// What it waits for, in the words of its tool.
        on: AwaitedId,
    },
    /// The answer to a call; also to one that was denied. The first one counts.
    ToolResult {
        /// The call.
        call_id: CallId,
        /// What the model is told.
        result: ToolOutput,
        /// How long the tool ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// So many bytes at the end of the content are words of the agent's files, which a model is
        /// shown whole however little it is shown of the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        appended_bytes: Option<usize>,
        /// Files of the session that the tool has handed out: they go with the next reply.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
    },
    /// Calls whose turn ended before they ran.
    ToolsSkipped {
        /// The calls.
        call_ids: Vec<CallId>,
        /// Why, in words that the model sees.
        reason: String,
    },
    /// The turn waits for somebody's decision.
    ApprovalRequired {
        /// The call that waits.
        call_id: CallId,
        /// The command, as the person is shown it.
        command: String,
        /// The simple commands of that; none in a log of before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        commands: Vec<String>,
        /// What is asked.
        kind: ApprovalKind,
        /// Whether "allow always" would allow this very text, and nothing but that: no pattern
        /// covers it.
        #[serde(default, skip_serializing_if = "is_false")]
        exact: bool,
        /// The rules that "for this session" would add; none where there are none for it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        session_rules: Vec<String>,
        /// Whose message led to the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requester_id: Option<String>,
    },
    /// The decision; the first one counts.
    ApprovalDecision {
        /// The call that waited.
        call_id: CallId,
        /// What was decided.
        decision: Decision,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// The caller's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_id: Option<SourceId>,
    },
    /// A rule that a person has allowed for this session; in one append with their decision.
    Grant(SessionGrant),
    /// Grants are taken back.
    GrantRevoked {
        /// The numbers of their events.
        grants: Vec<Seq>,
        /// Who took them back.
        #[serde(flatten)]
        cause: SaidBy,
    },
    /// A message that is kept for audit and never shown to the model.
    SilentMessage {
        /// Its text.
        content: String,
        /// Who wrote it.
        sender_id: String,
        /// The writer's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender_name: Option<String>,
        /// The caller's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_id: Option<SourceId>,
    },
    /// The session pauses for want of a client, or goes on.
    StatusChange {
        /// Until now.
        from: Status,
        /// From now on.
        to: Status,
    },
    /// Settings of the session changed.
    SessionChanged {
        /// Its new title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// The model that it uses from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The id that its gateway's chat has from now on; nothing of a session that is no chat's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway_chat_id: Option<String>,
    },
    /// The agent has finished its work; in one append with the last reply.
    TurnEnded {
        /// The turn.
        turn_id: TurnId,
        /// How it ended.
        outcome: Outcome,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
        /// The sum over its model calls.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// Who ended it.
        #[serde(flatten)]
        cause: SaidBy,
    },
    /// What came of summarising the older part of the conversation. Shared with the state, which shows it to
    /// the model in that part's place.
    ContextSummary(Arc<ContextSummary>),
    /// Somebody wants the conversation summarised without waiting for its limit.
    CompactRequested {
        /// What the summary is to keep above all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<String>,
        /// Who wants it; nobody for the server's owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Something recoverable that a reader should see.
    Error {
        /// A stable word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// Everything before this was written by somebody unknown: the session lay in the workspace when
    /// this account first served it.
    SessionAdopted {},
    /// The session is over; always the last event.
    SessionEnd {
        /// Why.
        reason: EndReason,
        /// Who ended it.
        #[serde(flatten)]
        cause: SaidBy,
    },
    /// An event of a newer version: kept in the file, skipped by the fold.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Whose word in a chat something was; empty where nobody's was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SaidBy {
    /// Who said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Their key for it: a repeated one does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<SourceId>,
}

impl Event {
    /// The session ends by nobody's word in a chat.
    pub fn session_end(reason: EndReason) -> Event {
        Event::SessionEnd {
            reason,
            cause: SaidBy::default(),
        }
    }

    /// The reply, if this is one.
    pub fn as_reply(&self) -> Option<&AssistantResponse> {
        match self {
            Event::AssistantResponse(reply) => Some(reply),
            _ => None,
        }
    }

    /// The files that it names.
    pub fn attachments(&self) -> &[Attachment] {
        match self {
            Event::UserMessage(message) => &message.attachments,
            Event::AssistantResponse(reply) => &reply.attachments,
            Event::ToolResult { attachments, .. } => attachments,
            _ => &[],
        }
    }

    /// The bytes of its texts that can be long.
    pub fn text_bytes(&self) -> usize {
        match self {
            Event::UserMessage(message) => message.content.len(),
            Event::AssistantResponse(reply) => {
                let calls = reply.tool_calls.iter();
                reply.content.len() + calls.map(|call| call.arguments.len()).sum::<usize>()
            }
            Event::ToolResult { result, .. } => result.content.len(),
            Event::ApprovalRequired {
                command, commands, ..
            } => command.len() + commands.iter().map(String::len).sum::<usize>(),
            Event::SilentMessage { content, .. } => content.len(),
            Event::ContextSummary(summary) => summary.text.as_ref().map_or(0, String::len),
            _ => 0,
        }
    }
}

/// A rule for one session. What it says counts only where its `mac` was made with the key of the account
/// that reads it, for this event of this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGrant {
    /// As rules of policies are written.
    pub rule: String,
    /// From then on it counts no longer.
    pub until: Timestamp,
    /// Whose turns it counts in; `None` for the server's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The seal over the session, the event's number and all of this.
    pub mac: String,
}

/// A summary of the older part of a conversation, or why there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ContextSummary {
    /// The last event that it stands for; 0 where nothing is left out for want of it.
    pub upto_seq: Seq,
    /// The summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why there is none: what it was to stand for is left out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The model that was asked, as `provider/name`.
    pub model: String,
    /// The sum over its calls, as the provider counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider had found the conversation too long.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refused: bool,
}

/// The first event of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStart {
    /// The format of the log, [`FORMAT`].
    pub format: u32,
    /// Whose session it is. A plain text: an agent may have been renamed since.
    pub agent: String,
    /// Fixed for the session's life.
    pub on_disconnect: OnDisconnect,
    /// The gateway whose chat this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The chat on that gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_chat_id: Option<String>,
    /// The thread of that chat, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_thread_id: Option<String>,
    /// Who began it, as [`Principal::logged`] writes them; a plain text, as a newer version may
    /// know others.
    ///
    /// [`Principal::logged`]: crate::domain::principal::Principal::logged
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The folder that its tools work in, by its real path; without one the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
}

impl SessionStart {
    /// A session of `agent` that the server's owner begins, in no chat and in the agent's folder.
    pub fn new(agent: impl Into<String>, on_disconnect: OnDisconnect) -> SessionStart {
        SessionStart {
            format: FORMAT,
            agent: agent.into(),
            on_disconnect,
            gateway: None,
            gateway_chat_id: None,
            gateway_thread_id: None,
            owner: None,
            workdir: None,
        }
    }

    /// The same in a gateway's chat.
    #[must_use]
    pub fn in_chat(self, chat: Chat) -> SessionStart {
        SessionStart {
            gateway: Some(chat.gateway),
            gateway_chat_id: Some(chat.chat_id),
            gateway_thread_id: chat.thread_id,
            ..self
        }
    }
}

/// An accepted input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserMessage {
    /// Its identifier.
    pub message_id: MessageId,
    /// Its text.
    pub content: String,
    /// Who wrote it, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// The writer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// The caller's own key: a repeated one stores nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<SourceId>,
    /// Its turn runs on without a client: the sender comes back for the answer, or never does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub detached: bool,
    /// It is only overheard: the model sees it when it is asked something, and nobody waits for an
    /// answer to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passive: bool,
    /// Files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Its id on the platform that it came from, which an answer names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_message_id: Option<String>,
    /// A turn of its own answers it, which begins when those before it are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_turn: Option<OwnTurn>,
    /// Its gateway cannot say that whoever wrote it is the one whom `sender_id` names.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unverified: bool,
}

/// How a message has a turn to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnTurn {
    /// No message before it is answered in the same one.
    Begins,
    /// It goes on with what the same sender said last, as long as no turn has begun with that.
    Joins,
    /// One that a newer version knows.
    #[serde(other)]
    Other,
}

impl UserMessage {
    /// It was said among several people, or maybe by another one than it says: nothing that one person has
    /// allowed counts for it.
    pub(super) fn is_open_to_others(&self) -> bool {
        self.sender_name.is_some() || self.unverified
    }

    /// A message of the server's owner: without a key, and with a client that waits for the answer.
    pub fn new(message_id: MessageId, content: impl Into<String>) -> UserMessage {
        UserMessage {
            message_id,
            content: content.into(),
            sender_id: None,
            sender_name: None,
            source_id: None,
            detached: false,
            passive: false,
            attachments: Vec::new(),
            gateway_message_id: None,
            own_turn: None,
            unverified: false,
        }
    }

    /// The same person has said both.
    pub(super) fn is_of_same(&self, other: &UserMessage) -> bool {
        self.sender_id == other.sender_id
    }
}

/// A file that came with a message or goes with a reply, kept in the session's `files/`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attachment {
    /// Its key, as [`FileKey`](crate::domain::files::FileKey) writes it; a plain text, as a log may
    /// come from elsewhere.
    pub file: String,
    /// Its media type.
    pub mime: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its checksum, which is also its name on disk.
    pub sha256: String,
    /// What it is called where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the agent says to it, of a file that it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// How wide the image is, in pixels, where it is one that models take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// How high it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// No model is shown it any more. No part of an event: the fold says so.
    #[serde(skip)]
    pub is_withheld: bool,
}

/// One reply of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssistantResponse {
    /// The turn.
    pub turn_id: TurnId,
    /// Its identifier.
    pub message_id: MessageId,
    /// The agent.
    pub agent: String,
    /// The model that answered, as `provider/name`.
    pub model: String,
    /// The last event that its call contained.
    pub input_seq: Seq,
    /// Its text; may be empty beside tool calls. Shared with the reply in flight that it was, and with
    /// who watches: it may be long.
    pub content: Arc<String>,
    /// The tools it asks for, in order.
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
    /// As the provider counted; some count nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The first part of the message that this goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<MessageId>,
    /// Opaque, for the same provider and model only; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_data: Option<serde_json::Value>,
    /// Files that go with it to whoever reads it: those that tools have handed out since the reply
    /// before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A tool that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call.
    pub call_id: CallId,
    /// The tool.
    pub tool_name: String,
    /// A JSON text, as the model wrote it.
    pub arguments: String,
    /// How the model made it, where that is not by its provider's interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CallSource>,
}

/// How a model made a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallSource {
    /// It printed it as the text of its reply.
    Text,
    /// One that a newer version knows.
    #[serde(other)]
    Other,
}

/// A tool's answer, as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolOutput {
    /// It did what was asked. Hooks and guards count only such calls.
    pub success: bool,
    /// The text for the model; it may be cut or masked there, never here.
    pub content: String,
}

impl ToolOutput {
    /// Splits a result into the tool's answer and the agent's own words behind it. Where there
    /// cannot be so many bytes, all of it is taken for the latter: nothing relies on what the
    /// agent's files say.
    pub fn parts(&self, appended_bytes: Option<usize>) -> (&str, &str) {
        let appended = appended_bytes.unwrap_or(0);
        let end = self.content.len().checked_sub(appended);
        let parts = end.and_then(|end| self.content.split_at_checked(end));
        parts.unwrap_or(("", &self.content))
    }
}

/// Why a turn starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A message.
    Message,
    /// The turn was unfinished when the process died: one more try.
    Resume,
    /// The turn was suspended by an orderly stop; not a try.
    Restart,
    /// One that a newer version knows.
    #[serde(other)]
    Other,
}

/// How a session takes it that its last client leaves a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It stops before its next step and goes on when a client comes.
    #[default]
    Pause,
    /// It runs on.
    Continue,
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Ready, or working.
    Active,
    /// Working with no client attached.
    Running,
    /// Unfinished; waits for a client.
    Paused,
    /// Over.
    Completed,
}

impl Status {
    /// The word used in files and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Completed => "completed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// It waits for tools.
    ToolCalls,
    /// It ran into its limit of tokens.
    Length,
    /// Somebody cancelled it.
    Cancelled,
    /// The process died or was stopped; the reply goes on later.
    Interrupted,
    /// The provider failed in the middle of it.
    Error,
}

impl FinishReason {
    /// All there are.
    pub const ALL: [FinishReason; 6] = [
        FinishReason::Stop,
        FinishReason::ToolCalls,
        FinishReason::Length,
        FinishReason::Cancelled,
        FinishReason::Interrupted,
        FinishReason::Error,
    ];

    /// The word used in files and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
            FinishReason::Interrupted => "interrupted",
            FinishReason::Error => "error",
        }
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Completed,
    /// Somebody stopped it.
    Cancelled,
    /// It could not go on.
    Failed,
}

/// Why something failed: a stable word for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The word, e.g. `provider_error`.
    pub code: String,
    /// The sentence.
    pub message: String,
}

/// The kind of a question, which decides what may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalKind {
    /// May this run?
    Policy,
    /// This may have run before the process died: what now?
    Uncertain,
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Run it this time.
    AllowOnce,
    /// Run it, and do not ask for the like in this session.
    AllowSession,
    /// Run it, and never ask again.
    AllowAlways,
    /// Do not run it.
    Deny,
    /// Run the uncertain call again.
    Retry,
    /// Leave the uncertain call be.
    Skip,
    /// The uncertain call did its work.
    Worked,
}

impl Decision {
    /// The word used in files and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::AllowOnce => "allow_once",
            Decision::AllowSession => "allow_session",
            Decision::AllowAlways => "allow_always",
            Decision::Deny => "deny",
            Decision::Retry => "retry",
            Decision::Skip => "skip",
            Decision::Worked => "worked",
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its work is done.
    Completed,
    /// Somebody ended it.
    Terminated,
    /// Nobody used it for long enough.
    Timeout,
    /// It could not go on.
    Error,
}

/// Tokens, as the provider counted them, or as they are estimated where it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Their sum, or more where the provider counts more.
    #[serde(default)]
    pub total_tokens: u64,
    /// Of the request, those that the provider had kept from an earlier one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Of the reply, those of its thinking.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
    /// What they cost, where the owner has said what the model takes for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The provider did not count: this is our own estimate, or a sum with one in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// From the two counts.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            ..Usage::default()
        }
    }

    /// Adds another call's counts.
    pub fn add(&mut self, other: Usage) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self
            .completion_tokens
            .saturating_add(other.completion_tokens);
        self.total_tokens = self.total_tokens.saturating_add(other.total_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        if let Some(cost) = other.cost {
            self.cost = Some(self.cost.unwrap_or_default().plus(cost));
        }
        self.estimated |= other.estimated;
    }

    /// The same with what it costs.
    #[must_use]
    pub fn priced(self, price: Option<Price>) -> Usage {
        Usage {
            cost: price.map(|price| self.cost_at(price)),
            ..self
        }
    }

    /// What it costs at that price. What a provider counts beside the two counts has been said, too: thoughts.
    pub fn cost_at(&self, price: Price) -> Cost {
        let beside = self.total_tokens.saturating_sub(self.prompt_tokens);
        let output = self.completion_tokens.max(beside);
        price.cost(self.prompt_tokens, self.cached_tokens, output)
    }
}

/// For people: `9 tokens in (4 cached), 80 out (12 of thinking), cost 0.02`.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.estimated { "about " } else { "" };
        write!(f, "{about}{} tokens in", self.prompt_tokens)?;
        if self.cached_tokens > 0 {
            write!(f, " ({} cached)", self.cached_tokens)?;
        }
        write!(f, ", {} out", self.completion_tokens)?;
        if self.reasoning_tokens > 0 {
            write!(f, " ({} of thinking)", self.reasoning_tokens)?;
        }
        match self.cost {
            Some(cost) => write!(f, ", cost {cost}"),
            None => Ok(()),
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests;
