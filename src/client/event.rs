//! The events of a stream, parsed.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::client::wire::{Session, ShownMessage, plain_line, said_of_error, text_or_json};
use crate::domain::event::{ApprovalKind, Usage};

/// One event of `/stream` or `/events`.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The message of this stream is on disk.
    Start(MessageRef),
    /// A piece of the reply.
    Token(Token),
    /// The agent asks for a tool.
    ToolCall(ToolCall),
    /// A tool has answered.
    ToolResult(ToolResult),
    /// Somebody must decide.
    ApprovalRequired(PendingApproval),
    /// Somebody has decided.
    ApprovalDecision(ApprovalDecision),
    /// Something that passes, or that is worth knowing.
    Notice(Notice),
    /// The turn ended with an answer.
    Done(Done),
    /// The turn was cancelled.
    Cancelled,
    /// The turn could not go on.
    Error(Failure),
    /// Where the session stands, at the start of an attach.
    Session(Box<Attached>),
    /// Somebody's message.
    UserMessage(UserMessage),
    /// The finished reply, for clients that do not assemble it.
    Message(MessageRef),
    /// The session's status changed.
    Status(StatusChange),
    /// A part of the reply in flight was lost in a power cut.
    Rewind(Rewind),
    /// Events that were asked for are gone.
    Gap,
    /// Another client has sent this one away.
    Detached,
    /// One that a newer server knows.
    Unknown,
}

/// A message by its identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct MessageRef {
    /// Opaque here: it is only compared. An older server does not give it.
    #[serde(default)]
    pub message_id: String,
}

/// A piece of the reply.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// The text.
    #[serde(alias = "text", alias = "token", alias = "delta")]
    pub content: String,
}

/// A tool that the agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ToolCall {
    /// The call.
    #[serde(default, alias = "id")]
    pub call_id: String,
    /// The tool.
    #[serde(default, alias = "tool_name", alias = "tool")]
    pub name: String,
    /// A JSON text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub arguments: String,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ToolResult {
    /// The call.
    #[serde(default, alias = "id")]
    pub call_id: String,
    /// The answer.
    #[serde(default, alias = "result", deserialize_with = "text_or_json")]
    pub content: String,
    /// Whether it did what was asked.
    #[serde(default = "yes")]
    pub success: bool,
}

/// A call that waits for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingApproval {
    /// The call.
    #[serde(alias = "id")]
    pub call_id: String,
    /// What would run; it is sent back byte for byte.
    pub command: String,
    /// What is asked; a word of an older server asks for permission.
    #[serde(default = "policy", deserialize_with = "kind")]
    pub kind: ApprovalKind,
    /// The simple commands of that; a server of before does not name them.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Whether "allow always" would allow this text alone.
    #[serde(default)]
    pub exact: bool,
}

fn policy() -> ApprovalKind {
    ApprovalKind::Policy
}

fn kind<'de, D: Deserializer<'de>>(of: D) -> Result<ApprovalKind, D::Error> {
    let word = Value::deserialize(of)?;
    Ok(serde_json::from_value(word).unwrap_or(ApprovalKind::Policy))
}

fn yes() -> bool {
    true
}

/// What somebody decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApprovalDecision {
    /// The call.
    pub call_id: String,
    /// A word of `Decision`, or one that a newer server knows.
    pub decision: String,
    /// Who, where that is known.
    #[serde(default)]
    pub by: Option<String>,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Notice {
    /// A word for programs.
    #[serde(default)]
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A turn that ended with an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// What the turn cost.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Why the reply ended.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// Why a turn could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A sentence for people.
    pub message: String,
    /// A word for programs; empty where there is none.
    pub code: String,
}

impl Failure {
    /// Whatever form it has: that a turn failed must not be lost for it.
    fn parse(data: &str) -> Failure {
        let (said, code) = match serde_json::from_str::<Value>(data) {
            Ok(json) => {
                let code = json.get("code").and_then(Value::as_str);
                (said_of_error(&json), code.map(str::to_owned))
            }
            Err(_) => (plain_line(data), None),
        };
        Failure {
            message: said.unwrap_or_else(|| "the server does not say why".to_owned()),
            code: code.unwrap_or_default(),
        }
    }

    /// What a user can do about it, when that is known.
    pub fn hint(&self) -> Option<&'static str> {
        // The server has the variables of the shell that started it, which may be long closed.
        (self.code == "missing_key").then_some(
            "set it, and end the server that was started without it: duragent serve stop; \
             the next chat starts one that has it",
        )
    }
}

/// The session at the start of an attach.
#[derive(Debug, Clone, PartialEq)]
pub struct Attached {
    /// Its summary.
    pub session: Session,
    /// The last messages, oldest first.
    pub messages: Vec<ShownMessage>,
}

impl Attached {
    fn parse(data: &str) -> Result<Attached, serde_json::Error> {
        #[derive(Deserialize)]
        struct History {
            #[serde(default)]
            messages: Vec<ShownMessage>,
        }
        // Two passes over the text: a flattened summary would be read into a tree first.
        let History { messages } = serde_json::from_str(data)?;
        let session = serde_json::from_str(data)?;
        Ok(Attached { session, messages })
    }
}

/// Somebody's message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UserMessage {
    /// Its identifier.
    #[serde(default)]
    pub message_id: String,
    /// The text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub content: String,
    /// Who wrote it, where that is known.
    #[serde(default)]
    pub sender_name: Option<String>,
}

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StatusChange {
    /// What it is now; a word of `Status`, or one that a newer server knows.
    pub to: String,
}

/// How much of the reply in flight is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Rewind {
    /// Bytes of text that stand.
    pub bytes: u64,
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
            "error" => SessionEvent::Error(Failure::parse(data)),
            "session" => SessionEvent::Session(Box::new(Attached::parse(data)?)),
            "user_message" => SessionEvent::UserMessage(from_str(data)?),
            "message" => SessionEvent::Message(from_str(data).unwrap_or_default()),
            "status" => SessionEvent::Status(from_str(data)?),
            "rewind" => SessionEvent::Rewind(from_str(data)?),
            "gap" => SessionEvent::Gap,
            "detached" => SessionEvent::Detached,
            _ => SessionEvent::Unknown,
        })
    }

    /// Whether it is the end of a turn.
    pub fn ends_turn(&self) -> bool {
        matches!(
            self,
            SessionEvent::Done(_) | SessionEvent::Cancelled | SessionEvent::Error(_)
        )
    }

    /// Whether nothing comes after it: the session is over, or this client was sent away.
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

    #[test]
    fn events_are_parsed_by_name_and_unknown_ones_pass() {
        let token = SessionEvent::parse("token", r#"{"content":"hi","new":1}"#).unwrap();
        assert_eq!(
            token,
            SessionEvent::Token(Token {
                content: "hi".to_owned()
            })
        );
        assert_eq!(
            SessionEvent::parse("weather", "not json").unwrap(),
            SessionEvent::Unknown
        );
        assert!(SessionEvent::parse("token", "{}").is_err());
    }

    #[test]
    fn events_of_an_older_server_are_read_in_the_forms_they_may_have() {
        for (name, data, expected) in [
            ("start", "{}", SessionEvent::Start(MessageRef::default())),
            ("start", "ok", SessionEvent::Start(MessageRef::default())),
            ("done", "[DONE]", SessionEvent::Done(Done::default())),
            (
                "done",
                r#"{"usage":7}"#,
                SessionEvent::Done(Done::default()),
            ),
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
