//! The events of `POST …/stream` and `GET …/events`: their names, and their data.
//!
//! Invariant: [`SessionEvent::parse`] reads by its [name](SessionEvent::name) what
//! [`SessionEvent::write_data`] has written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::text;
use crate::domain::event::{Attachment, Usage};
use crate::domain::ids::Seq;
use crate::wire::lenient::{OwnedText, or_default, plain_line, said_of_error, text_or_json};
use crate::wire::session::{ApprovalBody, MessageBody, SessionBody};

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent<S = String> {
    /// The message of this stream is on disk.
    Start(StartEvent<S>),
    /// A piece of the reply.
    Token(TokenEvent<S>),
    /// The agent asks for a tool.
    ToolCall(ToolCallEvent<S>),
    /// A tool has answered.
    ToolResult(ToolResultEvent<S>),
    /// Somebody must decide.
    ApprovalRequired(ApprovalBody<S>),
    /// Somebody has decided.
    ApprovalDecision(DecisionEvent<S>),
    /// Something that passes, or that is worth knowing.
    Notice(NoticeEvent<S>),
    /// The turn ended with an answer.
    Done(DoneEvent<S>),
    /// The turn was cancelled.
    Cancelled,
    /// The turn could not go on.
    Error(ErrorEvent<S>),
    /// Where the session stands, at the start of an attach.
    Session(Box<AttachedEvent<S>>),
    /// Somebody's message.
    UserMessage(UserMessageEvent<S>),
    /// The finished reply, for clients that do not assemble it.
    Message(MessageEvent<S>),
    /// The session pauses, goes on, or is over.
    Status(StatusEvent<S>),
    /// A part of the reply in flight was lost in a power cut.
    Rewind(RewindEvent<S>),
    /// Events that were asked for are gone.
    Gap(GapEvent),
    /// Another client has sent this one away.
    Detached,
    /// One that a newer server knows; never written.
    Unknown,
}

/// A message that is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct StartEvent<S = String> {
    /// Only to be compared. An older server does not give it.
    #[serde(default)]
    pub message_id: S,
    /// The number of its record.
    #[serde(default, deserialize_with = "or_default")]
    pub seq: Seq,
}

/// A piece of the reply. Written and read for every token: it holds nothing that would have to be
/// copied to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEvent<S = String> {
    /// The text.
    #[serde(alias = "text", alias = "token", alias = "delta")]
    pub content: S,
    /// The reply that it is a piece of. An older server does not give it.
    #[serde(default)]
    pub message_id: S,
}

/// A tool that the agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct ToolCallEvent<S = String> {
    /// The call.
    #[serde(default, alias = "id")]
    pub call_id: S,
    /// The tool.
    #[serde(default, alias = "tool_name", alias = "tool")]
    pub name: S,
    /// A JSON text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub arguments: S,
}

/// A tool's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct ToolResultEvent<S = String> {
    /// The call.
    #[serde(default, alias = "id")]
    pub call_id: S,
    /// The answer.
    #[serde(default, alias = "result", deserialize_with = "text_or_json")]
    pub content: S,
    /// False of a call that failed, was denied or was skipped.
    #[serde(default = "yes")]
    pub success: bool,
    /// Files that it hands out.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attachments: Vec<Attachment>,
}

fn yes() -> bool {
    true
}

/// Somebody's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionEvent<S = String> {
    /// The call.
    pub call_id: S,
    /// A word of `Decision`, or one that a newer server knows.
    pub decision: S,
    /// Who, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<S>,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeEvent<S = String> {
    /// A word for programs.
    #[serde(default)]
    pub code: S,
    /// A sentence for people.
    pub message: S,
}

/// A turn that ended with an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct DoneEvent<S = String> {
    /// The last message of the turn, which may end without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<S>,
    /// Tokens of the turn; an older server may not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// A word of `FinishReason`, or one that a newer server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<S>,
}

/// Why a turn could not go on, or waits where this stream does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEvent<S = String> {
    /// A sentence for people.
    pub message: S,
    /// A word for programs; empty where there is none.
    pub code: S,
}

impl ErrorEvent {
    /// Whatever form it has: that a turn failed must not be lost for it.
    fn parse(data: &str) -> ErrorEvent {
        let (said, code) = match serde_json::from_str::<Value>(data) {
            Ok(json) => {
                let code = json.get("code").and_then(Value::as_str);
                (said_of_error(&json), code.map(str::to_owned))
            }
            Err(_) => (plain_line(data), None),
        };
        ErrorEvent {
            message: said.unwrap_or_else(|| "the server does not say why".to_owned()),
            code: code.unwrap_or_default(),
        }
    }
}

/// The session at the start of an attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachedEvent<S = String> {
    /// The session, with all that is known of it.
    #[serde(flatten)]
    pub session: SessionBody<S>,
    /// The last messages, oldest first.
    pub messages: Vec<MessageBody<S>>,
}

impl AttachedEvent {
    fn parse(data: &str) -> Result<AttachedEvent, serde_json::Error> {
        #[derive(Deserialize)]
        struct LastMessages {
            #[serde(default)]
            messages: Vec<MessageBody>,
        }
        // Two passes over the text: a flattened session would be read into a tree first.
        let LastMessages { messages } = serde_json::from_str(data)?;
        let session = serde_json::from_str(data)?;
        Ok(AttachedEvent { session, messages })
    }
}

/// Somebody's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct UserMessageEvent<S = String> {
    /// Its identifier.
    #[serde(default)]
    pub message_id: S,
    /// The text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub content: S,
    /// Who wrote it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<S>,
    /// Files that came with it.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attachments: Vec<Attachment>,
    /// The number of its record.
    #[serde(default, deserialize_with = "or_default")]
    pub seq: Seq,
}

/// A finished reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct MessageEvent<S = String> {
    /// Its identifier.
    #[serde(default)]
    pub message_id: S,
    /// Its whole text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub content: S,
    /// Tokens of the call that it answers.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub usage: Option<Usage>,
    /// Files that go with it.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attachments: Vec<Attachment>,
}

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct StatusEvent<S = String> {
    /// A word of `Status`: until now.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub from: Option<S>,
    /// The same from now on, or a word that a newer server knows.
    pub to: S,
}

/// Text of the reply in flight that was lost in a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct RewindEvent<S = String> {
    /// The reply; `None` for one of which nothing was kept, its id neither.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_id: Option<S>,
    /// Bytes of the whole message that stand.
    pub bytes: u64,
}

/// Records that are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEvent {
    /// The first of them.
    pub from_seq: Seq,
    /// The last of them.
    pub to_seq: Seq,
}

impl<S> SessionEvent<S> {
    /// The name that it has on the stream; empty for one that is not known.
    pub fn name(&self) -> &'static str {
        match self {
            SessionEvent::Start(_) => "start",
            SessionEvent::Token(_) => "token",
            SessionEvent::ToolCall(_) => "tool_call",
            SessionEvent::ToolResult(_) => "tool_result",
            SessionEvent::ApprovalRequired(_) => "approval_required",
            SessionEvent::ApprovalDecision(_) => "approval_decision",
            SessionEvent::Notice(_) => "notice",
            SessionEvent::Done(_) => "done",
            SessionEvent::Cancelled => "cancelled",
            SessionEvent::Error(_) => "error",
            SessionEvent::Session(_) => "session",
            SessionEvent::UserMessage(_) => "user_message",
            SessionEvent::Message(_) => "message",
            SessionEvent::Status(_) => "status",
            SessionEvent::Rewind(_) => "rewind",
            SessionEvent::Gap(_) => "gap",
            SessionEvent::Detached => "detached",
            SessionEvent::Unknown => "",
        }
    }

    /// True of the last event of a turn.
    pub fn ends_turn(&self) -> bool {
        matches!(
            self,
            SessionEvent::Done(_) | SessionEvent::Cancelled | SessionEvent::Error(_)
        )
    }
}

impl<S: Serialize + AsRef<str>> SessionEvent<S> {
    /// Appends its data: a JSON object in one line, since JSON has no raw line breaks. Allocates
    /// nothing but room in `out`.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        match self {
            SessionEvent::Start(data) => write_json(out, data),
            // As `write_json` would, in half of the time: it is the one of which there are thousands.
            SessionEvent::Token(data) => {
                out.extend_from_slice(b"{\"content\":");
                text::push_json(out, data.content.as_ref());
                out.extend_from_slice(b",\"message_id\":");
                text::push_json(out, data.message_id.as_ref());
                out.push(b'}');
            }
            SessionEvent::ToolCall(data) => write_json(out, data),
            SessionEvent::ToolResult(data) => write_json(out, data),
            SessionEvent::ApprovalRequired(data) => write_json(out, data),
            SessionEvent::ApprovalDecision(data) => write_json(out, data),
            SessionEvent::Notice(data) => write_json(out, data),
            SessionEvent::Done(data) => write_json(out, data),
            SessionEvent::Error(data) => write_json(out, data),
            SessionEvent::Session(data) => write_json(out, data),
            SessionEvent::UserMessage(data) => write_json(out, data),
            SessionEvent::Message(data) => write_json(out, data),
            SessionEvent::Status(data) => write_json(out, data),
            SessionEvent::Rewind(data) => write_json(out, data),
            SessionEvent::Gap(data) => write_json(out, data),
            SessionEvent::Cancelled | SessionEvent::Detached | SessionEvent::Unknown => {
                out.extend_from_slice(b"{}");
            }
        }
    }
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value)
        .expect("a Vec takes every byte, and texts and numbers always serialise");
}

impl SessionEvent {
    /// Parses the data of an event by its name.
    ///
    /// Errors: the data of a known name is not what it should be.
    pub fn parse(name: &str, data: &str) -> Result<SessionEvent, serde_json::Error> {
        use serde_json::from_str;
        Ok(match name {
            // What they say beside their name is of no weight.
            "start" => SessionEvent::Start(from_str(data).unwrap_or_default()),
            "token" => SessionEvent::Token(from_str(data)?),
            "tool_call" => SessionEvent::ToolCall(from_str(data)?),
            "tool_result" => SessionEvent::ToolResult(from_str(data)?),
            "approval_required" => SessionEvent::ApprovalRequired(from_str(data)?),
            "approval_decision" => SessionEvent::ApprovalDecision(from_str(data)?),
            "notice" => SessionEvent::Notice(from_str(data)?),
            "done" => SessionEvent::Done(from_str(data).unwrap_or_default()),
            "cancelled" => SessionEvent::Cancelled,
            "error" => SessionEvent::Error(ErrorEvent::parse(data)),
            "session" => SessionEvent::Session(Box::new(AttachedEvent::parse(data)?)),
            "user_message" => SessionEvent::UserMessage(from_str(data)?),
            "message" => SessionEvent::Message(from_str(data).unwrap_or_default()),
            "status" => SessionEvent::Status(from_str(data)?),
            "rewind" => SessionEvent::Rewind(from_str(data)?),
            "gap" => SessionEvent::Gap(from_str(data).unwrap_or_default()),
            "detached" => SessionEvent::Detached,
            _ => SessionEvent::Unknown,
        })
    }

    /// True of the last event of a stream: the session is over, or this client was sent away.
    pub fn ends_session(&self) -> bool {
        match self {
            SessionEvent::Status(change) => change.to == "completed",
            other => *other == SessionEvent::Detached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::ApprovalKind;

    #[test]
    fn events_are_parsed_by_name_and_unknown_ones_pass() {
        let token = SessionEvent::parse("token", r#"{"content":"hi","new":1}"#).unwrap();
        assert_eq!(
            token,
            SessionEvent::Token(TokenEvent {
                content: "hi".to_owned(),
                message_id: String::new(),
            })
        );
        assert_eq!(
            SessionEvent::parse("weather", "not json").unwrap(),
            SessionEvent::Unknown
        );
        assert!(SessionEvent::parse("token", "{}").is_err());
    }

    #[test]
    fn a_token_is_written_as_any_other_event_would_be() {
        let token = TokenEvent {
            content: "a \"b\"\n",
            message_id: "message_1",
        };
        let mut written = Vec::new();
        let as_any = serde_json::to_string(&token).unwrap();
        SessionEvent::Token(token).write_data(&mut written);
        assert_eq!(written, as_any.as_bytes());
    }

    #[test]
    fn events_of_an_older_server_are_read_in_the_forms_they_may_have() {
        for (name, data, expected) in [
            ("start", "{}", SessionEvent::Start(StartEvent::default())),
            ("start", "ok", SessionEvent::Start(StartEvent::default())),
            ("done", "[DONE]", SessionEvent::Done(DoneEvent::default())),
            (
                "done",
                r#"{"usage":7}"#,
                SessionEvent::Done(DoneEvent::default()),
            ),
            ("gap", "{}", SessionEvent::Gap(GapEvent::default())),
        ] {
            assert_eq!(SessionEvent::parse(name, data).unwrap(), expected, "{data}");
        }
        for (data, said) in [
            (r#"{"message":"no key","code":"x"}"#, "no key"),
            (r#"{"error":"no key"}"#, "no key"),
            ("no key", "no key"),
            ("{}", "the server does not say why"),
        ] {
            let SessionEvent::Error(failure) = SessionEvent::parse("error", data).unwrap() else {
                panic!("{data}");
            };
            assert_eq!(failure.message, said, "{data}");
        }
        let data = r#"{"id":"c","tool_name":"bash","arguments":{"command":"ls"},"at":"x"}"#;
        let SessionEvent::ToolCall(call) = SessionEvent::parse("tool_call", data).unwrap() else {
            panic!("not a call");
        };
        assert_eq!(
            (&*call.call_id, &*call.name, &*call.arguments),
            ("c", "bash", r#"{"command":"ls"}"#)
        );
        let data = r#"{"call_id":"c","command":"ls","kind":"tool"}"#;
        let SessionEvent::ApprovalRequired(asked) =
            SessionEvent::parse("approval_required", data).unwrap()
        else {
            panic!("not a question");
        };
        assert_eq!(asked.kind, ApprovalKind::Policy);
    }

    #[test]
    fn a_session_event_carries_summary_and_history() {
        let data = r#"{"session_id":"session_01J00000000000000000000000","agent":"a",
            "status":"active","created_at":"2026-01-01T00:00:00Z",
            "updated_at":"2026-01-01T00:00:00Z","message_count":1,"working":true,
            "pending_approval":{"call_id":"c","command":"ls","kind":"uncertain"},
            "messages":[{"role":"user","content":"hi","message_id":"m","created_at":"x"}]}"#;
        let SessionEvent::Session(attached) = SessionEvent::parse("session", data).unwrap() else {
            panic!("not a session event");
        };
        assert_eq!(attached.session.working, Some(true));
        assert_eq!(attached.messages[0].content, "hi");
        let asked = attached.session.pending_approval.unwrap();
        assert_eq!(asked.kind, ApprovalKind::Uncertain);
    }
}
