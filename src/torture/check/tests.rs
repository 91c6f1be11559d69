//! Planted violations, each of which must be found.

use super::*;
use crate::domain::event::{OnDisconnect, SaidBy, SessionStart, UserMessage};
use crate::domain::ids::{MessageId, Seq, SourceId};
use crate::domain::time::Timestamp;
use crate::torture::ledger::SeenEvent;
use serde_json::json;

const KEY: &str = "key-1";

fn message_id(number: u128) -> MessageId {
    MessageId::mint(1, number)
}

fn turn_id(number: u128) -> TurnId {
    TurnId::mint(1, number)
}

fn started(turn: u128, trigger: Trigger) -> Event {
    Event::TurnStarted {
        turn_id: turn_id(turn),
        trigger,
    }
}

fn asked(number: u128, key: &str, content: &str) -> Event {
    Event::from(UserMessage {
        source_id: Some(SourceId::parse(key).unwrap()),
        ..UserMessage::new(message_id(number), content)
    })
}

fn reply(number: u128, content: &str, continues: Option<u128>) -> Event {
    Event::from(AssistantResponse {
        turn_id: turn_id(1),
        message_id: message_id(number),
        agent: "a".to_owned(),
        model: "echo/echo".to_owned(),
        input_seq: Seq(3),
        content: content.to_owned().into(),
        tool_calls: Vec::new(),
        usage: None,
        finish_reason: FinishReason::Stop,
        continues: continues.map(message_id),
        provider_data: None,
        attachments: Vec::new(),
    })
}

fn cut_off(number: u128, content: &str) -> Event {
    let mut event = reply(number, content, None);
    if let Event::AssistantResponse(part) = &mut event {
        std::sync::Arc::make_mut(part).finish_reason = FinishReason::Interrupted;
    }
    event
}

fn ended(outcome: Outcome, code: Option<&str>) -> Event {
    Event::TurnEnded {
        turn_id: turn_id(1),
        outcome,
        error: code.map(|code| Failure {
            code: code.to_owned(),
            message: "so it is".to_owned(),
        }),
        usage: None,
        cause: SaidBy::default(),
    }
}

/// A message that was answered over a crash.
fn story() -> Vec<Event> {
    vec![
        Event::SessionStart(SessionStart::new("a", OnDisconnect::Pause)),
        asked(1, KEY, "hi there"),
        started(1, Trigger::Message),
        cut_off(2, "hi "),
        started(1, Trigger::Resume),
        reply(3, "there", Some(2)),
        ended(Outcome::Completed, None),
    ]
}

fn records(events: Vec<Event>) -> Vec<Record> {
    (1..)
        .zip(events)
        .map(|(seq, event)| Record {
            seq: Seq(seq),
            timestamp: Timestamp::from_micros(0),
            cont: false,
            event,
        })
        .collect()
}

fn seen(id: &str, name: &str, data: serde_json::Value) -> SeenEvent {
    SeenEvent {
        id: id.to_owned(),
        name: name.to_owned(),
        data,
    }
}

/// What a watcher of the story saw.
fn watched() -> Vec<SeenEvent> {
    let message = json!({"message_id": message_id(2), "content": "hi there"});
    vec![
        seen(
            "2",
            "user_message",
            json!({"message_id": message_id(1), "content": "hi there"}),
        ),
        seen("3+3", "token", json!({"content": "hi "})),
        seen("5+5", "token", json!({"content": "there"})),
        seen("6", "message", message),
        seen("7", "done", json!({"message_id": message_id(2)})),
    ]
}

fn ledger() -> SessionLedger {
    let mut known = SessionLedger::new(OnDisconnect::Pause, 1);
    known.sent.push(Sent {
        key: KEY.to_owned(),
        content: "hi there".to_owned(),
        answer: "hi there".to_owned(),
        acknowledged: Some(message_id(1).to_string()),
        outcome: Some(SeenOutcome::Answered {
            message_id: message_id(2).to_string(),
            text: "hi there".to_owned(),
        }),
    });
    known.watchers[0] = watched();
    known.is_over = true;
    known
}

/// What is found when both are changed so.
fn found(change: impl FnOnce(&mut Vec<Event>, &mut SessionLedger)) -> String {
    let (mut events, mut known) = (story(), ledger());
    change(&mut events, &mut known);
    check_session(&known, &records(events), Stage::Finished).join("; ")
}

#[test]
fn a_story_that_keeps_every_promise_has_no_violation() {
    assert_eq!(found(|_, _| {}), "");
}

#[test]
fn every_broken_promise_is_found() {
    type Change = fn(&mut Vec<Event>, &mut SessionLedger);
    let cases: [(&str, Change, &str); 14] = [
        (
            "a wrong answer that nobody waited for",
            |events, known| {
                known.sent[0].outcome = Some(SeenOutcome::Ended);
                events[5] = reply(3, "hi there", Some(2));
            },
            "is \"hi hi there\", not",
        ),
        (
            "a try that does not count",
            |events, _| drop(events.remove(4)),
            "no try was noted",
        ),
        (
            "a lost message",
            |events, _| drop(events.remove(1)),
            "is lost",
        ),
        (
            "a message stored twice",
            |events, _| events.insert(2, asked(7, KEY, "hi there")),
            "stored twice",
        ),
        (
            "another text",
            |events, _| events[1] = asked(1, KEY, "hi where"),
            "has other content",
        ),
        (
            "a message of nobody",
            |events, _| events.insert(2, asked(7, "other", "x")),
            "nobody sent",
        ),
        (
            "a turn run twice",
            |events, _| events.push(started(1, Trigger::Resume)),
            "goes on after its end",
        ),
        (
            "a turn ended twice",
            |events, _| events.push(ended(Outcome::Completed, None)),
            "goes on after its end",
        ),
        (
            "a second reply",
            |events, _| events.insert(6, reply(9, "again", None)),
            "answered twice",
        ),
        ("no end", |events, _| drop(events.pop()), "never ended"),
        (
            "given up too early",
            |events, _| events[6] = ended(Outcome::Failed, Some("too_many_tries")),
            "after 1 tries",
        ),
        (
            "a panic",
            |events, _| events[6] = ended(Outcome::Failed, Some("internal_error")),
            "internal_error",
        ),
        (
            "an answer that lacks a byte",
            |events, _| events[5] = reply(3, "ther", Some(2)),
            "the log has \"hi ther\"",
        ),
        (
            "a client that saw less",
            |_, known| {
                known.sent[0].outcome = Some(SeenOutcome::Answered {
                    message_id: message_id(2).to_string(),
                    text: "hi here".to_owned(),
                });
            },
            "a client saw \"hi here\"",
        ),
    ];
    for (name, change, expected) in cases {
        let found = found(change);
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[test]
fn every_fault_of_a_stream_is_found() {
    type Change = fn(&mut Vec<SeenEvent>);
    let cases: [(&str, Change, &str); 8] = [
        (
            "a token twice",
            |seen| seen.insert(2, seen[1].clone()),
            "twice or out of order",
        ),
        (
            "a token twice under another id",
            |watched| watched.insert(2, seen("4+3", "token", json!({"content": "hi "}))),
            "tokens spelt \"hi hi there\"",
        ),
        (
            "a missing byte",
            |watched| watched[2] = seen("5+4", "token", json!({"content": "here"})),
            "tokens spelt \"hi here\"",
        ),
        ("out of order", |seen| seen.swap(1, 2), "out of order"),
        (
            "a rewind",
            |watched| watched.insert(2, seen("4", "rewind", json!({"bytes": 1}))),
            "a rewind event",
        ),
        (
            "a lost event",
            |seen| drop(seen.remove(0)),
            "saw Some(Message",
        ),
        ("a lost end", |seen| drop(seen.pop()), "was not shown"),
        (
            "more than the log has",
            |watched| watched.push(seen("8", "notice", json!({"code": "x"}))),
            "saw Some(Notice",
        ),
    ];
    for (name, change, expected) in cases {
        let found = found(|_, known| change(&mut known.watchers[0]));
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[test]
fn in_the_middle_a_beginning_is_enough() {
    let mut known = ledger();
    known.sent[0].outcome = None;
    known.watchers[0].truncate(3);
    let half = records(story()[..6].to_vec());
    let none: Vec<String> = Vec::new();
    assert_eq!(check_session(&known, &half, Stage::Interrupted), none);
    known.sent[0].acknowledged = None;
    let before = records(story()[..1].to_vec());
    known.watchers[0].clear();
    assert_eq!(check_session(&known, &before, Stage::Interrupted), none);
}

#[test]
fn a_gap_in_the_numbers_is_found() {
    let mut gapped = records(story());
    gapped.remove(3);
    let found = check_session(&ledger(), &gapped, Stage::Finished);
    assert!(found[0].contains("event 4 has the number 5"), "{found:?}");
}

#[test]
fn without_a_client_only_recovery_may_write() {
    let pauses = Event::StatusChange {
        from: crate::domain::event::Status::Active,
        to: crate::domain::event::Status::Paused,
    };
    let before = story()[..3].to_vec();
    let recovered = [before.clone(), vec![cut_off(2, "hi "), pauses]].concat();
    assert!(stood_still(before.len(), &records(recovered)));
    assert!(!stood_still(before.len(), &records(story())));
}
