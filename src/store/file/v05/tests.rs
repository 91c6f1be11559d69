use std::sync::Arc;

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::base::fs::{Fault, FaultFs, FaultKind, SimDisk};
use crate::domain::chat::Chat;
use crate::domain::event::{Event, Record};
use crate::domain::ids::Seq;
use crate::domain::state::SessionState;
use crate::domain::step::{Step, next_step};
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::store::file::testing::{bytes_of, disk_with, folder, id, store_on};
use crate::store::file::v05::event::CALLS_MAX;
use crate::store::file::v05::old::LINE_BYTES_MAX;
use crate::store::{ReadLimit, SessionStore as _, StoreError};

const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

fn now() -> Timestamp {
    Timestamp::parse("2026-11-22T06:00:00Z").unwrap()
}

/// A log whose events are these, a second apart.
fn log_of(events: &[Value]) -> Vec<u8> {
    let lines = (0..).zip(events).map(|(n, event): (u64, &Value)| {
        let mut event = event.clone();
        let fields = event.as_object_mut().unwrap();
        fields.entry("seq").or_insert(json!(n));
        let time = format!("2026-01-02T03:04:{:02}.123456789+00:00", n % 60);
        fields.entry("timestamp").or_insert(json!(time));
        format!("{event}\n")
    });
    lines.collect::<String>().into_bytes()
}

fn start() -> Value {
    json!({"type": "session_start", "session_id": id().as_str(), "agent": "ada"})
}

fn user(text: &str) -> Value {
    json!({"type": "user_message", "content": text})
}

fn says(text: &str) -> Value {
    json!({"type": "assistant_message", "agent": "ada", "content": text})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_call", "call_id": id, "tool_name": "bash", "arguments": {"command": "ls"}})
}

fn result(id: &str, text: &str) -> Value {
    json!({"type": "tool_result", "call_id": id, "result": {"success": true, "content": text}})
}

fn disk_of(log: &[u8]) -> SimDisk {
    disk_with(&[(folder().log(), log)])
}

fn records(disk: &SimDisk) -> Vec<Record> {
    store_on(disk.clone()).records(&id(), Seq(1), ALL).unwrap()
}

/// What a log becomes, an event in a few words each; each is one that may happen there, and in the
/// end nothing goes on by itself.
fn told(events: &[Value]) -> Vec<String> {
    let disk = disk_of(&log_of(events));
    let records = records(&disk);
    let mut state = SessionState::new(Limits::none());
    for record in &records {
        if record.event != Event::Unknown {
            state.allows(&record.event).unwrap();
        }
        state.apply(record);
    }
    assert_eq!(store_on(disk).summary(&id()).unwrap(), state.summary);
    assert_eq!(next_step(&state), Step::Idle);
    assert!(!state.summary.unfinished && state.summary.pending_call.is_none());
    records.iter().map(|record| words(&record.event)).collect()
}

fn words(event: &Event) -> String {
    match event {
        Event::SessionStart(start) => format!("start {}", start.agent),
        Event::UserMessage(message) => format!("user {}", message.content),
        Event::TurnStarted { .. } => "turn".to_owned(),
        Event::AssistantResponse(reply) => {
            let tools = reply.tool_calls.iter();
            let tools = tools.map(|call| format!(" +{}{}", call.tool_name, call.arguments));
            format!("says {}{}", reply.content, tools.collect::<String>())
        }
        Event::ToolResult { result, .. } => format!("result {} {}", result.success, result.content),
        Event::ToolsSkipped { call_ids, reason } => {
            let why = if reason.contains("denied") {
                "denied"
            } else {
                "lost"
            };
            format!("skipped {} {why}", call_ids.len())
        }
        Event::ApprovalRequired { command, .. } => format!("asked {command}"),
        Event::ApprovalDecision { decision, .. } => format!("decided {decision:?}"),
        Event::TurnEnded { outcome, .. } => format!("{outcome:?}"),
        Event::SessionChanged { title, .. } => format!("title {}", title.as_deref().unwrap()),
        Event::SessionEnd { reason, .. } => format!("end {reason:?}"),
        Event::Error { message, .. } => format!("error {message}"),
        Event::SilentMessage { content, .. } => format!("silent {content}"),
        Event::Unknown => "kept".to_owned(),
        other => format!("{other:?}"),
    }
}

const LS: &str = r#"+bash{"command":"ls"}"#;

#[test]
fn turns_are_found_between_the_messages_and_replies_get_the_calls_that_follow_them() {
    for (what, events, expected) in [
        (
            "plain talk",
            vec![user("a"), says("b"), user("c"), says("d")],
            vec![
                "user a",
                "turn",
                "says b",
                "Completed",
                "user c",
                "turn",
                "says d",
                "Completed",
            ],
        ),
        (
            "calls as events of their own",
            vec![
                user("a"),
                says("look"),
                call("x"),
                result("x", "f"),
                says("done"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says look {LS}"),
                "result true f",
                "says done",
                "Completed",
            ],
        ),
        (
            "two calls at once, whose results come in another order",
            vec![
                user("a"),
                call("x"),
                call("y"),
                result("y", "2"),
                result("x", "1"),
                says("b"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says  {LS} {LS}"),
                "result true 2",
                "result true 1",
                "says b",
                "Completed",
            ],
        ),
        (
            "the calls of a reply told once more",
            vec![
                user("a"),
                json!({"type": "assistant_response", "content": null, "tool_calls": [
                    {"id": "x", "type": "function",
                     "function": {"name": "bash", "arguments": "{\"command\":\"ls\"}"}}]}),
                call("x"),
                result("x", "f"),
                says("b"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says  {LS}"),
                "result true f",
                "says b",
                "Completed",
            ],
        ),
        (
            "a name that is given to the call of each round",
            vec![
                user("a"),
                call("0"),
                result("0", "1"),
                call("0"),
                result("0", "2"),
                says("b"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says  {LS}"),
                "result true 1",
                &format!("says  {LS}"),
                "result true 2",
                "says b",
                "Completed",
            ],
        ),
        (
            "a result after the next call",
            vec![
                user("a"),
                call("x"),
                call("y"),
                result("x", "1"),
                call("z"),
                result("y", "2"),
                result("z", "3"),
                says("b"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says  {LS} {LS}"),
                "result true 1",
                "result true 2",
                &format!("says  {LS}"),
                "result true 3",
                "says b",
                "Completed",
            ],
        ),
        (
            "a message while a tool runs",
            vec![user("a"), call("x"), user("b"), result("x", "1"), says("c")],
            vec![
                "user a",
                "turn",
                &format!("says  {LS}"),
                "user b",
                "result true 1",
                "says c",
                "Completed",
            ],
        ),
        (
            "a result whose call is nowhere",
            vec![
                user("a"),
                json!({"type": "tool_result", "content": "f", "is_error": true}),
            ],
            vec![
                "user a",
                "turn",
                "says  +unknown_tool{}",
                "result false f",
                "Failed",
            ],
        ),
        (
            "what a person decided",
            vec![
                user("a"),
                call("x"),
                json!({"type": "approval_required", "call_id": "x", "command": "ls"}),
                json!({"type": "approval_decision", "call_id": "x", "decision": "allow_always"}),
                result("x", "f"),
                says("b"),
            ],
            vec![
                "user a",
                "turn",
                &format!("says  {LS}"),
                "asked ls",
                "decided AllowAlways",
                "result true f",
                "says b",
                "Completed",
            ],
        ),
        (
            "the rest",
            vec![
                json!({"type": "status_change", "from": "active", "to": "paused"}),
                json!({"type": "silent_message", "sender_id": "7", "content": "psst"}),
                json!({"type": "error", "message": "oh"}),
                json!({"type": "brand_new", "x": 1}),
                json!({"type": "session_adopted"}),
                json!({"type": "user_message", "voice": "hm"}),
                json!({"type": "session_end", "reason": "timeout"}),
            ],
            vec![
                "kept",
                "silent psst",
                "error oh",
                "kept",
                "kept",
                "error an event of Duragent 0.5 (user_message) cannot be read; the log keeps it",
                "kept",
                "end Timeout",
            ],
        ),
    ] {
        let events: Vec<Value> = [start()].into_iter().chain(events).collect();
        assert_eq!(told(&events)[1..], expected, "{what}");
    }
}

#[test]
fn what_was_unfinished_is_ended_and_does_not_go_on() {
    for (what, events, expected) in [
        ("a message", vec![], vec!["turn", "Failed"]),
        (
            "a call",
            vec![call("x")],
            vec!["turn", "says", "skipped 1 lost", "Failed"],
        ),
        (
            "a call with its result",
            vec![call("x"), result("x", "f")],
            vec!["turn", "says", "result true f", "Failed"],
        ),
        (
            "a question",
            vec![
                call("x"),
                json!({"type": "approval_required", "call_id": "x", "command": "ls"}),
            ],
            vec!["turn", "says", "kept", "skipped 1 denied", "Failed"],
        ),
        (
            "a question that comes before its call",
            vec![json!({"type": "approval_required", "call_id": "x", "command": "ls"})],
            vec!["kept", "turn", "Failed"],
        ),
        (
            "what was allowed and not done",
            vec![
                call("x"),
                json!({"type": "approval_required", "call_id": "x", "command": "ls"}),
                json!({"type": "approval_decision", "call_id": "x", "decision": "allow_once"}),
            ],
            vec![
                "turn",
                "says",
                "asked ls",
                "decided AllowOnce",
                "skipped 1 lost",
                "Failed",
            ],
        ),
    ] {
        let events: Vec<Value> = [start(), user("a")].into_iter().chain(events).collect();
        let told = told(&events);
        let short = told[2..]
            .iter()
            .map(|words| words.split(" +").next().unwrap().trim());
        let short: Vec<&str> = short.map(|words| words.trim_end()).collect();
        assert_eq!(short, expected, "{what}");
    }
}

#[test]
fn each_event_keeps_its_time_and_what_stands_between_a_text_and_its_calls_parts_nothing() {
    let events = [
        start(),
        user("a"),
        says("look"),
        json!({"type": "status_change", "from": "active", "to": "paused"}),
        call("x"),
        result("x", "f"),
        says("b"),
        json!({"type": "status_change", "from": "active", "to": "paused"}),
        user("c"),
    ];
    let records = records(&disk_of(&log_of(&events)));
    let told: Vec<String> = records
        .iter()
        .map(|record| {
            let time = record.timestamp.to_string();
            format!("{} {}", &time[17..19], words(&record.event))
        })
        .collect();
    let expected = [
        "00 start ada",
        "01 user a",
        "02 turn",
        &format!("02 says look {LS}"),
        "03 kept",
        "05 result true f",
        "06 says b",
        "07 kept",
        "07 Completed",
        "08 user c",
        "08 turn",
        "08 Failed",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_event_is_read_whatever_object_its_fields_lie_in() {
    for (begin, said) in [
        (json!({"type": "session_start", "agent": "ada"}), user("a")),
        (
            json!({"type": "session_start", "payload": {"agent": "ada"}}),
            json!({"type": "user_message", "payload": {"content": "a", "type": "text"}}),
        ),
        (
            json!({"event_type": "SessionStart", "data": {"agent_name": "ada"}}),
            json!({"event_type": "UserMessage", "data": {"message": {"role": "user", "content": "a"}}}),
        ),
        (
            json!({"event": "session_start", "agent": {"name": "ada"}}),
            json!({"event": "user_message", "content": [{"type": "text", "text": "a"}]}),
        ),
        (
            json!({"event": {"type": "session_start", "agent": "ada"}}),
            json!({"event": {"type": "user_message", "content": {"text": "a"}}}),
        ),
        (
            json!({"session_start": {"config": {"agent": "ada"}}}),
            json!({"user_message": {"text": "a"}}),
        ),
        (
            json!({"type": "session_created", "agent": "ada", "seq": 1}),
            json!({"type": "user", "parts": ["a"], "seq": 2}),
        ),
        (
            json!({"kind": "session_started", "agent_id": "ada", "seq": 17}),
            json!({"kind": "message", "role": "user", "content": "a", "seq": 40, "timestamp": 1767323045}),
        ),
        (
            json!({"type": "SESSION_START", "content": {"agent": "ada"}}),
            json!({"type": "user-message", "content": {"content": "a"}}),
        ),
        (
            json!({"type": "event", "payload": {"type": "session_start", "agent": "ada"}}),
            json!({"type": "event", "payload": {"type": "user_message", "content": "a"}}),
        ),
        (
            json!({"t": "SessionStart", "c": {"agent": "ada"}}),
            json!({"t": "UserMessage", "c": {"content": "a"}}),
        ),
    ] {
        let expected = ["start ada", "user a", "turn", "Failed"];
        assert_eq!(told(&[begin.clone(), said]), expected, "{begin}");
    }
}

#[test]
fn a_type_that_nobody_knows_may_be_a_key_too_and_is_kept() {
    let log = [
        json!({"SessionStart": {"agent": "ada"}}),
        json!({"StatusChange": {"from": "active", "to": "paused"}}),
        json!({"UserMessage": {"content": "a"}}),
    ];
    assert_eq!(
        told(&log),
        ["start ada", "kept", "user a", "turn", "Failed"]
    );
}

#[test]
fn a_result_is_read_whatever_object_it_lies_in() {
    for (found, text) in [
        (
            json!({"type": "message", "role": "tool", "tool_call_id": "x", "content": "f"}),
            "f",
        ),
        (
            json!({"type": "tool_result", "message": {"role": "tool", "tool_call_id": "x", "content": "f"}}),
            "f",
        ),
        (
            json!({"type": "tool_result", "call_id": "x", "tool": {"name": "bash"}, "output": {"code": 0}}),
            r#"{"code":0}"#,
        ),
    ] {
        let call = json!({"type": "tool_call", "call_id": "x",
            "tool": {"name": "bash", "arguments": {"command": "ls"}}});
        let told = told(&[start(), user("a"), call, found.clone(), says("b")]);
        let result = format!("result true {text}");
        let expected = [
            "start ada",
            "user a",
            "turn",
            &format!("says  {LS}"),
            &result,
            "says b",
            "Completed",
        ];
        assert_eq!(told, expected, "{found}");
    }
}

#[test]
fn a_log_made_to_keep_us_busy_is_read_in_time_that_grows_with_its_length() {
    const COUNT: usize = 20_000;
    let calls = |reply: usize| -> Vec<Value> {
        let ids = (0..CALLS_MAX).map(|n| format!("{reply}-{n}"));
        ids.map(|id| json!({"id": id, "name": "bash"})).collect()
    };
    let replies = (0..COUNT / CALLS_MAX)
        .map(|n| json!({"type": "assistant_message", "content": "", "tool_calls": calls(n)}));
    let one_by_one = (0..COUNT).map(|n| call(&n.to_string()));
    let events: Vec<Value> = [start(), user("a")]
        .into_iter()
        .chain(replies)
        .chain(one_by_one)
        .collect();
    let begun = std::time::Instant::now();
    let told = told(&events);
    assert!(
        told.iter()
            .filter(|words| words.starts_with("skipped 128"))
            .count()
            > 300
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    let calls = [calls(0), calls(1)].concat();
    let many = json!({"type": "assistant_message", "content": "", "tool_calls": calls});
    let unread = records(&disk_of(&log_of(&[start(), many])));
    let words: Vec<String> = unread.iter().map(|record| words(&record.event)).collect();
    assert!(
        words[1].starts_with("error an event of Duragent 0.5"),
        "{words:?}"
    );
}

#[test]
fn what_is_kept_can_be_read_however_deep_it_is() {
    for depth in [1, 99, 120, 126] {
        let odd = format!(
            r#"{{"seq":9,"type":"odd","deep":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let log = [
            log_of(&[start(), user("a")]),
            odd.into_bytes(),
            b"\n".to_vec(),
        ]
        .concat();
        let disk = disk_of(&log);
        let store = store_on(disk.clone());
        store.take_over(&id(), now()).unwrap();
        assert!(store.examine(&id()).unwrap().is_whole(), "{depth}");
        assert_eq!(records(&disk).len(), 6, "{depth}");
    }
}

#[test]
fn what_lists_show_is_bounded_and_so_is_what_is_read_at_a_time() {
    let long = "ä".repeat(100_000);
    let begin = json!({"type": "session_start", "agent": long, "gateway": long, "chat_id": long});
    let state = json!({"title": long}).to_string();
    let disk = disk_with(&[
        (folder().log(), &log_of(&[begin])),
        (folder().path().join("state.json"), state.as_bytes()),
    ]);
    let summary = store_on(disk).summary(&id()).unwrap();
    let shown = [
        Some(summary.agent),
        summary.gateway,
        summary.gateway_chat_id,
        summary.title,
    ];
    assert!(shown.iter().flatten().all(|text| text.len() == 512));
    let long = user(&"a".repeat(LINE_BYTES_MAX));
    let refused = store_on(disk_of(&log_of(&[start(), long]))).summary(&id());
    assert!(
        matches!(refused, Err(StoreError::OlderDamaged { line: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_end_of_a_session_counts_from_when_it_was_taken_over() {
    let log = log_of(&[
        start(),
        json!({"type": "session_end", "reason": "completed"}),
    ]);
    let disk = disk_of(&log);
    let store = store_on(disk.clone());
    store.take_over(&id(), now()).unwrap();
    let summary = store.summary(&id()).unwrap();
    assert!(summary.end_reason.is_some());
    assert_eq!(summary.updated_at, now(), "it is not removed for its age");
}

#[test]
fn what_a_log_does_not_say_the_state_file_does() {
    let log = log_of(&[json!({"type": "session_start"}), user("a"), says("b")]);
    let json = br#"{"session_id":"x","agent":"bea","status":"completed","title":"Tea",
        "config":{"on_disconnect":"continue","gateway":"telegram","gateway_chat_id":7}}"#;
    let yaml = b"schema_version: '1'\nagent: bea\nstatus: completed\ntitle: Tea\nconfig:\n  \
        on_disconnect: continue\n  gateway: telegram\n  gateway_chat_id: '7'\n";
    for (name, state) in [
        ("state.json", json.as_slice()),
        ("state.yaml", yaml.as_slice()),
    ] {
        let path = folder().path().join(name);
        let disk = disk_with(&[(folder().log(), &log), (path, state)]);
        for _ in ["as it was", "taken over"] {
            let summary = store_on(disk.clone()).summary(&id()).unwrap();
            assert_eq!(summary.agent, "bea");
            assert_eq!(summary.title.as_deref(), Some("Tea"));
            assert_eq!(summary.chat(), Some(Chat::new("telegram", "7")));
            assert_eq!(summary.status.as_str(), "completed");
            assert_eq!(
                summary.created_at.to_string(),
                "2026-01-02T03:04:00.123456Z"
            );
            store_on(disk.clone()).take_over(&id(), now()).unwrap();
        }
    }
}

#[test]
fn a_log_whose_beginning_was_compacted_away_begins_with_the_conversation_of_the_state_file() {
    let log = log_of(&[
        json!({"type": "user_message", "content": "c", "seq": 9}),
        json!({"type": "assistant_message", "content": "d", "seq": 10}),
        json!({"type": "user_message", "content": "e", "seq": 11}),
    ]);
    let state = json!({"agent": "ada", "last_event_seq": 10, "conversation": [
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"}]});
    let path = folder().path().join("state.json");
    let disk = disk_with(&[(folder().log(), &log), (path, state.to_string().as_bytes())]);
    let records = records(&disk);
    let told: Vec<String> = records.iter().map(|record| words(&record.event)).collect();
    let talk: Vec<&String> = told
        .iter()
        .filter(|words| words.starts_with("user") || words.starts_with("says"))
        .collect();
    assert_eq!(talk, ["user a", "says b", "user c", "says d", "user e"]);
}

#[test]
fn an_older_log_is_told_from_damage_and_a_line_of_it_that_says_nothing_is_named() {
    let good = log_of(&[start(), user("a"), says("b")]);
    let is_older = |log: &[u8]| store_on(disk_of(log)).is_older(&id());
    assert!(is_older(&good).unwrap());
    assert!(is_older(&[b"\xef\xbb\xbf".as_slice(), &good, b"\n  \r\n"].concat()).unwrap());
    for torn in [
        b"{\"seq\":3,\"ty".as_slice(),
        b"rubbish\nmore\n",
        b"\0\0\0\0",
        b"{\"seq\":4}",
    ] {
        let log = [good.as_slice(), torn].concat();
        let store = store_on(disk_of(&log));
        assert!(store.is_older(&id()).unwrap());
        let report = store.examine(&id()).unwrap();
        let told = (report.is_older, report.torn_bytes, report.is_whole());
        assert_eq!(told, (true, torn.len() as u64, true), "{torn:?}");
    }
    for bad in ["rubbish", "{\"seq\":1}", "7", "[]"] {
        let log = [
            &log_of(&[start()]),
            bad.as_bytes(),
            b"\n",
            &log_of(&[user("a")]),
        ]
        .concat();
        let store = store_on(disk_of(&log));
        let refused = store.summary(&id()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::OlderDamaged { line: 2, .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("events.jsonl:2 "), "{refused}");
        assert!(store.take_over(&id(), now()).is_err() && store.repair(&id()).is_err());
        let report = store.examine(&id()).unwrap();
        assert_eq!((report.is_older, report.damage[0].line), (true, 2));
    }
    // Its first line, too, without any that would be ours.
    let rest = log_of(&[user("a"), says("b")]);
    for first in [b"{\"seq\":0,\"ty\n".as_slice(), b"\0\0\n", b"\n\xff\n"] {
        let log = [first, &rest].concat();
        let disk = disk_of(&log);
        let store = store_on(disk.clone());
        let line = first.split(|byte| *byte == b'\n').count() as u64 - 1;
        for refused in [store.summary(&id()).err(), store.open(&id()).err()] {
            let refused = refused.unwrap();
            assert!(
                matches!(&refused, StoreError::OlderDamaged { line: found, .. } if *found == line),
                "{refused}"
            );
        }
        assert_eq!(bytes_of(&disk, &folder().log()).unwrap(), log);
    }
    let blank = [b"\n \r\n".as_slice(), &good].concat();
    assert!(is_older(&blank).unwrap());
    // Nobody says whose it is.
    let report = store_on(disk_of(&rest)).examine(&id()).unwrap();
    let told = (report.is_older, report.is_whole());
    assert_eq!(told, (true, true), "a reply names the agent");
    let report = store_on(disk_of(&log_of(&[user("a")])))
        .examine(&id())
        .unwrap();
    assert!(report.is_older && !report.is_whole());
    // Ours, with damage.
    let ours = crate::store::file::testing::lines(&[2, 1]);
    let lost = [b"rubbish\n".to_vec(), ours[1].clone(), ours[2].clone()].concat();
    let changed = [
        br#"{"seq":1,"timestamp":"2026-01-02T03:04:05Z","type":"session_start","agent":"ada"}
"#
        .to_vec(),
        ours[1].clone(),
        ours[2].clone(),
    ]
    .concat();
    for log in [lost, changed] {
        let store = store_on(disk_of(&log));
        assert!(!store.is_older(&id()).unwrap());
        let refused = store.summary(&id()).unwrap_err();
        assert!(
            matches!(refused, StoreError::Damaged { line: 1, .. }),
            "{refused}"
        );
    }
}

#[test]
fn reading_changes_nothing_and_what_was_read_is_what_stands_there_once_it_is_taken_over() {
    let log = log_of(&[
        start(),
        user("a"),
        says("b"),
        json!({"type": "odd"}),
        user("c"),
        call("x"),
    ]);
    let disk = disk_of(&log);
    let store = store_on(disk.clone());
    let before = records(&disk);
    let Event::UserMessage(message) = &before[1].event else {
        panic!("{before:?}");
    };
    assert!(
        store
            .find_message(&id(), &message.message_id)
            .unwrap()
            .is_some()
    );
    assert!(matches!(store.open(&id()), Err(StoreError::Older(_))));
    assert_eq!(store.repair(&id()).unwrap(), None);
    assert_eq!(bytes_of(&disk, &folder().log()).unwrap(), log);
    assert!(store.take_over(&id(), now()).unwrap());
    assert!(!store.take_over(&id(), now()).unwrap(), "once");
    let after = records(&disk);
    let (adopted, same) = after.split_last().unwrap();
    assert_eq!(same, before);
    assert_eq!(
        (&adopted.event, adopted.timestamp),
        (&Event::SessionAdopted {}, now())
    );
    let kept = folder().path().join("events.jsonl.v05");
    assert_eq!(bytes_of(&disk, &kept).unwrap(), log);
    assert!(store.examine(&id()).unwrap().is_whole());
    let text = String::from_utf8(bytes_of(&disk, &folder().log()).unwrap()).unwrap();
    assert!(text.contains(r#""type":"v05_odd","event":{"#), "{text}");
    drop(store.open(&id()).unwrap());
}

#[test]
fn what_lies_beside_an_older_log_says_nothing_of_ours() {
    let log = log_of(&[start(), user("a")]);
    let other = b"somebody else's".as_slice();
    let kept = folder().path().join("events.jsonl.v05");
    let state = b"agent: ada\ntitle: Tea\n".as_slice();
    let disk = disk_with(&[
        (folder().log(), &log),
        (kept.clone(), other),
        (folder().snapshot(), state),
        (folder().inflight(), b"{}\n"),
    ]);
    store_on(disk.clone()).take_over(&id(), now()).unwrap();
    assert_eq!(
        bytes_of(&disk, &kept).unwrap(),
        other,
        "nothing is overwritten"
    );
    let second = folder().path().join("events.jsonl.v05-2");
    assert_eq!(bytes_of(&disk, &second).unwrap(), log);
    let kept = folder().path().join("state.yaml.v05");
    assert_eq!(bytes_of(&disk, &kept).unwrap(), state);
    assert_eq!(bytes_of(&disk, &folder().snapshot()), None);
    assert_eq!(bytes_of(&disk, &folder().inflight()), None);
}

/// Every operation of a take-over is the last before the power goes, and each of them fails once.
#[test]
fn whatever_interrupts_a_take_over_the_log_is_the_old_one_or_the_new_one() {
    let log = log_of(&[start(), user("a"), call("x"), user("b"), says("c")]);
    let disk = || {
        let state = b"agent: ada\ntitle: Tea\n".as_slice();
        disk_with(&[(folder().log(), &log), (folder().snapshot(), state)])
    };
    let whole = disk();
    let counting = FaultFs::counting(Arc::new(whole.clone()));
    store_on(counting.clone()).take_over(&id(), now()).unwrap();
    let new = bytes_of(&whole.harshest_cut(), &folder().log()).unwrap();
    assert!(new != log);
    for at in 1..=counting.operations() {
        for kind in [FaultKind::Dead, FaultKind::Error(Errno::NOSPC)] {
            let disk = disk();
            let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            let done = store_on(faulty).take_over(&id(), now());
            let cuts = (0..20).map(|seed| disk.cut(&mut fastrand::Rng::with_seed(seed)));
            for cut in cuts.chain([disk.harshest_cut(), disk.clone()]) {
                let found = bytes_of(&cut, &folder().log()).unwrap();
                let is_new = found == new;
                assert!(
                    is_new || found == log && done.is_err(),
                    "operation {at}, {kind:?}"
                );
                assert_eq!(
                    store_on(cut.clone()).take_over(&id(), now()).unwrap(),
                    !is_new
                );
                assert_eq!(
                    bytes_of(&cut, &folder().log()).unwrap(),
                    new,
                    "the same again"
                );
                let kept = folder().path().join("events.jsonl.v05");
                assert_eq!(bytes_of(&cut, &kept).unwrap(), log);
            }
        }
    }
}

proptest::proptest! {
    /// Any order of any events: each step is one that may happen, and nothing is left to do.
    #[test]
    fn any_log_becomes_one_in_which_nothing_goes_on(
        choices in proptest::collection::vec((0..13u8, 0..3u8), 0..40),
    ) {
        let event = |(kind, n): &(u8, u8)| {
            let id = ["x", "y", ""][usize::from(*n)];
            match kind {
                0 => user("a"),
                1 => says("b"),
                2 => says(""),
                3 | 4 => call(id),
                5 | 6 => result(id, "f"),
                7 => json!({"type": "approval_required", "call_id": id, "command": "ls"}),
                8 => json!({"type": "approval_decision", "call_id": id, "decision": "deny"}),
                9 => json!({"type": "assistant_response", "content": "", "usage": {"input_tokens": 1},
                    "tool_calls": [{"call_id": id, "name": "web fetch"}]}),
                10 => json!({"type": "session_end", "reason": "completed"}),
                11 => start(),
                _ => json!({"type": "tool_started", "call_id": id}),
            }
        };
        let events: Vec<Value> = [start()].into_iter().chain(choices.iter().map(event)).collect();
        let told = told(&events);
        let count = |word: &str| told.iter().filter(|words| words.starts_with(word)).count();
        let talk = choices.iter().filter(|(kind, _)| *kind == 0).count();
        proptest::prop_assert_eq!(count("user"), talk);
        let results = choices.iter().filter(|(kind, _)| matches!(kind, 5 | 6)).count();
        proptest::prop_assert_eq!(count("result"), results, "none is lost");
    }
}
