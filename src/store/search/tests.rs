use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::base::fs::{RealFs, SimDisk};
use crate::domain::event::{
    ContextSummary, FinishReason, OnDisconnect, Outcome, SessionStart, Trigger,
};
use crate::domain::story::{self, dropped, message_id, reply, user};
use crate::store::file::FileStore;
use crate::store::memory::MemoryStorage;

/// One store of each kind, as everybody must find the same in both.
fn stores() -> [Arc<dyn SessionStore>; 2] {
    let files = FileStore::new(Arc::new(SimDisk::new()), PathBuf::from("/w"));
    [Arc::new(files), Arc::new(MemoryStorage::default().store())]
}

fn id(n: u64) -> SessionId {
    SessionId::mint(n, 0)
}

fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

/// Session `n`, of second `n`.
fn put(store: &dyn SessionStore, n: u64, owner: Option<&str>, events: Vec<Event>) {
    let start = SessionStart {
        owner: owner.map(str::to_owned),
        ..SessionStart::new("ada", OnDisconnect::Pause)
    };
    let events = [Event::SessionStart(start)].into_iter().chain(events);
    store.create(&id(n), at(n), events.collect()).unwrap();
}

/// What is found in all sessions of nobody in particular, as `session:number snippet`.
fn found(store: &dyn SessionStore, query: &str) -> Vec<String> {
    found_by(store, query, None, None)
}

fn found_by(
    store: &dyn SessionStore,
    query: &str,
    owner: Option<&str>,
    asking: Option<&SessionId>,
) -> Vec<String> {
    let found = search(
        store,
        &MessageSearch {
            query: &WordQuery::new(query),
            since: None,
            limit: 10,
            asking,
            sees: &|_, summary| summary.owner.as_deref() == owner,
            goes_on: &|| true,
        },
    );
    let shown = |one: &FoundMessage| {
        let session = one.session_id.timestamp_ms();
        format!("{session}:{} {}", one.seq, one.snippet)
    };
    found.unwrap().iter().map(shown).collect()
}

fn titled(title: &str) -> Event {
    Event::SessionChanged {
        title: Some(title.to_owned()),
        model: None,
        gateway_chat_id: None,
    }
}

fn turn_ended() -> Event {
    Event::TurnEnded {
        turn_id: story::turn_id(1),
        outcome: Outcome::Completed,
        error: None,
        usage: None,
        cause: Default::default(),
    }
}

#[test]
fn messages_of_both_sides_are_found_and_nothing_else_of_a_log() {
    for store in stores() {
        let mut asking = reply(11, 2, "I look for \"the\\key\".\nNow.");
        asking.tool_calls = vec![story::tool_call(1)];
        put(
            &*store,
            1,
            None,
            vec![
                user(1, "Where is the Schlüssel \u{1}?"),
                story::started(1, Trigger::Message),
                asking.event(),
                story::runs(1),
                story::result(1, "the key is in the drawer"),
            ],
        );
        put(
            &*store,
            2,
            None,
            vec![user(2, "content user_message ada turn_id")],
        );
        assert_eq!(
            found(&*store, "keys"),
            ["1:4 I look for \"the\\key\". Now."]
        );
        assert_eq!(found(&*store, "schlussel").len(), 1);
        assert_eq!(found(&*store, "drawer"), [""; 0]);
        assert_eq!(
            found(&*store, "turn_started"),
            ["2:2 content user_message ada turn_id"]
        );
        assert_eq!(found(&*store, ""), [""; 0]);
    }
}

#[test]
fn the_newest_of_equals_comes_first_and_a_limit_and_a_time_hold() {
    for store in stores() {
        for n in 1..=20 {
            put(&*store, n, None, vec![user(n, "green tea")]);
        }
        let all = found(&*store, "tea");
        let expected: Vec<String> = (11..=20)
            .rev()
            .map(|n| format!("{n}:2 green tea"))
            .collect();
        assert_eq!(all, expected);
        let wanted = |since, goes_on: &dyn Fn() -> bool| {
            let wanted = MessageSearch {
                query: &WordQuery::new("tea"),
                since,
                limit: 50,
                asking: None,
                sees: &|_, _| true,
                goes_on,
            };
            search(&*store, &wanted).unwrap().len()
        };
        assert_eq!(wanted(Some(at(18)), &|| true), 3);
        assert_eq!(wanted(None, &|| true), 20);
        // Who is no longer there wants no more.
        let left = Cell::new(10);
        let goes_on = || {
            left.set(left.get() - 1);
            left.get() > 0
        };
        assert!(wanted(None, &goes_on) < 20);
        assert!(left.get() >= -2);
    }
}

#[test]
fn sessions_are_searched_that_are_there_for_who_asks_also_where_that_changed() {
    for store in stores() {
        put(&*store, 1, None, vec![user(1, "tea for the owner")]);
        put(&*store, 2, Some("token:bob"), vec![user(2, "tea for bob")]);
        let adopted = vec![
            user(3, "tea of old"),
            Event::SessionAdopted {},
            user(4, "tea now"),
        ];
        put(&*store, 3, Some("token:bob"), adopted);
        let sorted = |mut found: Vec<String>| {
            found.sort();
            found
        };
        assert_eq!(
            found_by(&*store, "tea", Some("token:bob"), None),
            ["2:2 tea for bob"]
        );
        assert_eq!(
            sorted(found(&*store, "tea")),
            ["1:2 tea for the owner", "3:2 tea of old", "3:4 tea now"]
        );
    }
}

#[test]
fn what_was_withdrawn_is_not_found_and_the_parts_of_a_reply_are_one() {
    for store in stores() {
        put(
            &*store,
            1,
            None,
            vec![
                user(1, "milk"),
                user(2, "tea please"),
                dropped(2),
                story::started(1, Trigger::Message),
                reply(11, 2, "tea with")
                    .but(FinishReason::Interrupted)
                    .event(),
                reply(12, 2, "a little tea").continuing(11).event(),
            ],
        );
        let found = search(
            &*store,
            &MessageSearch {
                query: &WordQuery::new("tea"),
                since: None,
                limit: 10,
                asking: None,
                sees: &|_, _| true,
                goes_on: &|| true,
            },
        )
        .unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message_id, message_id(11));
        assert_eq!((&*found[0].role, &*found[0].agent), ("assistant", "ada"));
    }
}

#[test]
fn a_title_counts_for_its_messages_and_stands_by_its_first_one() {
    for store in stores() {
        put(
            &*store,
            1,
            None,
            vec![user(1, "hotels near the station"), titled("Kyoto")],
        );
        put(
            &*store,
            2,
            None,
            vec![user(2, "kyoto hotels"), user(3, "kyoto"), titled("Kyoto")],
        );
        let all = found(&*store, "Kyoto");
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], "2:3 kyoto");
        assert!(all.contains(&"1:2 hotels near the station".to_owned()));
    }
}

#[test]
fn the_question_itself_is_not_the_answer() {
    for store in stores() {
        put(
            &*store,
            1,
            None,
            vec![
                user(1, "the deploy key is blue"),
                story::started(1, Trigger::Message),
                reply(11, 2, "noted").event(),
                turn_ended(),
                user(2, "search for the deploy key"),
            ],
        );
        let own = id(1);
        assert_eq!(
            found_by(&*store, "deploy key", None, Some(&own)),
            ["1:2 the deploy key is blue"]
        );
        assert_eq!(found(&*store, "deploy key").len(), 2);
    }
}

#[test]
fn what_a_summary_left_out_of_the_turn_at_work_is_found() {
    for store in stores() {
        let later = |n: u64, summary: ContextSummary| {
            vec![
                user(n, "the deploy key is blue"),
                story::started(1, Trigger::Message),
                reply(10 * n + 1, 2, "the deploy key it is").event(),
                summary.into(),
                reply(10 * n + 2, 2, "what was the deploy key?").event(),
            ]
        };
        let failed = ContextSummary {
            text: None,
            ..story::summary(4, "")
        };
        put(&*store, 1, None, later(1, story::summary(2, "blue things")));
        put(&*store, 2, None, later(2, failed));
        for (n, expected) in [(1, &["1:2 the deploy key is blue"][..]), (2, &[])] {
            let mut own = found_by(&*store, "deploy key", None, Some(&id(n)));
            own.retain(|one| one.starts_with(&format!("{n}:")));
            assert_eq!(own, expected);
        }
    }
}

#[test]
fn a_line_that_is_damaged_is_not_shown_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().join("sessions");
    let store = FileStore::with_sessions_in(Arc::new(RealFs), folder.path(), sessions.clone());
    put(
        &store,
        1,
        None,
        vec![user(1, "tea alpha"), user(2, "tea beta")],
    );
    put(&store, 2, None, vec![user(3, "tea gamma")]);
    let log = sessions.join(id(1).as_str()).join("events.jsonl");
    let mut bytes = std::fs::read(&log).unwrap();
    let place = memmem::find(&bytes, b"alpha").unwrap();
    bytes[place] = b'x';
    std::fs::write(&log, &bytes).unwrap();
    let found = found(&store, "tea");
    assert!(found.contains(&"2:2 tea gamma".to_owned()), "{found:?}");
    assert!(!found.iter().any(|one| one.contains("xlpha")), "{found:?}");
}

#[test]
fn the_end_of_a_json_string_is_found() {
    for text in ["", "a", "a\"b", "\\", "\\\\\"", "a\\", "ä\"ö"] {
        let json = serde_json::to_string(text).unwrap() + ",\"x\":\"y\"";
        let end = end_of_string(&json.as_bytes()[1..]).unwrap();
        assert_eq!(
            serde_json::from_str::<String>(&json[..end + 2]).unwrap(),
            text
        );
    }
    assert_eq!(end_of_string(b"abc\\\""), None);
}
