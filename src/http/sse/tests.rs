use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::sse::{EventTooLong, Parser};
use crate::domain::event::{self, ApprovalKind, Decision, FinishReason, Status, ToolOutput, Usage};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::domain::time::Timestamp;
use crate::domain::transcript::{Role, ShownMessage};
use crate::engine::Cursor;
use crate::http::testing;

const MESSAGE: &str = "msg_01J0000000000000000000000A";

fn message_id() -> MessageId {
    MessageId::parse(MESSAGE).unwrap()
}

fn token(content: &str) -> FeedEvent {
    FeedEvent::Token {
        message_id: Arc::new(message_id()),
        content: content.to_owned(),
    }
}

fn call_id() -> CallId {
    CallId::parse("c1").unwrap()
}

fn bytes_for(audience: Audience, id: &str, event: FeedEvent) -> String {
    let id = Cursor::parse(id).unwrap();
    let mut out = Vec::new();
    push_event(&mut out, audience, &FeedItem { id, event });
    String::from_utf8(out).unwrap()
}

/// Every event but `session`: its name, its data, and whether `/stream` shows it.
fn table() -> Vec<(FeedEvent, &'static str, String, bool)> {
    let text = |text: &str| text.to_owned();
    vec![
        (
            FeedEvent::Start {
                message_id: message_id(),
                seq: Seq(7),
            },
            "start",
            format!(r#"{{"message_id":"{MESSAGE}","seq":7}}"#),
            true,
        ),
        (
            token("a\n\r\u{2028}\"ä\0"),
            "token",
            format!("{{\"content\":\"a\\n\\r\u{2028}\\\"ä\\u0000\",\"message_id\":\"{MESSAGE}\"}}"),
            true,
        ),
        (
            FeedEvent::ToolCall(event::ToolCall {
                call_id: call_id(),
                tool_name: text("bash"),
                arguments: text(r#"{"command":"ls"}"#),
                source: None,
            }),
            "tool_call",
            text(r#"{"call_id":"c1","name":"bash","arguments":"{\"command\":\"ls\"}"}"#),
            true,
        ),
        (
            FeedEvent::ToolResult {
                call_id: call_id(),
                output: ToolOutput {
                    success: false,
                    content: text("no"),
                },
                attachments: Vec::new(),
            },
            "tool_result",
            text(r#"{"call_id":"c1","content":"no","success":false}"#),
            true,
        ),
        (
            FeedEvent::ApprovalRequired {
                call_id: call_id(),
                command: text("rm x"),
                commands: vec![text("rm x")],
                kind: ApprovalKind::Uncertain,
                exact: false,
                session_rules: Vec::new(),
                requester_id: Some(text("42")),
            },
            "approval_required",
            text(
                r#"{"call_id":"c1","command":"rm x","kind":"uncertain","commands":["rm x"],"lines":1,"exact":false}"#,
            ),
            true,
        ),
        (
            FeedEvent::Notice {
                code: text("retry"),
                message: text("once more"),
            },
            "notice",
            text(r#"{"code":"retry","message":"once more"}"#),
            true,
        ),
        (
            FeedEvent::Done {
                message_id: Some(message_id()),
                usage: Usage::new(1, 2),
                finish_reason: FinishReason::Stop,
            },
            "done",
            format!(
                r#"{{"message_id":"{MESSAGE}","usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}},"finish_reason":"stop"}}"#
            ),
            true,
        ),
        (FeedEvent::Cancelled, "cancelled", text("{}"), true),
        (
            FeedEvent::Error {
                code: text("provider_error"),
                message: text("why"),
            },
            "error",
            text(r#"{"message":"why","code":"provider_error"}"#),
            true,
        ),
        (
            FeedEvent::UserMessage {
                message: Arc::new(event::UserMessage {
                    sender_id: Some(text("secret-number")),
                    sender_name: Some(text("Ada")),
                    ..event::UserMessage::new(message_id(), "hi")
                }),
                seq: Seq(3),
            },
            "user_message",
            format!(r#"{{"message_id":"{MESSAGE}","content":"hi","sender_name":"Ada","seq":3}}"#),
            false,
        ),
        (
            FeedEvent::ApprovalDecision {
                call_id: call_id(),
                decision: Decision::AllowOnce,
                by: None,
            },
            "approval_decision",
            text(r#"{"call_id":"c1","decision":"allow_once"}"#),
            false,
        ),
        (
            FeedEvent::Message {
                message_id: message_id(),
                content: text("hello").into(),
                usage: Some(Usage::new(1, 1)),
                attachments: Vec::new(),
            },
            "message",
            format!(
                r#"{{"message_id":"{MESSAGE}","content":"hello","usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#
            ),
            false,
        ),
        (
            FeedEvent::Status {
                from: Some(Status::Active),
                to: Status::Paused,
            },
            "status",
            text(r#"{"from":"active","to":"paused"}"#),
            false,
        ),
        (
            FeedEvent::Status {
                from: None,
                to: Status::Completed,
            },
            "status",
            text(r#"{"to":"completed"}"#),
            false,
        ),
        (
            FeedEvent::Rewind {
                message_id: Some(message_id()),
                bytes: 12,
            },
            "rewind",
            format!(r#"{{"message_id":"{MESSAGE}","bytes":12}}"#),
            false,
        ),
        (
            FeedEvent::Gap {
                from_seq: Seq(2),
                to_seq: Seq(9),
            },
            "gap",
            text(r#"{"from_seq":2,"to_seq":9}"#),
            false,
        ),
    ]
}

#[test]
fn every_event_has_its_exact_bytes_on_events() {
    for (event, name, data, _) in table() {
        let want = format!("id: 7.2+120\nevent: {name}\ndata: {data}\n\n");
        assert_eq!(bytes_for(Audience::Session, "7.2+120", event), want);
    }
}

/// The events that a client reads in these bytes, by its own parser.
fn read(bytes: &[u8]) -> Vec<(String, SessionEvent)> {
    let mut events = Vec::new();
    let fed: Result<(), EventTooLong> = Parser::default().feed(bytes, |event| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (name, data) = (text(event.name), text(event.data));
        events.push((data.clone(), SessionEvent::parse(&name, &data).unwrap()));
        Ok(())
    });
    fed.map(|()| events).unwrap()
}

#[test]
fn every_event_is_read_by_clients_with_all_that_was_written() {
    let feed = table().into_iter().map(|(event, ..)| event);
    let mut bytes = Vec::new();
    for event in feed.chain([attached()]) {
        bytes.extend(bytes_for(Audience::Session, "7", event).into_bytes());
    }
    push_detached(&mut bytes);
    let events = read(&bytes);
    for (data, event) in &events {
        let mut again = Vec::new();
        event.write_data(&mut again);
        assert_eq!(&String::from_utf8(again).unwrap(), data);
    }

    // The table above has all there are.
    const SOURCE: &str = include_str!("../../wire/event.rs");
    let arms = SOURCE.lines().filter_map(|line| {
        let (name, event) = line.trim().strip_prefix('"')?.split_once("\" => ")?;
        event.starts_with("SessionEvent::").then_some(name)
    });
    let known: BTreeSet<&str> = arms.collect();
    let read: BTreeSet<&str> = events.iter().map(|(_, event)| event.name()).collect();
    assert_eq!(read, known);
}

#[test]
fn a_turn_is_shown_what_belongs_to_it_and_nothing_else() {
    for (event, name, _, is_for_turn) in table() {
        let shown = bytes_for(Audience::Turn, "7", event);
        assert_eq!(!shown.is_empty(), is_for_turn, "{name}");
    }
}

#[test]
fn a_message_that_is_withdrawn_is_nothing_to_a_stream() {
    let dropped = || FeedEvent::Dropped {
        message_id: MessageId::mint(1, 1),
        reason: "busy".to_owned(),
    };
    for audience in [Audience::Session, Audience::Turn] {
        assert_eq!(bytes_for(audience, "7", dropped()), "");
    }
}

#[test]
fn whatever_the_text_an_event_stays_one_event() {
    let text = "\n\ndata: forged\r\rid: 1\u{85}\u{2029}\n\n";
    let shown = bytes_for(Audience::Turn, "1", token(text));
    let lines: Vec<&str> = shown.trim_end().split(['\n', '\r']).collect();
    assert_eq!(lines.len(), 3, "{shown:?}");
    let data = lines[2].strip_prefix("data: ").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["content"], text);
}

#[test]
fn a_comment_is_one_line() {
    let mut out = Vec::new();
    push_comment(&mut out, "too slow\nevent: forged\r\n");
    assert_eq!(out, b": too slow event: forged  \n");
}

#[test]
fn the_first_event_says_when_to_come_back_and_a_comment_never_makes_one() {
    let mut out = Vec::new();
    push_comment(&mut out, "the end");
    let comment = out.clone();
    assert!(!add_retry(&mut out) && !add_retry(&mut Vec::new()));
    assert_eq!(out, comment);
    let mut detached = Vec::new();
    push_detached(&mut detached);
    assert_eq!(detached, b"event: detached\ndata: {}\n\n");
    for first in [
        bytes_for(Audience::Turn, "1", FeedEvent::Cancelled).into_bytes(),
        detached,
    ] {
        let mut batch = [&first[..], &comment].concat();
        assert!(add_retry(&mut batch));
        assert_eq!(batch, [b"retry: 1000\n", &first[..], &comment].concat());
    }
}

/// The event of one who comes new: a session that waits for a decision, and one message.
fn attached() -> FeedEvent {
    let time = Timestamp::from_micros(1);
    let messages = vec![ShownMessage {
        role: Role::User,
        content: "hi".to_owned(),
        message_id: message_id(),
        created_at: time,
        sender_name: None,
        attachments: Vec::new(),
    }];
    FeedEvent::Session {
        session: Box::new(testing::session()),
        messages,
    }
}

#[test]
fn the_session_comes_with_its_last_messages() {
    let event = attached();
    let want = concat!(
        "id: 4+0\nevent: session\ndata: ",
        r#"{"session_id":"session_01J0000000000000000000000A","agent":"helper","status":"active","#,
        r#""created_at":"1970-01-01T00:00:00.000001Z","updated_at":"1970-01-01T00:00:00.000001Z","#,
        r#""message_count":1,"working":true,"#,
        r#""usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0},"#,
        r#""pending_approval":{"call_id":"c1","command":"ls","kind":"policy","commands":["ls"],"lines":1,"exact":false},"attached":2,"#,
        r#""last_seq":4,"messages":[{"role":"user","content":"hi","#,
        r#""message_id":"msg_01J0000000000000000000000A","#,
        r#""created_at":"1970-01-01T00:00:00.000001Z"}]}"#,
        "\n\n"
    );
    assert_eq!(bytes_for(Audience::Session, "4+0", event.clone()), want);
    assert_eq!(bytes_for(Audience::Turn, "4+0", event), "");
}

#[test]
fn the_documentation_has_every_event_and_whom_it_is_for() {
    const PAGE: &str = include_str!("../../../docs/api.md");
    let (_, events) = PAGE
        .split_once("| event | | data |\n|---|---|---|\n")
        .unwrap();
    let rows = events.lines().take_while(|line| line.starts_with('|'));
    let mut of_page: Vec<(&str, bool)> = rows
        .map(|row| (row.split('`').nth(1).unwrap(), row.contains("` | ● |")))
        .collect();
    let events = table();
    let mut known: Vec<(&str, bool)> = events
        .iter()
        .map(|(_, name, _, is_for_turn)| (*name, *is_for_turn))
        .chain([("session", false), ("detached", false)])
        .collect();
    known.sort_unstable();
    known.dedup();
    of_page.sort_unstable();
    assert_eq!(of_page, known);
}
