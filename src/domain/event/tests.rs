use proptest::prelude::*;

use super::*;
use crate::domain::chat::Chat;
use crate::domain::story::*;

/// The line of an event without what all lines have in common.
fn line(event: &Event) -> String {
    serde_json::to_string(event).unwrap()
}

fn read(event: &str) -> Result<Event, serde_json::Error> {
    let rest = event.strip_prefix('{').unwrap();
    let json = format!(r#"{{"seq":7,"timestamp":"2026-11-22T06:00:00.123456Z",{rest}"#);
    Ok(Record::parse(json.as_bytes())?.event)
}

const MSG: &str = "msg_00000000010000000000000000";
const TURN: &str = "turn_00000000010000000000000000";

fn said_by(key: &str) -> SaidBy {
    SaidBy {
        by: Some("sender:telegram:42".to_owned()),
        source_id: Some(SourceId::parse(key).unwrap()),
    }
}

/// A file that an agent sends.
fn sent() -> Attachment {
    Attachment {
        file: "a.png".to_owned(),
        mime: "image/png".to_owned(),
        bytes: 1,
        sha256: "a".to_owned(),
        name: Some("cat.png".to_owned()),
        caption: Some("A cat".to_owned()),
        ..Attachment::default()
    }
}

/// An event of each kind, with all of its fields, beside its line. `@m` and `@t` stand for ids.
fn all_events() -> Vec<(Event, String)> {
    let message = UserMessage {
        sender_id: Some("42".to_owned()),
        sender_name: Some("Eve".to_owned()),
        source_id: Some(SourceId::parse("telegram:7").unwrap()),
        detached: true,
        passive: false,
        attachments: vec![Attachment {
            file: "cat.png".to_owned(),
            mime: "image/png".to_owned(),
            bytes: 3,
            sha256: "ab".to_owned(),
            name: None,
            caption: None,
            ..Attachment::default()
        }],
        gateway_message_id: Some("55".to_owned()),
        own_turn: Some(OwnTurn::Joins),
        ..user_message(1, "hi")
    };
    let full_reply = AssistantResponse {
        provider_data: Some(serde_json::json!({"signature": "x"})),
        attachments: vec![sent()],
        ..reply(1, 3, "hello")
            .asking(&[1])
            .costing(2, 1)
            .continuing(1)
    };
    let events = [
        (
            Event::SessionStart(SessionStart {
                gateway: Some("telegram".to_owned()),
                gateway_chat_id: Some("-5".to_owned()),
                ..SessionStart::new("ada", OnDisconnect::Continue)
            }),
            r#"{"type":"session_start","format":1,"agent":"ada","on_disconnect":"continue","gateway":"telegram","gateway_chat_id":"-5"}"#,
        ),
        (
            Event::SessionStart(SessionStart {
                owner: Some("token:alice".to_owned()),
                workdir: Some("/code".to_owned()),
                ..SessionStart::new("ada", OnDisconnect::Pause)
                    .in_chat(Chat::new("irc", "#a").in_thread("7"))
            }),
            r##"{"type":"session_start","format":1,"agent":"ada","on_disconnect":"pause","gateway":"irc","gateway_chat_id":"#a","gateway_thread_id":"7","owner":"token:alice","workdir":"/code"}"##,
        ),
        (
            start(),
            r#"{"type":"session_start","format":1,"agent":"ada","on_disconnect":"pause"}"#,
        ),
        (
            Event::from(message),
            r#"{"type":"user_message","message_id":"@m","content":"hi","sender_id":"42","sender_name":"Eve","source_id":"telegram:7","detached":true,"attachments":[{"file":"cat.png","mime":"image/png","bytes":3,"sha256":"ab"}],"gateway_message_id":"55","own_turn":"joins"}"#,
        ),
        (
            user(1, "hi"),
            r#"{"type":"user_message","message_id":"@m","content":"hi"}"#,
        ),
        (
            dropped(1),
            r#"{"type":"message_dropped","message_id":"@m","reason":"queue full"}"#,
        ),
        (
            started(1, Trigger::Message),
            r#"{"type":"turn_started","turn_id":"@t","trigger":"message"}"#,
        ),
        (
            started(1, Trigger::Resume),
            r#"{"type":"turn_started","turn_id":"@t","trigger":"resume"}"#,
        ),
        (
            full_reply.event(),
            r#"{"type":"assistant_response","turn_id":"@t","message_id":"@m","agent":"ada","model":"echo/echo","input_seq":3,"content":"hello","tool_calls":[{"call_id":"call_1","tool_name":"date","arguments":"{}"}],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3},"finish_reason":"tool_calls","continues":"@m","provider_data":{"signature":"x"},"attachments":[{"file":"a.png","mime":"image/png","bytes":1,"sha256":"a","name":"cat.png","caption":"A cat"}]}"#,
        ),
        (
            reply(1, 3, "hello").event(),
            r#"{"type":"assistant_response","turn_id":"@t","message_id":"@m","agent":"ada","model":"echo/echo","input_seq":3,"content":"hello","tool_calls":[],"finish_reason":"stop"}"#,
        ),
        (
            runs(1),
            r#"{"type":"tool_started","call_id":"call_1","tool_name":"date"}"#,
        ),
        (
            Event::ToolResult {
                call_id: call_id(1),
                result: output(true, "noon"),
                duration_ms: Some(5),
                appended_bytes: None,
                attachments: vec![sent()],
            },
            r#"{"type":"tool_result","call_id":"call_1","result":{"success":true,"content":"noon"},"duration_ms":5,"attachments":[{"file":"a.png","mime":"image/png","bytes":1,"sha256":"a","name":"cat.png","caption":"A cat"}]}"#,
        ),
        (
            skipped(&[1, 2]),
            r#"{"type":"tools_skipped","call_ids":["call_1","call_2"],"reason":"cancelled"}"#,
        ),
        (
            Event::ApprovalRequired {
                call_id: call_id(1),
                command: "rm x".to_owned(),
                commands: vec!["rm x".to_owned()],
                kind: ApprovalKind::Uncertain,
                exact: false,
                session_rules: Vec::new(),
                requester_id: Some("42".to_owned()),
            },
            r#"{"type":"approval_required","call_id":"call_1","command":"rm x","commands":["rm x"],"kind":"uncertain","requester_id":"42"}"#,
        ),
        (
            Event::ApprovalRequired {
                call_id: call_id(1),
                command: "ls".to_owned(),
                commands: Vec::new(),
                kind: ApprovalKind::Policy,
                exact: false,
                session_rules: vec!["bash:ls".to_owned()],
                requester_id: None,
            },
            r#"{"type":"approval_required","call_id":"call_1","command":"ls","kind":"policy","session_rules":["bash:ls"]}"#,
        ),
        (
            asks(1),
            r#"{"type":"approval_required","call_id":"call_1","command":"date 1","kind":"policy"}"#,
        ),
        (
            Event::ApprovalDecision {
                call_id: call_id(1),
                decision: Decision::AllowAlways,
                by: Some("42".to_owned()),
                source_id: Some(SourceId::parse("telegram:8").unwrap()),
            },
            r#"{"type":"approval_decision","call_id":"call_1","decision":"allow_always","by":"42","source_id":"telegram:8"}"#,
        ),
        (
            Event::Grant(SessionGrant {
                rule: "bash:ls".to_owned(),
                until: Timestamp::from_micros(1_500_000),
                by: Some("token:alice".to_owned()),
                mac: "5e".to_owned(),
            }),
            r#"{"type":"grant","rule":"bash:ls","until":"1970-01-01T00:00:01.500000Z","by":"token:alice","mac":"5e"}"#,
        ),
        (
            Event::GrantRevoked {
                grants: vec![Seq(7)],
                cause: SaidBy::default(),
            },
            r#"{"type":"grant_revoked","grants":[7]}"#,
        ),
        (
            Event::SilentMessage {
                content: "psst".to_owned(),
                sender_id: "42".to_owned(),
                sender_name: Some("Eve".to_owned()),
                source_id: Some(SourceId::parse("telegram:8").unwrap()),
            },
            r#"{"type":"silent_message","content":"psst","sender_id":"42","sender_name":"Eve","source_id":"telegram:8"}"#,
        ),
        (
            pauses(),
            r#"{"type":"status_change","from":"active","to":"paused"}"#,
        ),
        (
            Event::SessionChanged {
                title: Some("t".to_owned()),
                model: Some("m".to_owned()),
                gateway_chat_id: Some("-7".to_owned()),
            },
            r#"{"type":"session_changed","title":"t","model":"m","gateway_chat_id":"-7"}"#,
        ),
        (
            Event::from(ContextSummary {
                usage: Some(Usage::new(2, 1)),
                refused: true,
                ..summary(7, "they count")
            }),
            r#"{"type":"context_summary","upto_seq":7,"text":"they count","model":"echo/echo","usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3},"refused":true}"#,
        ),
        (
            Event::from(ContextSummary {
                text: None,
                error: Some("down".to_owned()),
                ..summary(7, "")
            }),
            r#"{"type":"context_summary","upto_seq":7,"error":"down","model":"echo/echo"}"#,
        ),
        (
            Event::CompactRequested {
                keep: Some("the code".to_owned()),
                by: Some("token:ci".to_owned()),
            },
            r#"{"type":"compact_requested","keep":"the code","by":"token:ci"}"#,
        ),
        (
            Event::CompactRequested {
                keep: None,
                by: None,
            },
            r#"{"type":"compact_requested"}"#,
        ),
        (
            Event::TurnEnded {
                turn_id: turn_id(1),
                outcome: Outcome::Failed,
                error: Some(Failure {
                    code: "c".to_owned(),
                    message: "m".to_owned(),
                }),
                usage: Some(Usage::new(2, 1)),
                cause: said_by("telegram:9"),
            },
            r#"{"type":"turn_ended","turn_id":"@t","outcome":"failed","error":{"code":"c","message":"m"},"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3},"by":"sender:telegram:42","source_id":"telegram:9"}"#,
        ),
        (
            ended(1, Outcome::Completed),
            r#"{"type":"turn_ended","turn_id":"@t","outcome":"completed"}"#,
        ),
        (
            notice(),
            r#"{"type":"error","code":"retry","message":"tried again"}"#,
        ),
        (
            Event::session_end(EndReason::Timeout),
            r#"{"type":"session_end","reason":"timeout"}"#,
        ),
        (
            Event::SessionEnd {
                reason: EndReason::Terminated,
                cause: said_by("telegram:10"),
            },
            r#"{"type":"session_end","reason":"terminated","by":"sender:telegram:42","source_id":"telegram:10"}"#,
        ),
    ];
    let fill = |json: &str| {
        json.replace("@m", message_id(1).as_str())
            .replace("@t", turn_id(1).as_str())
    };
    events.map(|(event, json)| (event, fill(json))).into()
}

#[test]
fn each_event_has_its_line() {
    for (event, json) in all_events() {
        assert_eq!(line(&event), json);
        assert_eq!(read(&json).unwrap(), event, "{json}");
    }
}

#[test]
fn a_record_is_one_flat_object() {
    let written = |cont| {
        let record = Record {
            cont,
            timestamp: Timestamp::from_micros(1_500_000),
            ..record(7, notice())
        };
        serde_json::to_string(&record).unwrap()
    };
    let event = r#""type":"error","code":"retry","message":"tried again"}"#;
    let head = r#"{"seq":7,"timestamp":"1970-01-01T00:00:01.500000Z","#;
    assert_eq!(written(false), format!("{head}{event}"));
    assert_eq!(written(true), format!(r#"{head}"cont":true,{event}"#));
}

#[test]
fn words_are_as_the_format_says() {
    fn words<T: Serialize>(values: &[T]) -> String {
        let words = values
            .iter()
            .map(|value| serde_json::to_string(value).unwrap());
        words.collect::<Vec<_>>().join(" ").replace('"', "")
    }
    use FinishReason::*;
    assert_eq!(
        words(&[
            Stop,
            ToolCalls,
            Length,
            Cancelled,
            Interrupted,
            FinishReason::Error
        ]),
        "stop tool_calls length cancelled interrupted error"
    );
    assert_eq!(
        words(&[
            Decision::AllowOnce,
            Decision::AllowSession,
            Decision::AllowAlways,
            Decision::Deny,
            Decision::Retry,
            Decision::Skip,
            Decision::Worked
        ]),
        "allow_once allow_session allow_always deny retry skip worked"
    );
    assert_eq!(
        words(&[
            Status::Active,
            Status::Running,
            Status::Paused,
            Status::Completed
        ]),
        "active running paused completed"
    );
    assert_eq!(
        words(&[Outcome::Completed, Outcome::Cancelled, Outcome::Failed]),
        "completed cancelled failed"
    );
    assert_eq!(
        words(&[
            EndReason::Completed,
            EndReason::Terminated,
            EndReason::Timeout,
            EndReason::Error
        ]),
        "completed terminated timeout error"
    );
    assert_eq!(
        words(&[Trigger::Message, Trigger::Resume, Trigger::Restart]),
        "message resume restart"
    );
    assert_eq!(
        words(&[ApprovalKind::Policy, ApprovalKind::Uncertain]),
        "policy uncertain"
    );
}

#[test]
fn what_a_newer_version_writes_is_passed_over() {
    assert_eq!(
        read(r#"{"type":"dreamt","of":{"sheep":["electric"]}}"#).unwrap(),
        Event::Unknown
    );
    let extra = r#"{"crc":"00000000","type":"session_end","reason":"timeout","mood":{"good":1}}"#;
    let reason = EndReason::Timeout;
    assert_eq!(read(extra).unwrap(), Event::session_end(reason));
    let trigger = format!(r#"{{"type":"turn_started","turn_id":"{TURN}","trigger":"moon"}}"#);
    let turn_id = TurnId::parse(TURN).unwrap();
    assert_eq!(
        read(&trigger).unwrap(),
        Event::TurnStarted {
            turn_id,
            trigger: Trigger::Other
        }
    );
}

#[test]
fn a_key_that_is_missing_or_ill_typed_is_an_error() {
    for (json, why) in [
        (r#"{"content":"hi"}"#.to_owned(), "missing field `type`"),
        (
            r#"{"type":"session_end"}"#.to_owned(),
            "missing field `reason`",
        ),
        (
            r#"{"type":"session_end","reason":"boredom"}"#.to_owned(),
            "unknown variant",
        ),
        (
            r#"{"type":"user_message","content":"hi"}"#.to_owned(),
            "missing field `message_id`",
        ),
        (
            format!(r#"{{"type":"user_message","message_id":"{MSG}"}}"#),
            "missing field `content`",
        ),
        (
            format!(r#"{{"type":"user_message","message_id":"{MSG}","content":7}}"#),
            "invalid type",
        ),
        (
            r#"{"type":"user_message","message_id":"../x","content":"hi"}"#.to_owned(),
            "not a valid message id",
        ),
    ] {
        let error = read(&json).expect_err(&json).to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    for json in [
        r#"{"type":"error","code":"c","message":"m","timestamp":"1970-01-01T00:00:00Z"}"#,
        r#"{"type":"error","code":"c","message":"m","seq":1}"#,
        r#"{"type":"error","code":"c","message":"m","seq":1,"timestamp":"yesterday"}"#,
        r#"{"type":"error","code":"c","message":"m","seq":-1,"timestamp":"1970-01-01T00:00:00Z"}"#,
        "[]",
        "",
    ] {
        assert!(Record::parse(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn each_field_without_a_default_is_required() {
    for (event, json) in all_events() {
        let whole: serde_json::Map<_, _> = serde_json::from_str(&json).unwrap();
        for key in whole.keys() {
            let mut cut = whole.clone();
            cut.remove(key);
            // Either it is an error, or a default that is not written.
            let read = read(&serde_json::to_string(&cut).unwrap());
            let Ok(read) = read else { continue };
            assert_ne!(read, Event::Unknown, "{json} without {key}");
            let is_written_when_empty = key == "tool_calls";
            assert!(
                is_written_when_empty || read != event,
                "{json} without {key}"
            );
        }
    }
}

#[test]
fn a_head_says_the_same_wherever_its_keys_stand() {
    let time = "2026-01-02T03:04:05.000006Z";
    let first = format!(r#"{{"crc":"0123abcd","seq":17,"timestamp":"{time}""#);
    let event = r#""type":"error","code":"c","message":"m"}"#;
    for line in [
        format!("{first},{event}"),
        format!(r#"{first},"cont":true,{event}"#),
        format!(r#"{first},"cont":false,{event}"#),
        format!("{first}, {event}"),
        format!(r#"{first},"type":"\u0065rror","code":"c","message":"m"}}"#),
        format!(r#"{{"timestamp":"{time}","seq":17,{event}"#),
    ] {
        let whole: RecordHead<'_> = serde_json::from_str(&line).unwrap();
        assert_eq!(whole.kind, "error");
        assert_eq!(RecordHead::parse(line.as_bytes()).unwrap(), whole, "{line}");
        assert!(Record::parse(line.as_bytes()).is_ok(), "{line}");
        assert!(Record::parse(&line.as_bytes()[..line.len() - 1]).is_err());
    }
    let fronts = |line: &str| RecordHead::at_front(line.as_bytes()).is_some();
    assert!(fronts(&format!("{first},{event}")));
    for other in ["seq\":-1", "seq\":1.5", "seq\":\"1\"", "sequence\":1"] {
        assert!(!fronts(
            &format!("{first},{event}").replace("seq\":17", other)
        ));
    }
    assert!(!fronts(
        &format!("{first},{event}").replace("2026-01", "2026-13")
    ));
}

proptest! {
    #[test]
    fn a_record_survives_a_round_trip(
        choices in proptest::collection::vec(any::<u8>(), 0..100),
        text in any::<String>(),
        cont in any::<bool>(),
    ) {
        let told = records_of(&walk(&choices));
        let texts = [user(1, &text), result(1, &text), reply(1, 2, &text).event()];
        for record in told.into_iter().chain(log(texts)) {
            let record = Record { cont, ..record };
            let json = serde_json::to_vec(&record).unwrap();
            prop_assert!(!json.contains(&b'\n'));
            prop_assert_eq!(Record::parse(&json).unwrap(), record);
        }
    }
}
