use proptest::prelude::*;

use super::*;
use crate::domain::event::{Attachment, Event};
use crate::domain::state::SessionState;
use crate::domain::story::{Shown, call_id, check_messages, output, reply, user_message, walk};

fn user(n: u64, text: &str) -> Entry {
    Entry::User(Arc::new(user_message(n, text)))
}

fn model(reply: AssistantResponse) -> Entry {
    Entry::Assistant(Arc::new(reply))
}

fn tool(n: u64, content: &str) -> Entry {
    Entry::Tool {
        call_id: call_id(n),
        tool_name: "date".to_owned(),
        output: output(true, content),
    }
}

fn picture() -> Attachment {
    Attachment {
        file: "cat.png".to_owned(),
        mime: "image/png".to_owned(),
        bytes: 3,
        sha256: "00".repeat(32),
    }
}

/// The messages in a few words.
fn told(entries: &[Entry]) -> Vec<String> {
    let messages = to_messages(entries.iter());
    check_messages(&messages).unwrap();
    let words = messages.iter().map(|message| match message {
        Message::User { text, attachments } => format!("user {text:?} +{}", attachments.len()),
        Message::Assistant(reply) => {
            let calls = reply.tool_calls.iter().map(|call| call.call_id.to_string());
            format!(
                "model {:?} {}",
                reply.text,
                calls.collect::<Vec<_>>().join(" ")
            )
        }
        Message::Tool {
            call_id, output, ..
        } => format!("{call_id} {:?}", output.content),
    });
    words.map(|text| text.trim_end().to_owned()).collect()
}

#[test]
fn messages_are_what_every_provider_accepts() {
    let asks = |text, calls: &[u64]| model(reply(11, 1, text).asking(calls));
    let cut = |text| {
        model(
            reply(12, 1, text)
                .asking(&[7])
                .but(FinishReason::Interrupted),
        )
    };
    let says = |text| model(reply(13, 1, text));
    for (name, entries, expected) in [
        ("nothing", vec![], vec![]),
        (
            "an answer",
            vec![user(1, "a"), says("b")],
            vec![r#"user "a" +0"#, r#"model "b""#],
        ),
        (
            "neighbours are one",
            vec![user(1, "a"), user(2, "b")],
            vec![r#"user "a\n\nb" +0"#],
        ),
        (
            "the model never begins",
            vec![asks("x", &[1]), tool(1, "r"), user(1, "a")],
            vec![r#"user "a" +0"#],
        ),
        (
            "a call without a result gets one",
            vec![user(1, "a"), asks("", &[1, 2]), tool(2, "r"), user(2, "b")],
            vec![
                r#"user "a" +0"#,
                r#"model "" call_1 call_2"#,
                r#"call_2 "r""#,
                r#"call_1 "not run""#,
                r#"user "b" +0"#,
            ],
        ),
        (
            "a result without its call is left out",
            vec![user(1, "a"), says("b"), tool(9, "r")],
            vec![r#"user "a" +0"#, r#"model "b""#],
        ),
        (
            "an empty result says so",
            vec![user(1, "a"), asks("", &[1]), tool(1, " \n")],
            vec![
                r#"user "a" +0"#,
                r#"model "" call_1"#,
                r#"call_1 "(no output)""#,
            ],
        ),
        (
            "a continued reply is one, its broken calls are forgotten",
            vec![user(1, "a"), cut("hel"), says("lo")],
            vec![r#"user "a" +0"#, r#"model "hello""#],
        ),
        (
            "blank words are nothing",
            vec![user(1, " \n"), user(2, "a"), says(" "), user(3, "b")],
            vec![r#"user "a\n\nb" +0"#],
        ),
    ] {
        assert_eq!(told(&entries), expected, "{name}");
    }
}

#[test]
fn a_file_needs_no_words() {
    let with_picture = |text| {
        Entry::User(Arc::new(UserMessage {
            attachments: vec![picture()],
            ..user_message(1, text)
        }))
    };
    for (entries, expected) in [
        (vec![with_picture("")], r#"user "" +1"#),
        (vec![with_picture(" \n")], r#"user "" +1"#),
        (vec![with_picture(""), with_picture(" ")], r#"user "" +2"#),
        (
            vec![with_picture(""), user(2, "a cat")],
            r#"user "a cat" +1"#,
        ),
        (
            vec![user(2, "a cat"), with_picture("")],
            r#"user "a cat" +1"#,
        ),
    ] {
        assert_eq!(told(&entries), [expected]);
    }
}

#[test]
fn the_writer_is_named_where_there_are_several() {
    let named = Entry::User(Arc::new(UserMessage {
        sender_name: Some("Eve".to_owned()),
        ..user_message(1, "hi")
    }));
    assert_eq!(told(&[named]), [r#"user "Eve: hi" +0"#]);
}

/// A history with `turns` turns of 10 tokens each.
fn history_of(turns: u64, tokens_max: u64) -> History {
    let mut history = History::new(tokens_max, Seq(1));
    for n in 1..=turns {
        // 24 bytes and a frame of 16.
        history.push(user(n, &"x".repeat(24)));
        history.end_turn(Seq(n + 1));
    }
    history
}

#[test]
fn over_the_limit_whole_turns_are_given_up_until_sixty_percent_are_left() {
    for (turns, tokens_max, kept) in [
        (10, 0, 10),
        (10, 100, 10),
        (11, 100, 6),
        (15, 100, 10),
        (16, 100, 6),
        (5, 1, 1),
    ] {
        let history = history_of(turns, tokens_max);
        assert_eq!(history.tokens(), kept * 10, "{turns} turns of {tokens_max}");
        assert_eq!(history.first_seq(), Seq(turns - kept + 1));
        assert_eq!(history.entries().count() as u64, kept);
    }
}

#[test]
fn the_open_turn_is_never_trimmed() {
    let mut history = history_of(1, 15);
    (2..50).for_each(|n| history.push(user(n, "many words of one turn")));
    assert_eq!(history.first_seq(), Seq(1));
    history.end_turn(Seq(60));
    assert_eq!(history.first_seq(), Seq(2));
    assert_eq!(history.entries().count(), 48);
}

#[test]
fn a_turn_that_left_nothing_is_not_remembered() {
    let mut history = history_of(1, 17);
    history.end_turn(Seq(3));
    history.push(user(2, &"x".repeat(24)));
    history.end_turn(Seq(4));
    assert_eq!(history.tokens(), 10);
    assert_eq!(history.first_seq(), Seq(3));
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let text = || prop_oneof![Just(""), Just(" \n"), Just("some words")];
    let calls = proptest::collection::vec(1..5u64, 0..3);
    let why = prop_oneof![
        Just(FinishReason::ToolCalls),
        Just(FinishReason::Interrupted),
        Just(FinishReason::Cancelled)
    ];
    prop_oneof![
        (text(), any::<bool>()).prop_map(|(text, has_file)| {
            Entry::User(Arc::new(UserMessage {
                attachments: has_file.then(picture).into_iter().collect(),
                ..user_message(1, text)
            }))
        }),
        (text(), calls, why)
            .prop_map(|(text, calls, why)| model(reply(2, 1, text).asking(&calls).but(why))),
        (1..5u64, text()).prop_map(|(n, text)| tool(n, text)),
    ]
}

/// Whether `now` is `before` with something added at its end.
fn only_grew(before: &[Message], now: &[Message]) -> bool {
    let Some((last, rest)) = before.split_last() else {
        return true;
    };
    let grown = match (last, now.get(rest.len())) {
        // Neighbours of one role are joined.
        (Message::User { text, .. }, Some(Message::User { text: now, .. })) => {
            now.starts_with(text)
        }
        (Message::Assistant(last), Some(Message::Assistant(now))) => {
            now.text.starts_with(&last.text)
        }
        (last, now) => Some(last) == now,
    };
    grown && now.starts_with(rest)
}

proptest! {
    #[test]
    fn any_entries_give_messages_that_every_provider_accepts(
        entries in proptest::collection::vec(any_entry(), 0..40),
    ) {
        let messages = to_messages(entries.iter());
        let accepted = check_messages(&messages);
        prop_assert!(accepted.is_ok(), "{accepted:?}: {messages:#?}");
    }

    #[test]
    fn between_two_trims_what_the_model_was_given_only_grows_at_its_end(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut state = SessionState::new(300);
        let mut before = (Seq(1), Vec::new());
        for shown in walk(&choices) {
            match shown {
                Shown::Record(record) => {
                    if matches!(record.event, Event::MessageDropped { .. }) {
                        // A call that left no trace may have contained it.
                        before.1.clear();
                    }
                    state.apply(&record);
                }
                Shown::Asked(_) => {
                    let unseen = state.inbox.iter().map(|one| Entry::User(Arc::clone(&one.message)));
                    let unseen: Vec<Entry> = unseen.collect();
                    let now = to_messages(state.history.entries().chain(&unseen));
                    let first_seq = state.history.first_seq();
                    if first_seq == before.0 {
                        prop_assert!(only_grew(&before.1, &now), "{:#?}\n{now:#?}", before.1);
                    }
                    before = (first_seq, now);
                }
                Shown::Text(_) => {}
            }
        }
    }
}
