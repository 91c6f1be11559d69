use proptest::prelude::*;

use super::*;
use crate::domain::event::{FILES_WITHHELD, Outcome, Trigger, UserMessage};
use crate::domain::step::{Step, next_step};
use crate::domain::story::*;

/// The history and the inbox in a few words.
fn told(state: &SessionState) -> Vec<String> {
    let entries = state.history.entries().map(|entry| match entry {
        Entry::User(message) => format!("user {}", message.content),
        Entry::Assistant(reply) => format!("model {}", reply.content),
        Entry::Tool {
            call_id, output, ..
        } => format!("{call_id} {}", output.content),
    });
    let inbox = state.inbox.iter();
    entries
        .chain(inbox.map(|unseen| format!("unseen {}", unseen.message.content)))
        .collect()
}

fn calls_of(state: &SessionState) -> Vec<Progress> {
    let turn = state.turn.as_ref().unwrap();
    turn.calls
        .iter()
        .map(|call| call.progress.clone())
        .collect()
}

/// Turn 1 with a question (2), its start (3) and a reply (4) that asks for calls 1 and 2.
fn with_two_calls(then: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let begun = [
        user(1, "when?"),
        started(1, Trigger::Message),
        reply(11, 3, "let me see").asking(&[1, 2]).event(),
    ];
    log(begun.into_iter().chain(then))
}

#[test]
fn files_that_were_refused_are_withheld_from_then_on_and_those_that_come_later_are_not() {
    let brings = |n| {
        Event::from(UserMessage {
            attachments: vec![Attachment {
                mime: "image/png".to_owned(),
                ..Attachment::default()
            }],
            ..user_message(n, "look")
        })
    };
    let refused = Event::Error {
        code: FILES_WITHHELD.to_owned(),
        message: "no".to_owned(),
    };
    let started = started(1, Trigger::Message);
    let events = [
        brings(1),
        started,
        reply(2, 3, "?").event(),
        brings(3),
        refused.clone(),
        brings(4),
    ];
    let mut state = SessionState::new(Limits::none());
    let events = [start()].into_iter().chain(events).enumerate();
    for (place, event) in events {
        state.apply(&record(place as u64 + 1, event));
    }
    let messages = state.conversation();
    let files = messages.iter().flat_map(|message| match message {
        Message::User { attachments, .. } => attachments.as_slice(),
        _ => &[],
    });
    let withheld: Vec<bool> = files.map(|file| file.is_withheld).collect();
    // What came before a reply was taken.
    assert_eq!(withheld, [false, true, false]);
    for expected in [[false, true, true], [true, true, true]] {
        let seq = state.summary.last_seq.next().0;
        state.apply(&record(seq, refused.clone()));
        let messages = state.conversation();
        let files = messages.iter().flat_map(|message| match message {
            Message::User { attachments, .. } => attachments.as_slice(),
            _ => &[],
        });
        let withheld: Vec<bool> = files.map(|file| file.is_withheld).collect();
        assert_eq!(withheld, expected);
    }
}

#[test]
fn a_message_stored_while_a_call_runs_comes_after_the_reply_and_the_results_of_its_calls() {
    let mut records = log([
        user(1, "one"),
        started(1, Trigger::Message),
        user(2, "two"),
        reply(11, 3, "reply").asking(&[1, 2]).event(),
        runs(1),
        user(3, "three"),
        result(1, "r1"),
        result(2, "r2"),
    ]);
    let state = fold(&records);
    let seen = ["user one", "model reply", "call_1 r1", "call_2 r2"];
    let unseen = ["unseen two", "unseen three"];
    assert_eq!(told(&state), [&seen[..], &unseen].concat());

    records.push(record(10, reply(12, 7, "second").event()));
    let seen = [&seen[..], &["user two", "user three", "model second"]].concat();
    assert_eq!(told(&fold(&records)), seen);
}

#[test]
fn the_next_call_contains_the_messages_that_none_has_contained() {
    let state = fold(&log([
        user(1, "one"),
        started(1, Trigger::Message),
        user(2, "two"),
        reply(11, 3, "reply").event(),
    ]));
    let conversation = state.conversation();
    let Some(Message::User { text, .. }) = conversation.last() else {
        panic!("{conversation:?}");
    };
    assert_eq!(&**text, "two");
}

#[test]
fn a_reply_that_was_cut_off_is_followed_by_the_instruction_to_go_on() {
    let cut = reply(11, 3, "half a").but(FinishReason::Interrupted);
    let state = fold(&log([
        user(1, "one"),
        started(1, Trigger::Message),
        cut.event(),
    ]));
    let conversation = state.conversation();
    assert!(matches!(&conversation[1], Message::Assistant(reply) if reply.text == *"half a"));
    assert!(matches!(&conversation[2], Message::User { text, .. } if text == CONTINUE_INSTRUCTION));
    assert_eq!(conversation.len(), 3);
}

#[test]
fn the_end_of_a_turn_counts_what_was_stored_before_as_seen() {
    for outcome in [Outcome::Completed, Outcome::Cancelled, Outcome::Failed] {
        let state = fold(&log([
            user(1, "one"),
            started(1, Trigger::Message),
            user(2, "two"),
            ended(1, outcome),
            user(3, "three"),
        ]));
        assert_eq!(told(&state), ["user one", "user two", "unseen three"]);
        assert_eq!(state.turn, None);
        assert!(state.summary.unfinished);
    }
}

#[test]
fn a_cancelled_turn_keeps_the_partial_reply_and_answers_its_calls() {
    let cancelled = [skipped(&[1, 2]), ended(1, Outcome::Cancelled)];
    let state = fold(&with_two_calls(cancelled));
    assert_eq!(
        told(&state),
        [
            "user when?",
            "model let me see",
            "call_1 cancelled",
            "call_2 cancelled"
        ]
    );
    let partial = reply(11, 3, "half").but(FinishReason::Cancelled);
    let state = fold(&log([
        user(1, "one"),
        started(1, Trigger::Message),
        partial.event(),
        ended(1, Outcome::Cancelled),
    ]));
    assert_eq!(told(&state), ["user one", "model half"]);
    assert!(!state.summary.unfinished);
}

#[test]
fn tries_are_counted_until_the_turn_gets_anywhere() {
    let resume = || started(1, Trigger::Resume);
    let restart = || started(1, Trigger::Restart);
    let cut = || reply(12, 4, "half").but(FinishReason::Interrupted).event();
    for (then, tries) in [
        (vec![], 0),
        (vec![resume()], 1),
        (vec![resume(), resume()], 2),
        (vec![resume(), restart()], 1),
        (vec![resume(), runs(1)], 1),
        (vec![resume(), result(1, "r")], 0),
        (vec![resume(), result(1, "r"), resume()], 1),
        (vec![resume(), skipped(&[1])], 0),
        (vec![result(1, "r"), result(2, "r"), resume(), cut()], 1),
        (
            vec![
                result(1, "r"),
                result(2, "r"),
                resume(),
                reply(12, 4, "x").event(),
            ],
            0,
        ),
    ] {
        let state = fold(&with_two_calls(then.clone()));
        assert_eq!(state.turn.unwrap().tries, tries, "{then:?}");
    }
}

#[test]
fn only_replies_that_ask_for_tools_are_rounds() {
    let both = || [result(1, "r"), result(2, "r")];
    let then = |more: Vec<Event>| both().into_iter().chain(more).collect::<Vec<_>>();
    for (events, rounds) in [
        (vec![], 1),
        (then(vec![]), 1),
        (then(vec![reply(12, 6, "so").event()]), 1),
        (then(vec![reply(12, 6, "").asking(&[3]).event()]), 2),
        (
            then(vec![
                reply(12, 6, "so").event(),
                user(2, "and?"),
                reply(13, 8, "").asking(&[3]).event(),
            ]),
            2,
        ),
        // Calls of half a reply never run.
        (
            then(vec![
                reply(12, 6, "so")
                    .asking(&[3])
                    .but(FinishReason::Interrupted)
                    .event(),
            ]),
            1,
        ),
    ] {
        let state = fold(&with_two_calls(events.clone()));
        assert_eq!(state.turn.unwrap().tool_rounds, rounds, "{events:?}");
    }
}

#[test]
fn an_estimate_is_corrected_by_what_the_call_contained_and_not_by_what_came_later() {
    let words = "x".repeat(40_000);
    let state = fold(&log([
        user(1, &words),
        started(1, Trigger::Message),
        user(2, &words),
        reply(11, 3, "so").costing(20_000, 1).event(),
    ]));
    // 40,016 bytes are 10,004 tokens: the message that the call did not contain does not count.
    assert_eq!(state.history.marks().percent, 199);
}

#[test]
fn a_call_progresses_by_its_own_events_only() {
    use Progress::*;
    let once = Decision::AllowOnce;
    let parked = |n| Parked { on: awaited(n) };
    for (then, expected) in [
        (vec![], [Waiting, Waiting]),
        (vec![runs(1)], [Started, Waiting]),
        (vec![runs(1), result(1, "r")], [Done, Waiting]),
        (vec![runs(3), result(3, "r")], [Waiting, Waiting]),
        (vec![asks(1)], [Asked, Waiting]),
        (vec![asks(1), decides(1, once)], [Decided(once), Waiting]),
        (vec![asks(1), decides(2, once)], [Asked, Waiting]),
        (vec![asks(1), decides(1, once), runs(1)], [Started, Waiting]),
        (vec![result(1, "r"), runs(1), asks(1)], [Done, Waiting]),
        (vec![skipped(&[2, 1, 3])], [Done, Done]),
        (vec![runs(1), parks(1)], [parked(1), Waiting]),
        (vec![runs(1), parks(1), result(1, "r")], [Done, Waiting]),
        (vec![runs(1), parks(1), asks(2)], [parked(1), Asked]),
        (vec![parks(1), asks(2), parks(2)], [Waiting, Asked]),
        (vec![result(1, "r"), parks(1)], [Done, Waiting]),
    ] {
        let state = fold(&with_two_calls(then.clone()));
        assert_eq!(calls_of(&state), expected, "{then:?}");
    }
}

#[test]
fn calls_are_known_as_parked_until_they_have_a_result_or_are_moot() {
    let both = || vec![runs(1), runs(2), parks(2), parks(1)];
    let then = |more: Vec<Event>| both().into_iter().chain(more).collect::<Vec<_>>();
    for (events, expected) in [
        (vec![runs(1)], vec![]),
        (then(vec![]), vec![1, 2]),
        (then(vec![user(2, "hurry")]), vec![1, 2]),
        (then(vec![result(2, "r")]), vec![1]),
        (then(vec![result(2, "r"), result(2, "again")]), vec![1]),
        (then(vec![result(1, "r"), result(2, "r")]), vec![]),
        (then(vec![skipped(&[1])]), vec![2]),
        (then(vec![ended(1, Outcome::Cancelled)]), vec![]),
        (then(vec![Event::SessionAdopted {}]), vec![]),
    ] {
        let state = fold(&with_two_calls(events.clone()));
        let parked: Vec<AwaitedId> = state.parked_calls().map(|one| one.on.clone()).collect();
        let expected: Vec<AwaitedId> = expected.into_iter().map(awaited).collect();
        assert_eq!(parked, expected, "{events:?}");
        assert_eq!(state.summary.is_parked(), !expected.is_empty());
        assert_eq!(state.summary.parked_calls.len(), expected.len());
    }
    let paused = fold(&with_two_calls(then(vec![pauses()])));
    assert!(!paused.summary.is_parked());
}

#[test]
fn a_result_that_comes_late_stands_with_the_others_and_counts_once() {
    let state = fold(&with_two_calls([
        runs(1),
        parks(1),
        result(2, "r2"),
        user(2, "and?"),
        result(1, "r1"),
        result(1, "once more"),
    ]));
    assert_eq!(
        told(&state),
        [
            "user when?",
            "model let me see",
            "call_2 r2",
            "call_1 r1",
            "unseen and?"
        ]
    );
}

#[test]
fn only_a_tool_that_has_begun_parks_its_call() {
    let allows = |then: Vec<Event>, event: Event| {
        let state = fold(&with_two_calls(then));
        state.allows(&event).is_ok()
    };
    assert!(allows(vec![runs(1)], parks(1)));
    // Of something else, for instance, than it was going to wait for.
    assert!(allows(vec![runs(1), parks(1)], parks(1)));
    assert!(allows(vec![runs(1), parks(1)], result(1, "r")));
    for (then, event) in [
        (vec![], parks(1)),
        (vec![runs(1)], parks(2)),
        (vec![runs(1), parks(1), result(1, "r")], parks(1)),
        (vec![runs(1), parks(1), result(1, "r")], result(1, "r")),
        (vec![asks(1)], parks(1)),
    ] {
        assert!(!allows(then.clone(), event.clone()), "{then:?} {event:?}");
    }
}

#[test]
fn the_first_decision_counts() {
    let state = fold(&with_two_calls([
        asks(1),
        decides(1, Decision::Deny),
        decides(1, Decision::AllowOnce),
    ]));
    assert_eq!(calls_of(&state)[0], Progress::Decided(Decision::Deny));
    assert_eq!(state.approval(), None);
}

#[test]
fn an_open_question_is_known_until_it_is_decided_or_moot() {
    let is_open = |then: Vec<Event>| {
        let state = fold(&with_two_calls(then));
        let asked = state.approval().map(|open| open.call_id.clone());
        assert_eq!(asked, state.summary.pending_call);
        asked.is_some()
    };
    assert!(is_open(vec![asks(1)]));
    assert!(is_open(vec![asks(1), user(2, "hurry")]));
    assert!(is_open(vec![asks(1), decides(2, Decision::Deny)]));
    assert!(is_open(vec![asks(1), skipped(&[2])]));
    assert!(!is_open(vec![asks(1), decides(1, Decision::Deny)]));
    assert!(!is_open(vec![asks(1), result(1, "r")]));
    assert!(!is_open(vec![asks(1), skipped(&[1, 2])]));
    assert!(!is_open(vec![asks(1), ended(1, Outcome::Failed)]));
}

#[test]
fn a_dropped_message_is_neither_shown_nor_counted() {
    let state = fold(&log([user(1, "one"), user(2, "two"), dropped(1)]));
    assert_eq!(told(&state), ["unseen two"]);
    assert_eq!(state.summary.message_count, 1);
    assert_eq!(state.summary.user_messages, 2);
}

#[test]
fn messages_are_counted_as_readers_see_them() {
    let cut = reply(11, 3, "half").but(FinishReason::Interrupted);
    for (events, count) in [
        (vec![], 0),
        (vec![user(1, "a")], 1),
        (vec![user(1, "a"), reply(11, 2, "b").event()], 2),
        (vec![reply(11, 2, "").asking(&[1]).event()], 0),
        (
            vec![cut.event(), reply(12, 3, "more").continuing(11).event()],
            1,
        ),
    ] {
        let state = fold(&log(events.clone()));
        assert_eq!(state.summary.message_count, count, "{events:?}");
    }
}

#[test]
fn usage_is_summed_for_the_turn_and_for_the_session() {
    let state = fold(&log([
        user(1, "a"),
        started(1, Trigger::Message),
        reply(11, 3, "b").costing(10, 5).event(),
        ended(1, Outcome::Completed),
        user(2, "c"),
        started(2, Trigger::Message),
        reply(12, 7, "")
            .in_turn(2)
            .asking(&[1])
            .costing(20, 1)
            .event(),
        result(1, "r"),
        reply(13, 9, "d").in_turn(2).costing(30, 2).event(),
    ]));
    assert_eq!(state.turn.unwrap().usage, Usage::new(50, 3));
    assert_eq!(state.summary.usage, Usage::new(60, 8));
}

#[test]
fn status_follows_its_events_and_ends_with_the_session() {
    let end = || Event::session_end(EndReason::Timeout);
    let runs_alone = Event::StatusChange {
        from: Status::Active,
        to: Status::Running,
    };
    for (events, status) in [
        (vec![], Status::Active),
        (vec![pauses()], Status::Paused),
        (vec![pauses(), wakes()], Status::Active),
        (vec![runs_alone], Status::Active),
        (vec![end()], Status::Completed),
    ] {
        assert_eq!(fold(&log(events)).summary.status, status);
    }
    let over = fold(&with_two_calls([asks(1), end()]));
    assert!(over.is_over());
    assert_eq!(over.turn, None);
    assert_eq!(over.summary.end_reason, Some(EndReason::Timeout));
    assert_eq!(over.summary.pending_call, None);
    assert!(!over.summary.unfinished);
}

#[test]
fn a_detached_message_detaches_its_turn() {
    let detached = || {
        Event::from(UserMessage {
            detached: true,
            ..user_message(2, "go on without me")
        })
    };
    let start = || started(1, Trigger::Message);
    for (events, is_detached) in [
        (vec![user(1, "a"), start()], false),
        (vec![user(1, "a"), detached(), start()], true),
        (vec![user(1, "a"), start(), detached()], true),
    ] {
        assert_eq!(fold(&log(events)).turn.unwrap().detached, is_detached);
    }
}

#[test]
fn settings_change_one_by_one() {
    let change = |title: Option<&str>, model: Option<&str>| Event::SessionChanged {
        title: title.map(str::to_owned),
        model: model.map(str::to_owned),
        gateway_chat_id: None,
    };
    let summary = fold(&log([
        change(Some("a"), None),
        change(None, Some("m")),
        change(Some("b"), None),
        // It is no chat's.
        Event::SessionChanged {
            title: None,
            model: None,
            gateway_chat_id: Some("7".to_owned()),
        },
    ]))
    .summary;
    assert_eq!(summary.title.as_deref(), Some("b"));
    assert_eq!(summary.model.as_deref(), Some("m"));
    assert_eq!(summary.gateway_chat_id, None);
}

#[test]
fn an_unknown_event_moves_nothing_but_the_end() {
    let before = fold(&with_two_calls([]));
    let mut after = before.clone();
    after.apply(&record(5, Event::Unknown));
    let expected = Summary {
        last_seq: Seq(5),
        updated_at: Timestamp::from_micros(5),
        ..before.summary.clone()
    };
    assert_eq!(
        after,
        SessionState {
            summary: expected,
            ..before
        }
    );
}

#[test]
fn marks_cover_the_last_thousand_messages_and_stay_few() {
    let mut state = SessionState::new(Limits::none());
    let mut summary = Summary::empty();
    for (seq, event) in (1..).zip(
        [start()]
            .into_iter()
            .chain((1..=3500).map(|n| user(n, "hi"))),
    ) {
        let record = record(seq, event);
        state.apply(&record);
        summary.apply(&record);
        // Message `n` is event `n + 1`.
        let messages = seq - 1;
        let oldest_keyed = messages.saturating_sub(KEYED_MESSAGES) + 2;
        let from = summary.keys_from().0;
        assert!(from <= oldest_keyed, "after {messages}: from {from}");
        assert!(
            oldest_keyed - from <= 200 || messages <= 1100,
            "{messages}: {from}"
        );
        assert!(summary.key_marks.len() <= 11);
    }
    assert_eq!(state.summary, summary);
}

#[test]
fn what_cannot_happen_now_is_refused_with_the_reason() {
    let fresh = || Vec::new();
    let begun = || log([]);
    let working = || with_two_calls([]);
    let asking = || with_two_calls([asks(1)]);
    let done = || with_two_calls([result(1, "r"), result(2, "r")]);
    let over = || log([Event::session_end(EndReason::Completed)]);
    let end = |n| ended(n, Outcome::Completed);
    let late = |n| reply(12, 4, "x").in_turn(n).event();
    let deny = |n| decides(n, Decision::Deny);
    for (records, event, refused) in [
        (fresh(), start(), None),
        (fresh(), user(1, "a"), Some("the session has not begun")),
        (begun(), start(), Some("the session has begun")),
        (begun(), user(1, "a"), None),
        (begun(), started(1, Trigger::Message), None),
        (begun(), late(1), Some("does not wait for a reply")),
        (begun(), end(1), Some("not the unfinished one")),
        (begun(), runs(1), Some("no call of that id is open")),
        (begun(), asks(1), Some("another is pending, or")),
        (begun(), deny(1), Some("nothing of that id is pending")),
        (begun(), Event::Unknown, Some("cannot write it")),
        (working(), user(2, "b"), None),
        (working(), started(1, Trigger::Resume), None),
        (
            working(),
            started(2, Trigger::Message),
            Some("another turn is"),
        ),
        (working(), late(1), Some("does not wait for a reply")),
        (working(), end(2), Some("not the unfinished one")),
        (working(), end(1), None),
        (working(), runs(2), None),
        (
            working(),
            result(3, "r"),
            Some("no call of that id is open"),
        ),
        (working(), asks(2), None),
        (asking(), asks(2), Some("another is pending, or")),
        (asking(), deny(2), Some("nothing of that id is pending")),
        (asking(), deny(1), None),
        (asking(), user(2, "b"), None),
        (done(), result(1, "r"), Some("no call of that id is open")),
        (done(), late(2), Some("does not wait for a reply")),
        (done(), late(1), None),
        (over(), user(1, "a"), Some("the session has ended")),
        (over(), Event::Unknown, Some("the session has ended")),
    ] {
        let said = fold(&records).allows(&event).map_err(|why| why.to_string());
        match (refused, said) {
            (None, said) => assert_eq!(said, Ok(()), "{event:?}"),
            (Some(why), said) => {
                let said = said.expect_err("refused");
                assert!(said.contains(why), "{event:?}: {said}");
            }
        }
    }
}

/// Message `n` of `who`, which has a turn to itself.
fn in_turn(n: u64, who: &str, own_turn: OwnTurn) -> Event {
    Event::from(UserMessage {
        own_turn: Some(own_turn),
        sender_id: Some(who.to_owned()),
        ..user_message(n, &format!("q{n}"))
    })
}

/// What waits for turns of its own.
fn held(state: &SessionState) -> Vec<Vec<String>> {
    let groups = state.held.iter();
    let texts = groups.map(|group| {
        group
            .iter()
            .map(|one| one.message.content.clone())
            .collect()
    });
    texts.collect()
}

#[test]
fn messages_with_turns_of_their_own_wait_until_those_before_them_are_over() {
    use OwnTurn::{Begins, Joins};
    let begun = [
        in_turn(1, "a", Begins),
        started(1, Trigger::Message),
        in_turn(2, "a", Begins),
        in_turn(3, "b", Joins),
        in_turn(4, "a", Joins),
        // One that needs none is seen at the next call.
        user(5, "now"),
        reply(11, 7, "yes").event(),
    ];
    for (then, seen, waits) in [
        (vec![], vec![], vec![vec!["q2", "q4"], vec!["q3"]]),
        // One that a call needs not wait for leaves the others in their order.
        (vec![dropped(2)], vec![], vec![vec!["q4"], vec!["q3"]]),
        (vec![dropped(3)], vec![], vec![vec!["q2", "q4"]]),
        (
            vec![ended(1, Outcome::Completed)],
            vec!["unseen q2", "unseen q4"],
            vec![vec!["q3"]],
        ),
        (
            vec![ended(1, Outcome::Failed)],
            vec!["unseen q2", "unseen q4"],
            vec![vec!["q3"]],
        ),
        (
            vec![ended(1, Outcome::Cancelled)],
            vec!["user q2", "user q4", "user q3"],
            vec![],
        ),
        (
            vec![Event::session_end(EndReason::Timeout)],
            vec!["user q2", "user q4", "user q3"],
            vec![],
        ),
        (
            vec![Event::SessionAdopted {}],
            vec!["unseen q2", "unseen q4", "unseen q3"],
            vec![],
        ),
        // Nothing is left to answer of the next turn: it is that of the one after it.
        (
            vec![ended(1, Outcome::Completed), dropped(2), dropped(4)],
            vec!["unseen q3"],
            vec![],
        ),
        (
            vec![
                ended(1, Outcome::Completed),
                started(2, Trigger::Message),
                dropped(2),
                dropped(4),
            ],
            vec!["unseen q3"],
            vec![],
        ),
    ] {
        let state = fold(&log(begun.iter().cloned().chain(then.clone())));
        let before = ["user q1", "user now", "model yes"];
        assert_eq!(told(&state), [&before[..], &seen].concat(), "{then:?}");
        assert_eq!(held(&state), waits, "{then:?}");
        assert_eq!(state.summary.held as usize, waits.len(), "{then:?}");
        let is_open = state.turn.is_some() || state.is_asked();
        assert_eq!(state.summary.unfinished, is_open, "{then:?}");
    }
}

#[test]
fn the_one_whom_the_model_has_heard_last_asks_for_what_it_calls() {
    let said = |n: u64, who: Option<&str>, passive| {
        Event::from(UserMessage {
            sender_id: who.map(str::to_owned),
            passive,
            ..user_message(n, "?")
        })
    };
    let requester = |events: &[Event]| fold(&log(events.iter().cloned())).turn.unwrap().requester;
    let begun = [
        said(1, Some("a"), false),
        said(2, Some("b"), false),
        said(3, Some("c"), true),
        started(1, Trigger::Message),
        reply(11, 5, "").asking(&[1]).event(),
    ];
    assert_eq!(requester(&begun).as_deref(), Some("b"));
    let more = |who, input_seq| {
        let more = [
            said(4, who, false),
            result(1, "noon"),
            reply(12, input_seq, "").asking(&[2]).event(),
        ];
        requester(&[&begun[..], &more].concat())
    };
    assert_eq!(more(Some("d"), 8).as_deref(), Some("d"));
    // The call did not contain it.
    assert_eq!(more(Some("d"), 6).as_deref(), Some("b"));
    assert_eq!(more(None, 8), None);
}

/// Any event about the first few messages, turns and calls, fitting or not.
fn any_event() -> impl Strategy<Value = Event> {
    let n = 1..4u64;
    let ids = proptest::collection::vec(n.clone(), 0..3);
    let text = prop_oneof![Just(""), Just(" "), Just("some words")];
    let trigger = prop_oneof![
        Just(Trigger::Message),
        Just(Trigger::Resume),
        Just(Trigger::Restart)
    ];
    let why = prop_oneof![
        Just(FinishReason::Stop),
        Just(FinishReason::ToolCalls),
        Just(FinishReason::Length),
        Just(FinishReason::Cancelled),
        Just(FinishReason::Interrupted),
        Just(FinishReason::Error),
    ];
    let reply_event = (
        n.clone(),
        n.clone(),
        0..40u64,
        text.clone(),
        ids.clone(),
        why,
    );
    prop_oneof![
        Just(start()),
        (n.clone(), text.clone()).prop_map(|(n, text)| user(n, text)),
        n.clone().prop_map(dropped),
        (n.clone(), trigger).prop_map(|(n, trigger)| started(n, trigger)),
        reply_event.prop_map(|(n, turn, seq, text, calls, why)| {
            reply(n, seq, text)
                .in_turn(turn)
                .asking(&calls)
                .but(why)
                .event()
        }),
        n.clone().prop_map(runs),
        (n.clone(), text).prop_map(|(n, text)| result(n, text)),
        ids.prop_map(|ids| skipped(&ids)),
        n.clone().prop_map(asks),
        n.clone().prop_map(|n| decides(n, Decision::AllowOnce)),
        Just(pauses()),
        Just(wakes()),
        n.prop_map(|n| ended(n, Outcome::Completed)),
        Just(notice()),
        Just(Event::Unknown),
        Just(Event::session_end(EndReason::Error)),
    ]
}

proptest! {
    #[test]
    fn a_replay_from_the_window_arrives_where_the_whole_log_does(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        tokens_max in prop_oneof![Just(0), 20..400u64],
        snapshot_at in any::<prop::sample::Index>(),
    ) {
        let records = records_of(&walk(&choices));
        let seen = snapshot_at.index(records.len() + 1);
        let limits = || match tokens_max {
            0 => Limits::none(),
            tokens => tight(tokens),
        };
        let early = fold_within(limits(), &records[..seen]);
        let window_seq = early.history.window_seq();
        let marks = early.history.marks();
        let mut replayed = SessionState::at_window(early.summary, window_seq, marks, limits());
        let stands_on = records.iter().find(|record| Some(record.seq) == marks.summary_seq);
        stands_on.into_iter().for_each(|record| replayed.recall(record));
        for record in records.iter().filter(|record| record.seq >= window_seq) {
            replayed.apply(record);
        }
        prop_assert_eq!(replayed, fold_within(limits(), &records));
    }

    #[test]
    fn a_summary_folded_alone_is_the_states(
        choices in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let records = records_of(&walk(&choices));
        let mut summary = Summary::empty();
        records.iter().for_each(|record| summary.apply(record));
        let state = fold(&records);
        // It may take turns for waiting whose messages were withdrawn; never the other way round.
        prop_assert!(summary.held >= state.summary.held);
        prop_assert!(summary.unfinished || !state.summary.unfinished);
        summary.held = state.summary.held;
        summary.unfinished = state.summary.unfinished;
        prop_assert_eq!(&summary, &state.summary);
        let asked = state.approval().map(|open| open.call_id.clone());
        prop_assert_eq!(summary.pending_call, asked);
        prop_assert!(summary.unfinished || (state.turn.is_none() && !state.is_asked()));
        prop_assert!(state.held.is_empty() || state.turn.is_some() || state.is_asked());
    }

    #[test]
    fn every_call_of_a_model_gets_what_the_strictest_provider_accepts(
        choices in proptest::collection::vec(any::<u8>(), 0..300),
        tokens_max in prop_oneof![Just(0), 20..400u64],
    ) {
        let mut state = SessionState::new(tight(tokens_max));
        let mut before = Conversation::default();
        for shown in walk(&choices) {
            match shown {
                WalkStep::Record(record) => state.apply(&record),
                WalkStep::Asked(_) => {
                    let conversation = state.conversation();
                    let after = state.conversation_after(before.any_finished_part());
                    prop_assert_eq!(&after.messages, &conversation);
                    before = after;
                    prop_assert!(!conversation.is_empty());
                    let accepted = check_conversation(&conversation);
                    prop_assert!(accepted.is_ok(), "{:?}: {:#?}", accepted, conversation);
                }
                WalkStep::Text(_) => {}
            }
        }
    }

    #[test]
    fn no_sequence_of_events_panics_and_any_conversation_is_acceptable(
        events in proptest::collection::vec(any_event(), 0..60),
        tokens_max in prop_oneof![Just(0), 5..50u64],
    ) {
        let records: Vec<Record> = events
            .into_iter()
            .zip(1..)
            .map(|(event, seq)| record(seq, event))
            .collect();
        let mut state = SessionState::new(Limits::of_history(tokens_max));
        let mut summary = Summary::empty();
        let mut before = Conversation::default();
        for record in &records {
            state.apply(record);
            summary.apply(record);
            before = state.conversation_after(before.any_finished_part());
            prop_assert_eq!(&before.messages, &state.conversation());
            let accepted = check_conversation(&state.conversation());
            prop_assert!(accepted.is_ok(), "{:?}: {:#?}", accepted, records);
        }
        prop_assert_eq!(state.summary, summary);
    }
}

// --- the window ---

#[test]
fn a_provider_that_finds_it_too_long_makes_it_shorter_for_good() {
    let turns = (1..=4).flat_map(|n| {
        [
            user(n, &"a question ".repeat(40)),
            started(n, Trigger::Message),
            reply(n + 10, 4 * n - 1, "an answer").in_turn(n).event(),
            ended(n, Outcome::Completed),
        ]
    });
    let too_long = Event::Error {
        code: CONTEXT_TRUNCATED.to_owned(),
        message: "too long".to_owned(),
    };
    let before = fold(&log(turns.clone()));
    let records = log(turns.chain([too_long]));
    let after = fold(&records);
    assert!(after.history.tokens() * 2 <= before.history.tokens());
    assert!(after.history.first_seq() > Seq(1));
    // Also for one that begins with the window, and does not read the notice as news.
    let window_seq = after.history.first_seq();
    let marks = after.history.marks();
    let mut replayed =
        SessionState::at_window(after.summary.clone(), window_seq, marks, Limits::none());
    let window = records.iter().filter(|record| record.seq >= window_seq);
    window.for_each(|record| replayed.apply(record));
    assert_eq!(replayed, after);
}

#[test]
fn what_the_provider_counted_corrects_the_estimate_also_after_a_replay() {
    let events = [
        user(1, &"x".repeat(12_000)),
        started(1, Trigger::Message),
        reply(11, 3, "long").costing(6_000, 5).event(),
        ended(1, Outcome::Completed),
    ];
    let records = log(events);
    let state = fold(&records);
    // 12,000 bytes and their frame were taken for 3,004 tokens.
    assert_eq!(state.history.marks().percent, 199);
    let marks = state.history.marks();
    let mut replayed =
        SessionState::at_window(state.summary.clone(), Seq(1), marks, Limits::none());
    records.iter().for_each(|record| replayed.apply(record));
    assert_eq!(replayed, state);
    // Another model counts in another way.
    let mut changed = state;
    changed.apply(&record(
        6,
        Event::SessionChanged {
            title: None,
            model: Some("other".to_owned()),
            gateway_chat_id: None,
        },
    ));
    assert_eq!(changed.history.marks().percent, 100);
}

/// Something said in passing, `hours` after the start.
fn overheard(seq: u64, n: u64, text: &str, hours: u64) -> Record {
    Record {
        timestamp: Timestamp::from_micros(hours * HOUR_MICROS),
        ..record(
            seq,
            Event::from(UserMessage {
                passive: true,
                sender_name: Some("Bob".to_owned()),
                ..user_message(n, text)
            }),
        )
    }
}

#[test]
fn what_is_overheard_asks_nothing_and_stands_before_what_does() {
    let mut state = fold(&log([]));
    state.apply(&overheard(2, 1, "it rains", 0));
    assert_eq!(next_step(&state), Step::Idle);
    assert!(!state.is_asked() && !state.summary.unfinished);
    state.apply(&record(3, user(2, "what did Bob say?")));
    assert_eq!(next_step(&state), Step::CallModel);
    let conversation = state.conversation();
    let Some(Message::User { text, .. }) = conversation.last() else {
        panic!("{conversation:?}");
    };
    assert_eq!(&**text, "Bob: it rains\n\nwhat did Bob say?");
    // While the turn runs it is heard too, and no reason to ask the model again.
    state.apply(&record(4, started(1, Trigger::Message)));
    state.apply(&overheard(5, 3, "it stops", 0));
    state.apply(&record(6, reply(11, 4, "that it rains").event()));
    assert_eq!(next_step(&state), Step::EndTurn(Outcome::Completed));
    state.apply(&record(7, ended(1, Outcome::Completed)));
    assert_eq!(told(&state).last().unwrap(), "user it stops");
}

/// A question may wait for days, in a chat where others talk.
#[test]
fn what_is_overheard_while_a_question_waits_stays_recent_and_not_too_much() {
    let mut limits = Limits::none();
    limits.talk.max_messages = 3;
    let mut state = SessionState::new(limits);
    for record in log([
        user(1, "look"),
        started(1, Trigger::Message),
        reply(2, 2, "").asking(&[1]).event(),
        asks(1),
    ]) {
        state.apply(&record);
    }
    assert_eq!(next_step(&state), Step::AwaitOthers);
    let words = |state: &SessionState| -> Vec<String> {
        let inbox = state.inbox.iter();
        inbox.map(|one| one.message.content.clone()).collect()
    };
    for seq in 10..20 {
        state.apply(&overheard(seq, seq, &seq.to_string(), 0));
    }
    assert_eq!(words(&state), ["17", "18", "19"]);
    // Once it is answered a call is made, which may contain what came until then.
    state.apply(&record(20, result(1, "seen")));
    for seq in 21..26 {
        state.apply(&overheard(seq, seq, &seq.to_string(), 0));
    }
    assert_eq!(words(&state).len(), 8);
}

#[test]
fn of_what_was_overheard_the_model_is_shown_what_is_recent_and_not_too_much() {
    let limits = || {
        let mut limits = Limits::none();
        limits.talk.max_messages = 3;
        limits.talk.max_age_hours = 10;
        limits
    };
    let heard = |said: &[(&str, u64)], asked_at: u64| {
        let mut state = SessionState::new(limits());
        state.apply(&record(1, start()));
        for (seq, (text, hours)) in (2..).zip(said) {
            state.apply(&overheard(seq, seq, text, *hours));
        }
        let asked = record(said.len() as u64 + 2, user(99, "well?"));
        state.apply(&Record {
            timestamp: Timestamp::from_micros(asked_at * HOUR_MICROS),
            ..asked
        });
        let inbox = state.inbox.iter();
        inbox
            .map(|one| one.message.content.len())
            .collect::<Vec<_>>()
    };
    let asked = "well?".len();
    assert_eq!(
        heard(&[("1", 0), ("22", 0), ("333", 0)], 0),
        [1, 2, 3, asked]
    );
    assert_eq!(
        heard(&[("1", 0), ("22", 0), ("333", 0), ("4444", 0)], 0),
        [2, 3, 4, asked]
    );
    assert_eq!(
        heard(&[("1", 1), ("22", 5), ("333", 12)], 14),
        [2, 3, asked]
    );
    assert_eq!(heard(&[("1", 1)], 12), [asked]);
    let long = "x".repeat(40_000);
    assert_eq!(
        heard(&[(&long, 0), (&long, 0), ("333", 0)], 0),
        [40_000, 3, asked]
    );
}

/// The walks of the properties above are worth something only if they get that far.
#[test]
fn walks_come_to_masks_and_to_turns_that_are_given_up() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut masked, mut given_up, mut refused) = (0, 0, 0);
    for _ in 0..200 {
        let choices: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(400).collect();
        let state = fold_within(tight(200), &records_of(&walk(&choices)));
        let marks = state.history.marks();
        masked += usize::from(marks.masked_before > Seq::ZERO);
        given_up += usize::from(state.history.first_seq() > Seq(1));
        refused += usize::from(marks.ceiling_tokens.is_some());
    }
    assert!(
        masked > 20 && given_up > 20 && refused > 20,
        "{masked} {given_up} {refused}"
    );
}

#[test]
fn of_what_was_overheard_so_many_bytes_are_kept_and_no_more() {
    for (sizes, kept) in [
        (vec![TALK_BYTES_MAX], 1),
        (vec![TALK_BYTES_MAX + 1], 0),
        (vec![TALK_BYTES_MAX - 1, 1], 2),
        (vec![TALK_BYTES_MAX, 1], 1),
        // From the newest on, until one is too long: an older one that would fit is no use alone.
        (vec![1, TALK_BYTES_MAX, 1], 1),
        (vec![1, TALK_BYTES_MAX + 1], 0),
    ] {
        let mut state = fold(&log([]));
        for (seq, bytes) in (2..).zip(&sizes) {
            state.apply(&overheard(seq, seq, &"x".repeat(*bytes), 0));
        }
        assert_eq!(state.inbox.len(), kept, "{sizes:?}");
    }
}

#[test]
fn whose_a_session_is_and_where_it_works_is_not_for_its_log_to_say_where_somebody_unknown_wrote_it()
{
    let start = Event::SessionStart(SessionStart {
        owner: Some("token:alice".to_owned()),
        workdir: Some("/home/owner/.ssh".to_owned()),
        ..SessionStart::new("ada", OnDisconnect::Pause).in_chat(Chat::new("telegram", "42"))
    });
    let mut state = SessionState::new(Limits::none());
    state.apply(&record(1, start));
    let said = |state: &SessionState| (state.summary.owner.clone(), state.summary.workdir.clone());
    let of_log = (
        Some("token:alice".to_owned()),
        Some("/home/owner/.ssh".to_owned()),
    );
    assert_eq!(said(&state), of_log);
    assert!(state.summary.chat().is_some());
    state.apply(&record(2, Event::SessionAdopted {}));
    assert_eq!(said(&state), (None, None));
    assert_eq!(state.summary.chat(), None);
}

#[test]
fn a_turn_is_ones_own_only_where_it_is_surely_theirs_and_no_group_reads_along() {
    let said = |number: u64, change: fn(&mut UserMessage)| {
        let mut message = user_message(number, "go");
        change(&mut message);
        Event::from(message)
    };
    let plain: fn(&mut UserMessage) = |_| ();
    let unproven: fn(&mut UserMessage) = |message| message.unverified = true;
    let in_a_group: fn(&mut UserMessage) = |message| message.sender_name = Some("Ann".to_owned());
    for (first, later, is_own) in [
        (plain, plain, true),
        (unproven, plain, false),
        (in_a_group, plain, false),
        (plain, unproven, false),
        (plain, in_a_group, false),
    ] {
        let asks = reply(9, 2, "").asking(&[1]).event();
        let state = fold(&log([
            said(1, first),
            started(1, Trigger::Message),
            asks,
            said(2, later),
        ]));
        assert_eq!(state.is_turn_of(None), is_own);
        assert!(!state.is_turn_of(Some("token:ann")));
    }
}

#[test]
fn of_a_turn_from_elsewhere_that_has_ended_nothing_is_dormant() {
    let begun = [
        user(1, "hi"),
        started(1, Trigger::Message),
        Event::SessionAdopted {},
    ];
    assert!(fold(&log(begun.clone())).is_dormant);
    let ends = [ended(1, Outcome::Cancelled)];
    assert!(!fold(&log(begun.into_iter().chain(ends))).is_dormant);
}
