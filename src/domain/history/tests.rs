use proptest::prelude::*;

use super::*;
use crate::domain::event::{Attachment, Event};
use crate::domain::sight::Sight;
use crate::domain::spec::{ModelChoice, Provider, Truncation};
use crate::domain::state::SessionState;
use crate::domain::story::{
    WalkStep, call_id, check_messages, output, reply, tight, user_message, walk,
};

fn user(n: u64, text: &str) -> Entry {
    Entry::User(Arc::new(user_message(n, text)))
}

fn model(reply: AssistantResponse) -> Entry {
    Entry::Assistant(Arc::new(reply))
}

fn tool(n: u64, content: &str) -> Entry {
    Entry::Tool {
        seq: Seq(n),
        call_id: call_id(n),
        tool_name: "date".to_owned(),
        output: output(true, content),
        bytes: content.len(),
    }
}

fn picture() -> Attachment {
    Attachment {
        name: None,
        caption: None,
        file: "cat.png".to_owned(),
        mime: "image/png".to_owned(),
        bytes: 3,
        sha256: "00".repeat(32),
        ..Attachment::default()
    }
}

/// The messages in a few words.
fn told(entries: &[Entry]) -> Vec<String> {
    let messages = to_messages(entries.iter(), &Marks::default());
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
        } => {
            let verb = if output.success { "says" } else { "fails:" };
            format!("{call_id} {verb} {:?}", output.content)
        }
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
                r#"call_2 says "r""#,
                r#"call_1 fails: "not run""#,
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
                r#"call_1 says "(no output)""#,
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
fn a_file_counts_as_its_model_is_shown_it() {
    let choice = |name: &str| ModelChoice::new(Provider::OPENROUTER, name);
    let file = |mime: &str, bytes| Attachment {
        mime: mime.to_owned(),
        bytes,
        ..Attachment::default()
    };
    let image = Attachment {
        width: Some(1024),
        height: Some(1024),
        ..file("image/png", 5 << 20)
    };
    for (model, file, tokens) in [
        ("openai/gpt-4o", image.clone(), 765),
        ("anthropic/claude-3-opus", image.clone(), 0),
        (
            "anthropic/claude-3-opus",
            Attachment {
                bytes: 1,
                ..image.clone()
            },
            1369,
        ),
        ("deepseek/deepseek-chat", image, 0),
        ("openai/gpt-4o", file("application/pdf", 160_000), 10_000),
        ("deepseek/deepseek-chat", file("text/plain", 4_000), 1_000),
        // A quarter of what it takes.
        ("deepseek/deepseek-chat", file("text/plain", 4 << 20), 2_500),
    ] {
        let limits = Limits {
            input_tokens: Some(10_000),
            sight: Sight::of(&choice(model)),
            ..Limits::none()
        };
        let told = tokens_of_bytes(file.told().len());
        let message = Arc::new(UserMessage {
            attachments: vec![file],
            ..user_message(1, "")
        });
        let found = tokens_of([&message].into_iter(), &limits);
        assert_eq!(found, tokens + told + 4, "{model}");
        let mut history = History::new(limits, Seq(1), Marks::default());
        history.push(Seq(1), Entry::User(message));
        assert_eq!(history.tokens(), found);
        history.withhold_files(WhichFiles::All);
        let is_text = matches!(tokens, 1_000 | 2_500);
        assert_eq!(history.tokens(), if is_text { found } else { told + 4 });
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

fn empty(limits: Limits) -> History {
    History::new(limits, Seq(1), Marks::default())
}

/// A history with `turns` turns of 10 tokens each.
fn history_of(turns: u64, tokens_max: u64) -> History {
    let mut history = empty(Limits::of_history(tokens_max));
    for n in 1..=turns {
        // 24 bytes and a frame of 16.
        history.push(Seq(1), user(n, &"x".repeat(24)));
        history.end_turn(Seq(n + 1), true);
        history.settle(0, None);
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
fn words_of_the_open_turn_are_never_given_up() {
    let mut history = history_of(2, 25);
    for n in 3..50 {
        history.push(Seq(1), user(n, "many words of one turn"));
        history.settle(0, None);
    }
    // Of the finished turns the last stays, as the one that is gone on with.
    assert_eq!(history.first_seq(), Seq(2));
    assert_eq!(history.entries().count(), 48);
}

#[test]
fn of_a_round_that_the_provider_refuses_the_oldest_results_are_masked() {
    let hidden = |history: &History| {
        let hides = |n: &u64| history.marks().hides(Seq(*n));
        (1..=20).filter(hides).collect::<Vec<_>>()
    };
    let mut history = empty(Limits::none());
    history.push(Seq(1), user(1, "read all of them"));
    history.push(Seq(1), model(reply(1, 1, "").asking(&[1, 2])));
    // A thousand tokens each.
    (1..=20).for_each(|n| history.push(Seq(1), tool(n, &"x".repeat(3_984))));
    history.settle(0, None);
    assert_eq!(hidden(&history), [0; 0]);
    // A fifth less, and no more than that.
    history.shrink(0, None);
    assert_eq!(hidden(&history), [1, 2, 3, 4, 5]);
    history.settle(0, None);
    assert_eq!(hidden(&history), [1, 2, 3, 4, 5]);
}

/// It happens while watchers wait. A sum of all for each result that is masked took seconds.
#[test]
fn many_small_results_are_masked_in_no_time() {
    const RESULTS: u64 = 10_000;
    let mut history = empty(Limits::of_history(1_000));
    (1..=RESULTS).for_each(|n| history.push(Seq(1), tool(n, &"x".repeat(60))));
    history.push(Seq(1), model(reply(1, 1, "seen")));
    let before = history.tokens();
    let began = std::time::Instant::now();
    history.settle(0, None);
    let took = began.elapsed();
    assert!(history.tokens() < before * 3 / 4, "{}", history.tokens());
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_turn_that_left_nothing_is_not_remembered() {
    let mut history = history_of(1, 17);
    history.end_turn(Seq(3), true);
    history.push(Seq(1), user(2, &"x".repeat(24)));
    history.end_turn(Seq(4), true);
    history.settle(0, None);
    assert_eq!(history.tokens(), 10);
    assert_eq!(history.first_seq(), Seq(3));
    // Nor does the window begin with it, when there was room for it.
    let mut history = empty(Limits::of_history(35));
    history.push(Seq(1), user(1, &"x".repeat(104)));
    history.end_turn(Seq(2), true);
    history.end_turn(Seq(3), true);
    history.push(Seq(1), user(2, &"x".repeat(24)));
    history.end_turn(Seq(4), true);
    history.settle(0, None);
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
            now.starts_with(&**text)
        }
        (Message::Assistant(last), Some(Message::Assistant(now))) => {
            now.text.starts_with(&*last.text)
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
        let messages = to_messages(entries.iter(), &Marks::default());
        let accepted = check_messages(&messages);
        prop_assert!(accepted.is_ok(), "{accepted:?}: {messages:#?}");
    }

    #[test]
    fn between_two_trims_what_the_model_was_given_only_grows_at_its_end(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut state = SessionState::new(tight(300));
        let mut before = ((Seq(1), Seq::ZERO, Seq::ZERO), Vec::new());
        for shown in walk(&choices) {
            match shown {
                WalkStep::Record(record) => {
                    if matches!(record.event, Event::MessageDropped { .. }) {
                        // A call that left no trace may have contained it.
                        before.1.clear();
                    }
                    state.apply(&record);
                }
                WalkStep::Asked(_) => {
                    let unseen = state.inbox.iter().map(|one| Entry::User(Arc::clone(&one.message)));
                    let unseen: Vec<Entry> = unseen.collect();
                    let marks = state.history.marks();
                    let now = to_messages(state.history.entries().chain(&unseen), &marks);
                    let first_seq = state.history.first_seq();
                    let step = (first_seq, marks.masked_from, marks.masked_before);
                    if step == before.0 {
                        prop_assert!(only_grew(&before.1, &now), "{:#?}\n{now:#?}", before.1);
                    }
                    before = (step, now);
                }
                WalkStep::Text(_) => {}
            }
        }
    }
}

// --- making room ---

/// A history within `limits` of so many turns: a question, a reply that calls a tool, a result of
/// 400 bytes (104 tokens). Call `n` is event `10 n`.
fn with_results(limits: Limits, turns: u64) -> History {
    let mut history = empty(limits);
    for n in 1..=turns {
        history.push(Seq(1), user(n, "?"));
        history.push(Seq(1), model(reply(n, 1, "").asking(&[n])));
        result(&mut history, n);
        history.push(Seq(1), model(reply(n, 1, "so")));
        history.end_turn(Seq(10 * n + 5), true);
        history.settle(0, None);
    }
    history
}

fn result(history: &mut History, n: u64) {
    let content = "r".repeat(400);
    history.push_result(
        Seq(10 * n),
        call_id(n),
        "date".to_owned(),
        &output(true, &content),
        None,
    );
    history.settle(0, None);
}

/// Which results are whole, by their calls.
fn whole(history: &History) -> Vec<u64> {
    let marks = history.marks();
    let shown = history.entries().filter_map(|entry| match entry {
        Entry::Tool { seq, .. } if !marks.hides(*seq) => Some(seq.0 / 10),
        _ => None,
    });
    shown.collect()
}

fn keeping(history_tokens: u64, first: u64, last: u64) -> Limits {
    let mut limits = Limits::of_history(history_tokens);
    limits.tool_results.keep_first = first;
    limits.tool_results.keep_last = last;
    limits
}

#[test]
fn results_in_the_middle_give_way_before_turns_do_and_in_one_step() {
    // A turn is 124 tokens, and 34 when its result is masked.
    let before = with_results(keeping(1_000, 1, 2), 8);
    assert_eq!(whole(&before), [1, 2, 3, 4, 5, 6, 7, 8]);
    let after = with_results(keeping(1_000, 1, 2), 9);
    assert_eq!(whole(&after), [1, 8, 9]);
    assert_eq!(after.first_seq(), Seq(1), "no turn was given up");
    assert!(after.tokens() <= 600, "{}", after.tokens());
    // Then nothing changes for a while.
    let later = with_results(keeping(1_000, 1, 2), 11);
    assert_eq!(whole(&later), [1, 8, 9, 10, 11]);
    let messages = to_messages(later.entries(), &later.marks());
    check_messages(&messages).unwrap();
    let masks = messages.iter().filter(|message| {
        let mask = "[result of date, 400 bytes, left out]";
        matches!(message, Message::Tool { output, .. } if output.content == mask)
    });
    assert_eq!(masks.count(), 6);
}

#[test]
fn what_is_to_be_kept_gives_way_only_to_what_the_model_takes() {
    let wanted = keeping(300, 2, 3);
    let history = with_results(wanted, 5);
    assert_eq!(whole(&history), [4, 5], "turns give way, no result in them");
    assert_eq!(history.first_seq(), Seq(35));
    let bounded = Limits {
        input_tokens: Some(1_000),
        ..keeping(0, 2, 50)
    };
    let mut history = empty(bounded);
    history.push(Seq(1), user(1, "do a lot"));
    for n in 1..=20 {
        history.push(Seq(1), model(reply(n, 1, "").asking(&[n])));
        result(&mut history, n);
        assert!(history.tokens() <= 1_000, "after {n}: {}", history.tokens());
    }
    assert!(!whole(&history).contains(&1));
}

#[test]
fn an_estimate_alone_masks_no_result_that_the_model_has_not_seen() {
    let mut history = with_results(
        Limits {
            input_tokens: Some(1_000),
            ..keeping(0, 0, 0)
        },
        2,
    );
    history.push(Seq(1), user(3, "?"));
    history.push(
        Seq(1),
        model(reply(3, 1, "").asking(&[3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
    );
    (3..13).for_each(|n| result(&mut history, n));
    assert!(history.tokens() > 1_000);
    assert_eq!(whole(&history), (3..13).collect::<Vec<_>>());
    // Once it has, they may be.
    history.push(Seq(1), model(reply(4, 1, "").asking(&[13])));
    history.settle(0, None);
    assert!(!whole(&history).contains(&3), "{:?}", whole(&history));
}

#[test]
fn an_open_turn_of_many_results_shrinks_by_its_older_ones() {
    let mut history = empty(keeping(3_000, 2, 5));
    history.push(Seq(1), user(1, "do a lot"));
    let mut steps = 0;
    for n in 1..=40 {
        let before = history.marks();
        history.push(Seq(1), model(reply(n, 1, "").asking(&[n])));
        result(&mut history, n);
        steps += usize::from(history.marks() != before);
        assert!(history.tokens() <= 3_000, "after {n}: {}", history.tokens());
    }
    assert_eq!(whole(&history)[..2], [1, 2]);
    assert!((1..4).contains(&steps), "{steps} steps");
    assert_eq!(history.entries().count(), 81, "nothing is given up");
}

#[test]
fn a_step_that_could_not_do_enough_is_not_tried_again_at_once() {
    // The five last results alone are more than is wanted.
    let mut history = empty(keeping(300, 0, 5));
    history.push(Seq(1), user(1, "do a lot"));
    let mut steps = 0;
    for n in 1..=30 {
        let before = history.marks();
        history.push(Seq(1), model(reply(n, 1, "").asking(&[n])));
        result(&mut history, n);
        steps += usize::from(history.marks() != before);
    }
    assert!(steps <= 17, "{steps} steps in 30 rounds");
}

#[test]
fn a_result_is_stored_as_a_model_may_see_it() {
    let mut limits = Limits::none();
    limits.tool_results.max_tokens = 25;
    limits.tool_results.truncation = Truncation::Tail;
    let mut history = empty(limits);
    result(&mut history, 1);
    let Some(Entry::Tool { output, bytes, .. }) = history.entries().next() else {
        panic!("{history:?}");
    };
    let cut = format!("[300 of 400 bytes left out]\n{}", "r".repeat(100));
    assert_eq!((output.content.as_str(), *bytes), (cut.as_str(), 400));
}

#[test]
fn what_was_refused_is_halved_whatever_was_to_be_kept() {
    let mut history = with_results(keeping(0, 2, 5), 8);
    assert_eq!(whole(&history).len(), 8);
    let refused = history.tokens();
    history.shrink(0, None);
    assert!(history.tokens() <= refused / 2, "{}", history.tokens());
    let once = history.tokens();
    history.shrink(0, None);
    assert!(history.tokens() < once);
    // It stays so for that model, and is forgotten with it.
    assert!(history.marks().ceiling_tokens.is_some());
    history.forget_model();
    assert_eq!(history.marks().ceiling_tokens, None);
}

#[test]
fn the_last_turn_goes_when_what_waits_would_not_fit_beside_it() {
    let limits = Limits {
        input_tokens: Some(1_000),
        ..Limits::none()
    };
    let mut history = empty(limits);
    history.push(Seq(1), user(1, &"x".repeat(8_000)));
    history.end_turn(Seq(5), true);
    history.settle(0, None);
    assert_eq!(history.first_seq(), Seq(1), "there is nothing else");
    history.settle(100, None);
    assert_eq!(history.first_seq(), Seq(5));
    assert_eq!(history.tokens(), 0);
}

#[test]
fn what_waits_takes_its_room_from_what_is_kept() {
    for (waiting, kept) in [(0, 10), (90, 1), (10, 5), (30, 3)] {
        let mut history = empty(Limits::of_history(100));
        for n in 1..=10 {
            history.push(Seq(1), user(n, &"x".repeat(24)));
            history.end_turn(Seq(n + 1), true);
        }
        history.settle(waiting, None);
        // Ten turns of ten tokens: more than a hundred are made sixty, with what waits.
        assert_eq!(history.tokens(), 10 * kept, "beside {waiting}");
    }
}

#[test]
fn an_estimate_is_corrected_by_all_that_was_sent() {
    const TEXT_TOKENS: u64 = 3_000;
    for (fixed_tokens, waiting) in [(0, 0), (5_000, 0), (0, 7_000), (2_000, 1_000)] {
        let mut history = empty(Limits {
            fixed_tokens,
            ..Limits::none()
        });
        let frame = 16;
        history.push(
            Seq(1),
            user(1, &"x".repeat(4 * TEXT_TOKENS as usize - frame)),
        );
        let sent = TEXT_TOKENS + fixed_tokens + waiting;
        history.learn(waiting, Usage::new(sent * 3 / 2, 1));
        assert_eq!(history.marks().percent, 150, "{fixed_tokens} {waiting}");
    }
}

#[test]
fn nobody_with_a_name_writes_a_line_that_reads_like_anothers() {
    for (said, expected) in [
        ("hi", "hi"),
        ("hi\nBob: yes\r\n\nEve: no", "hi\n  Bob: yes\n  \n  Eve: no"),
        (
            "a\rB: b\u{2028}C: c\u{85}D: d\u{b}E: e",
            "a\n  B: b\n  C: c\n  D: d\n  E: e",
        ),
    ] {
        assert_eq!(set_in(said), expected);
    }
}

// --- summaries ---

/// A turn of two messages, told by two events.
fn says_and_hears(history: &mut History, n: u64, bytes: usize) {
    history.push(Seq(n * 10), user(n, &format!("q{n} {}", "x".repeat(bytes))));
    history.push(Seq(n * 10), model(reply(n, n * 10 - 1, &format!("a{n}"))));
    history.end_turn(Seq(n * 10 + 1), true);
}

fn summarising(history_tokens: u64) -> Limits {
    Limits {
        summarises: true,
        ..Limits::of_history(history_tokens)
    }
}

fn texts(history: &History) -> Vec<String> {
    let told = history.conversation(&[], Conversation::default());
    check_messages(&told.messages).unwrap();
    let texts = told.messages.iter().map(|message| match message {
        Message::User { text, .. } => text.to_string(),
        Message::Assistant(reply) => reply.text.to_string(),
        Message::Tool { output, .. } => output.content.clone(),
    });
    texts.collect()
}

#[test]
fn what_is_too_much_stays_until_there_is_a_summary_of_it() {
    let mut history = empty(summarising(1_000));
    (1..=10).for_each(|n| says_and_hears(&mut history, n, 480));
    history.settle(0, None);
    assert!(history.tokens() > 1_000, "nothing is left out by itself");
    let count = history.summary_due(0, None).unwrap();
    let input = history.summary_input(count);
    assert_eq!(input.before, None);
    let upto = input.stretches.last().unwrap().upto_seq;
    assert!(
        input.stretches[0].text.starts_with("[user] q1 x"),
        "{input:?}"
    );
    assert!(
        input.stretches[0].text.ends_with("[assistant] a1\n"),
        "{input:?}"
    );
    let summary = Arc::new(crate::domain::story::summary(upto.0, "they count"));
    history.summarised(Seq(200), &summary, 0, None);
    assert!(
        (400..=650).contains(&history.tokens()),
        "{}",
        history.tokens()
    );
    assert_eq!(history.first_seq(), upto.next());
    let told = texts(&history);
    assert!(
        told[0].contains("they count\n[End of the summary]\n\nq"),
        "{}",
        told[0]
    );
    assert!(history.summary_due(0, None).is_none());
    // The next one is made of it, too, and takes its place.
    (11..=16).for_each(|n| says_and_hears(&mut history, n, 480));
    let count = history.summary_due(0, None).unwrap();
    let input = history.summary_input(count);
    assert_eq!(input.before.as_deref(), Some("they count"));
    let upto = input.stretches.last().unwrap().upto_seq;
    let summary = Arc::new(crate::domain::story::summary(upto.0, "they went on"));
    history.summarised(Seq(300), &summary, 0, None);
    let told = texts(&history);
    assert!(told[0].contains("they went on") && !told[0].contains("they count"));
}

#[test]
fn the_newest_messages_stay_and_no_call_loses_its_result() {
    // A turn that lasts: it is cut where a round of tools ends.
    let mut history = empty(summarising(1_000));
    history.push(Seq(2), user(1, "do a lot"));
    for n in 1..=20 {
        history.push(Seq(n * 10), model(reply(n, 1, "").asking(&[n, n + 100])));
        history.push(Seq(n * 10 + 1), tool_of(n, n * 10 + 1));
        history.push(Seq(n * 10 + 2), tool_of(n + 100, n * 10 + 2));
    }
    let (all, _) = history.summarisable(0).unwrap();
    let left = 61 - all;
    assert!((KEPT_MESSAGES..KEPT_MESSAGES + 3).contains(&left), "{left}");
    let upto = history
        .summary_input(all)
        .stretches
        .last()
        .unwrap()
        .upto_seq;
    assert_eq!(upto, Seq(182), "a round is not torn");
    // Nor by a number that somebody else wrote.
    for upto in [180, 181, 182, 189] {
        let mut history = history.clone();
        let summary = Arc::new(crate::domain::story::summary(upto, "so far"));
        history.summarised(Seq(400), &summary, 0, None);
        let expected = if upto < 182 { 172 } else { 182 };
        assert_eq!(history.first_seq(), Seq(expected + 1), "{upto}");
        texts(&history);
        assert_eq!(
            history.window_seq(),
            Seq(1),
            "its turn is known by its beginning"
        );
    }
    // Few messages are none that a summary could stand for, however long they are.
    let mut few = empty(summarising(1_000));
    (1..=3).for_each(|n| says_and_hears(&mut few, n, 4_000));
    assert_eq!(few.summarisable(0), None);
    assert_eq!(few.summary_due(0, None), None);
}

fn tool_of(n: u64, seq: u64) -> Entry {
    Entry::Tool {
        seq: Seq(seq),
        call_id: call_id(n),
        tool_name: "date".to_owned(),
        output: output(true, &"y".repeat(200)),
        bytes: 200,
    }
}

#[test]
fn without_a_summary_it_is_made_less_as_ever_and_the_next_try_waits() {
    let mut history = empty(summarising(1_000));
    (1..=10).for_each(|n| says_and_hears(&mut history, n, 480));
    let failed = Arc::new(ContextSummary {
        upto_seq: Seq(60),
        error: Some("down".to_owned()),
        ..ContextSummary::default()
    });
    history.summarised(Seq(200), &failed, 0, None);
    let tokens = history.tokens();
    assert!(tokens <= 600, "{tokens}");
    assert_eq!(history.marks().summary_seq, None);
    let from = history.marks().summary_from_tokens;
    assert_eq!(from, tokens + 200);
    // Too much at once is no reason to try sooner.
    let mut stuck = history.clone();
    stuck.marks.summary_from_tokens = 5_000;
    (11..=20).for_each(|n| says_and_hears(&mut stuck, n, 480));
    assert_eq!(stuck.summary_due(0, None), None);
    // One that only tells what was spent changes nothing.
    let spent = Arc::new(ContextSummary::default());
    let before = stuck.clone();
    stuck.summarised(Seq(300), &spent, 0, None);
    assert_eq!(stuck, before);
}

#[test]
fn what_a_model_takes_is_forgotten_when_nobody_says_it_any_more() {
    let limits = Limits {
        input_tokens: None,
        model: "m".to_owned(),
        ..Limits::none()
    };
    let mut history = History::new(limits, Seq(1), Marks::default());
    let usual = history.limits.room_tokens();
    for (told, is_news) in [(None, false), (Some(4_096), true), (Some(4_096), false)] {
        assert_eq!(history.learn_window("m", told), is_news, "{told:?}");
    }
    assert!(history.limits.room_tokens() < 4_096);
    assert!(history.learn_window("m", None));
    assert_eq!(history.limits.room_tokens(), usual);
}

#[test]
fn newest_messages_that_are_too_much_alone_are_made_less_behind_a_summary() {
    let mut history = empty(Limits {
        input_tokens: Some(2_000),
        ..summarising(1_000)
    });
    (1..=6).for_each(|n| says_and_hears(&mut history, n, 4_000));
    let budget = history.limits.budget(None, &history.marks);
    let (count, _) = history.summarisable(0).unwrap();
    let input = history.summary_input(count);
    let upto = input.stretches.last().unwrap().upto_seq;
    let summary = Arc::new(crate::domain::story::summary(upto.0, "they count"));
    history.summarised(Seq(200), &summary, 0, None);
    assert!(history.tokens() <= budget.most, "{}", history.tokens());
    assert!(texts(&history)[0].contains("they count"));
}
