use super::*;

use std::any::type_name;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::event::{ApprovalKind, Attachment, Decision, SessionGrant};
use crate::domain::files::{FileKey, MediaType};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::domain::search::FoundMessage;
use crate::domain::time::Timestamp;
use crate::http::answer::Answer;
use crate::http::testing;
use crate::wire::{
    AdmittedBody, Approve, ApproveSender, CancelledBody, Change, ClearedBody, CompactingBody,
    FileErrorBody, GatewayAuthBody, GatewayBody, GatewayListBody, GatewayLogBody, GrantListBody,
    NewSession, OutboxBody, PairingBody, PairingListBody, ProblemBody, ReadinessBody, ReloadBody,
    RestartedBody, Say, SearchBody, SetAsideBody, ShutdownBody, TicketBody, VersionBody,
    WaitingChatBody,
};

#[test]
fn a_bad_body_is_400_and_bad_json_says_where_in_numbers_too() {
    let problem = HttpProblem::from(Say::parse(b"{\n}}").unwrap_err());
    assert_eq!(problem.status(), 400);
    let body: Value = serde_json::from_slice(&problem.body()).unwrap();
    assert_eq!(body["type"], "urn:duragent:problem:bad-json");
    assert_eq!((&body["line"], &body["column"]), (&json!(2), &json!(2)));
    let problem = HttpProblem::from(Say::parse(b"{}").unwrap_err());
    assert_eq!(
        (problem.status(), problem.detail()),
        (400, "missing field `content`")
    );
}

#[test]
fn what_no_agent_can_be_called_is_not_found_and_not_repeated_at_length() {
    let body = json!({"agent": "ä".repeat(5000)}).to_string();
    let problem = HttpProblem::from(NewSession::parse(body.as_bytes()).unwrap_err());
    assert_eq!(problem.status(), 404);
    let want = format!("Agent '{}' not found", "ä".repeat(100));
    assert_eq!(problem.detail(), want);
}

/// A body as it was written, and as one who has read it would write it.
struct Row {
    /// The name of its type.
    body: String,
    written: String,
    again: String,
    /// The names of the types of its parts are in it.
    read: String,
}

impl Row {
    fn of<R: Serialize + Debug>(written: &[u8], read: impl FnOnce(&str) -> R) -> Row {
        let written = String::from_utf8(written.to_vec()).unwrap();
        let read = read(&written);
        let name = type_name::<R>().split('<').next().unwrap();
        Row {
            body: name.rsplit("::").next().unwrap().to_owned(),
            again: serde_json::to_string(&read).unwrap(),
            read: format!("{read:?}"),
            written,
        }
    }

    /// A body that is read as answers are.
    fn answer<R: Serialize + DeserializeOwned + Debug>(written: &impl Serialize) -> Row {
        let answer = Answer::json(200, written);
        Row::of(answer.body(), |text| {
            serde_json::from_str::<R>(text).unwrap()
        })
    }

    /// A body that clients write.
    fn request<R: Serialize + Debug>(
        written: &impl Serialize,
        parse: impl FnOnce(&[u8]) -> Result<R, BodyError>,
    ) -> Row {
        let written = serde_json::to_vec(written).unwrap();
        Row::of(&written, |text| parse(text.as_bytes()).unwrap())
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Every body with all that it may hold, and those with less that are read by other rules.
fn rows() -> Vec<Row> {
    let mut rows = requests();
    rows.extend(answers_about_sessions());
    rows.extend(answers_about_turns());
    rows.extend(answers_about_the_program());
    rows.extend(answers_about_gateways());
    rows
}

fn requests() -> Vec<Row> {
    let change = Change {
        title: Some("t".to_owned()),
        model: Some("m".to_owned()),
    };
    let approve = Approve {
        call_id: "c1",
        command: "ls\n",
        decision: Decision::AllowAlways,
    };
    let new_session = NewSession {
        agent: "a",
        workdir: Some("/code"),
    };
    vec![
        Row::request(&new_session, NewSession::parse),
        Row::request(
            &Say {
                content: "hi\0",
                attachments: Vec::new(),
            },
            Say::parse,
        ),
        Row::request(&change, Change::parse),
        Row::request(&approve, Approve::parse),
        Row::request(
            &ApproveSender {
                code: "ABCD2345",
                approver: true,
            },
            ApproveSender::parse,
        ),
    ]
}

fn answers_about_gateways() -> Vec<Row> {
    let at = Timestamp::from_micros(1);
    let text = |text: &str| text.to_owned();
    let gateways = GatewayListBody {
        gateways: vec![GatewayBody {
            name: text("irc"),
            kind: text("external"),
            state: text("failed"),
            detail: Some(text("why")),
            version: Some(text("v1alpha1")),
            last_event: Some(at),
            starts: Some(2),
            auth: Some(GatewayAuthBody {
                method: text("pair_code"),
                shown: text("12-34"),
                expires_in: 60,
            }),
        }],
    };
    let pairings = PairingListBody {
        pairings: vec![PairingBody {
            code: text("ABCD2345"),
            gateway: text("irc"),
            sender_id: text("42"),
            name: text("Eve"),
            agent: text("ada"),
            at,
            is_first: true,
        }],
    };
    let admitted = AdmittedBody {
        gateway: text("irc"),
        sender_id: text("42"),
        name: text("Eve"),
        agent: text("ada"),
        approver: true,
    };
    let outbox = OutboxBody {
        waiting: vec![WaitingChatBody {
            gateway: text("irc"),
            chat_id: text("7"),
            thread_id: Some(text("3")),
            sessions: texts(&["session_1"]),
            announcements: 1,
            trouble: Some(text("why")),
            since: Some(at),
        }],
        aside: vec![SetAsideBody {
            gateway: text("irc"),
            chat_id: text("7"),
            thread_id: Some(text("3")),
            at,
            session: Some(text("session_1")),
            text: text("hi"),
            why: text("blocked"),
        }],
    };
    let log = GatewayLogBody {
        lines: texts(&["one", "two"]),
    };
    let status = text("restarting");
    vec![
        Row::answer::<GatewayListBody>(&gateways),
        Row::answer::<PairingListBody>(&pairings),
        Row::answer::<AdmittedBody>(&admitted),
        Row::answer::<OutboxBody>(&outbox),
        Row::answer::<GatewayLogBody>(&log),
        Row::answer::<RestartedBody>(&RestartedBody { status }),
        Row::answer::<ClearedBody>(&ClearedBody { removed: 3 }),
    ]
}

fn answers_about_sessions() -> Vec<Row> {
    let mut view = testing::session();
    view.summary.title = Some("t".to_owned());
    view.summary.model = Some("m".to_owned());
    let page = SessionPage {
        sessions: vec![view.clone()],
        next_cursor: Some(view.id.clone()),
    };
    let message = ShownMessage {
        role: Role::Assistant,
        content: "hi".to_owned(),
        message_id: MessageId::mint(1, 2),
        created_at: view.summary.created_at,
        sender_name: Some("Ada".to_owned()),
        attachments: vec![file()],
    };
    let grant = StandingGrant {
        seq: Seq(7),
        grant: SessionGrant {
            rule: "bash:ls".to_owned(),
            until: view.summary.created_at,
            by: Some("token:alice".to_owned()),
            mac: "m".to_owned(),
        },
    };
    let line = json!({
        "seq": 1, "timestamp": "1970-01-01T00:00:00.000000Z", "type": "status_change",
        "from": "active", "to": "paused",
    });
    let ticket = TicketBody {
        ticket: "1.owner.2.3",
        expires_at: view.summary.created_at,
    };
    vec![
        Row::answer::<SessionBody>(&whole_session(&view)),
        Row::answer::<SessionListBody>(&SessionListBody::from(&page)),
        Row::answer::<MessageListBody>(&MessageListBody::from(&[message][..])),
        Row::answer::<GrantListBody>(&GrantListBody::from(&[grant][..])),
        Row::answer::<SearchBody>(&SearchBody {
            messages: vec![found(&view)],
        }),
        Row::answer::<RecordPageBody>(&record_page(vec![record(line)], 1)),
        Row::answer::<TicketBody>(&ticket),
    ]
}

fn found(session: &SessionView) -> FoundMessage {
    FoundMessage {
        session_id: session.id.clone(),
        agent: "a".to_owned(),
        title: Some("t".to_owned()),
        seq: Seq(3),
        message_id: MessageId::mint(1, 2),
        role: "user".to_owned(),
        sender_name: Some("Ada".to_owned()),
        created_at: session.summary.created_at,
        snippet: "hi".to_owned(),
    }
}

fn notice() -> NoticeBody {
    NoticeBody {
        code: "empty_reply".to_owned(),
        message: "m".to_owned(),
    }
}

fn file() -> Attachment {
    let key = FileKey::new(&"a".repeat(64), MediaType::TEXT);
    Attachment::of(&key, 3, Some("a.txt".to_owned()))
}

fn answers_about_turns() -> Vec<Row> {
    let view = testing::session();
    let asked = view.pending_approval.unwrap();
    let last = FinalMessage {
        message_id: MessageId::mint(1, 2),
        content: "hi".to_owned().into(),
        attachments: vec![file()],
    };
    let accepted = Accepted {
        message_id: MessageId::mint(1, 2),
        seq: Seq(3),
        is_repeat: false,
    };
    let asks_again = DecidedBody::PendingApproval(ApprovalBody::from(&asked));
    vec![
        Row::answer::<ReplyBody>(&reply(Some(&last), Usage::new(1, 2), &[])),
        Row::answer::<ReplyBody>(&reply(None, Usage::new(1, 2), &[notice()])),
        Row::answer::<WaitingBody>(&waiting(&view.id, &asked)),
        Row::answer::<StoredBody>(&StoredBody::from(&accepted)),
        Row::answer::<DecidedBody>(&decided_and_complete(Some(&last), &[])),
        Row::answer::<DecidedBody>(&decided_and_complete(None, &[notice()])),
        Row::answer::<DecidedBody>(&asks_again),
        Row::answer::<DecidedBody>(&DecidedBody::<&str>::Working { seq: Seq(3) }),
        Row::answer::<CancelledBody>(&CancelledBody { cancelled: true }),
        Row::answer::<CompactingBody>(&CompactingBody { seq: Seq(3) }),
        Row::answer::<ContextBody>(&context(ContextUse {
            prompt: 1,
            tools: 2,
            summary: 3,
            history: 4,
            free: 5,
        })),
    ]
}

fn answers_about_the_program() -> Vec<Row> {
    let agents = AgentListBody {
        agents: vec![AgentBody {
            name: "a".to_owned(),
            description: Some("d".to_owned()),
            version: Some("1".to_owned()),
            missing_key: Some("KEY".to_owned()),
            not_counted: Some("n".to_owned()),
            remarks: texts(&["r"]),
        }],
        broken: vec![BrokenAgentBody {
            name: "b".to_owned(),
            errors: texts(&["e"]),
        }],
    };
    let reload = ReloadBody {
        added: texts(&["a"]),
        changed: texts(&["b"]),
        removed: texts(&["c"]),
        errors: vec![FileErrorBody {
            file: "f".to_owned(),
            message: "m".to_owned(),
        }],
    };
    let readiness = ReadinessBody {
        not_counted: texts(&["n"]),
        reasons: texts(&["r"]),
        status: Some("ok".to_owned()),
        warnings: texts(&["w"]),
        workspace_hash: Some("h".to_owned()),
    };
    let version = VersionBody {
        version: "1".to_owned(),
        commit: "c".to_owned(),
        build_date: "d".to_owned(),
        features: texts(&["f"]),
        sandbox: "trust".to_owned(),
    };
    let shutdown = ShutdownBody {
        status: "shutting_down".to_owned(),
    };
    let problem = HttpProblem::new(503, "why").with_member("reasons", texts(&["r"]));
    vec![
        Row::answer::<AgentListBody>(&agents),
        Row::answer::<ReloadBody>(&reload),
        Row::answer::<ReadinessBody>(&readiness),
        Row::answer::<VersionBody>(&version),
        Row::answer::<ShutdownBody>(&shutdown),
        Row::of(&problem.body(), |text| ProblemBody::from_answer(503, text)),
    ]
}

#[test]
fn every_body_is_read_with_all_that_was_written() {
    let rows = rows();
    for row in &rows {
        assert_eq!(row.again, row.written, "{}", row.body);
    }

    // The rows are all there are: a body that the other side could not read would miss here. Events
    // have a table of their own.
    const MODULE: &str = include_str!("../../wire/mod.rs");
    let exported = MODULE.split("pub use self::").skip(1);
    let exported =
        exported.flat_map(|list| list.split(';').next().unwrap().split([':', ',', '{', '}']));
    let bodies = exported.map(str::trim).filter(|name| {
        let is_type = name.starts_with(char::is_uppercase);
        is_type
            && !name.ends_with("Event")
            && !["BodyError", "OwnedText", "GrantBody"].contains(name)
    });
    let missing: Vec<&str> = bodies
        .filter(|name| {
            !rows
                .iter()
                .any(|row| row.body == *name || row.read.contains(*name))
        })
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn a_server_that_cannot_work_says_why_in_a_problem_that_is_read_as_its_readiness() {
    let problem = HttpProblem::new(503, "why")
        .with_member("workspace_hash", "h")
        .with_member("reasons", texts(&["r"]));
    let read: ReadinessBody = serde_json::from_slice(&problem.body()).unwrap();
    let want = ReadinessBody {
        reasons: texts(&["r"]),
        workspace_hash: Some("h".to_owned()),
        ..ReadinessBody::default()
    };
    assert_eq!(read, want);
}

fn record(line: Value) -> Record {
    Record::parse(line.to_string().as_bytes()).unwrap()
}

#[test]
fn a_page_of_events_hides_what_is_the_providers_and_says_where_to_go_on() {
    let time = "1970-01-01T00:00:00.000000Z";
    let reply = json!({
        "seq": 1, "timestamp": time, "type": "assistant_response",
        "turn_id": "turn_01J0000000000000000000000A",
        "message_id": "msg_01J0000000000000000000000A",
        "agent": "a", "model": "openai/m", "input_seq": 0, "content": "hi", "tool_calls": [],
        "finish_reason": "stop", "provider_data": {"signature": "s"},
    });
    let newer = json!({"seq": 2, "timestamp": time, "type": "of_tomorrow"});
    let records = vec![record(reply.clone()), record(newer)];

    let page = serde_json::to_value(record_page(records.clone(), 2)).unwrap();
    let mut shown = reply;
    shown.as_object_mut().unwrap().remove("provider_data");
    assert_eq!(page, json!({"events": [shown], "next": 2}));

    let last = serde_json::to_value(record_page(records, 3)).unwrap();
    assert_eq!(last.get("next"), None);
    let empty = serde_json::to_value(record_page(Vec::new(), 3)).unwrap();
    assert_eq!(empty, json!({"events": []}));
}

#[test]
fn answers_have_the_fields_of_the_contract() {
    let id = SessionId::parse("session_01J0000000000000000000000A").unwrap();
    let message_id = MessageId::parse("msg_01J0000000000000000000000A").unwrap();
    let last = FinalMessage {
        message_id: message_id.clone(),
        content: "hi".to_owned().into(),
        attachments: Vec::new(),
    };
    let pending = PendingApproval {
        call_id: CallId::parse("c1").unwrap(),
        command: "ls".to_owned(),
        commands: vec!["ls".to_owned()],
        kind: ApprovalKind::Policy,
        exact: false,
        session_rules: Vec::new(),
        requester_id: None,
    };
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    for (body, want) in [
        (
            serde_json::to_value(reply(Some(&last), Usage::new(1, 2), &[])),
            json!({"message_id": message_id, "role": "assistant", "content": "hi", "usage": usage}),
        ),
        (
            serde_json::to_value(waiting(&id, &pending)),
            json!({"session_id": id, "call_id": "c1", "command": "ls", "kind": "policy", "commands": ["ls"], "lines": 1, "exact": false}),
        ),
        (
            serde_json::to_value(StoredBody {
                message_id: message_id.as_str(),
                seq: Seq(3),
            }),
            json!({"message_id": message_id, "seq": 3}),
        ),
        (
            serde_json::to_value(decided_and_complete(Some(&last), &[])),
            json!({"status": "complete", "message_id": message_id, "content": "hi"}),
        ),
        (
            serde_json::to_value(DecidedBody::<&str>::PendingApproval((&pending).into())),
            json!({"status": "pending_approval", "call_id": "c1", "command": "ls", "kind": "policy", "commands": ["ls"], "lines": 1, "exact": false}),
        ),
        (
            serde_json::to_value(CancelledBody { cancelled: true }),
            json!({"cancelled": true}),
        ),
    ] {
        assert_eq!(body.unwrap(), want);
    }
}
