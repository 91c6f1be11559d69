#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reader looks at few of the events"
)]

use proptest::prelude::*;

use super::*;
use crate::domain::event::{EndReason, Trigger};
use crate::domain::story::*;
use crate::engine::watch::subscription::begins_a_reply;

/// Shows what happened to a feed.
fn show(feed: &mut Feed, happened: &[WalkStep]) -> Vec<FeedItem> {
    let mut out = Vec::new();
    let mut is_wanted = true;
    for shown in happened {
        if feed.is_over() {
            break;
        }
        match shown {
            WalkStep::Record(record) if record.seq < feed.next_seq() => {}
            WalkStep::Record(record) => {
                assert!(feed.push_record(record, usize::MAX, &mut out));
            }
            WalkStep::Asked(input_seq) => {
                is_wanted = feed.wants_reply(*input_seq);
                feed.reply_in_flight(*input_seq);
            }
            WalkStep::Text(text) if is_wanted => {
                feed.push_text(Arc::new(message_id(99)), text.clone(), &mut out);
            }
            WalkStep::Text(_) => {}
        }
    }
    out
}

fn logged(records: &[Record]) -> Vec<WalkStep> {
    records.iter().cloned().map(WalkStep::Record).collect()
}

fn text(piece: &str) -> WalkStep {
    WalkStep::Text(piece.to_owned())
}

/// A feed that goes on after `cursor`, as [`subscription::feed_after`] makes it.
///
/// [`subscription::feed_after`]: crate::engine::watch::subscription::feed_after
fn feed_after(records: &[Record], cursor: Cursor) -> Feed {
    let mut feed = Feed::after(cursor);
    let before = records.iter().filter(|record| record.seq < feed.next_seq());
    let before: Vec<&Record> = before.collect();
    let begins = before.iter().rposition(|record| begins_a_reply(record));
    for record in &before[begins.unwrap_or(0)..] {
        feed.remember(record);
    }
    feed
}

/// The items in a few words, their ids before them.
fn told(items: &[FeedItem]) -> Vec<String> {
    let words = items
        .iter()
        .map(|item| format!("{} {}", item.id, in_words(&item.event)));
    words.collect()
}

fn in_words(event: &FeedEvent) -> String {
    match event {
        FeedEvent::Start { seq, .. } => format!("start {seq}"),
        FeedEvent::UserMessage { message, .. } => format!("user {}", message.content),
        FeedEvent::Dropped { reason, .. } => format!("dropped: {reason}"),
        FeedEvent::Token { content: text, .. } => format!("token {text}"),
        FeedEvent::ToolCall(call) => format!("asks {}", call.call_id),
        FeedEvent::ToolResult {
            call_id, output, ..
        } => format!("{call_id} {}", output.content),
        FeedEvent::ApprovalRequired { command, .. } => format!("may it {command}"),
        FeedEvent::ApprovalDecision { decision, .. } => format!("{decision:?}"),
        FeedEvent::Notice { code, .. } => format!("notice {code}"),
        FeedEvent::Message { content, .. } => format!("message {content}"),
        FeedEvent::Done { finish_reason, .. } => format!("done {}", finish_reason.as_str()),
        FeedEvent::Cancelled => "cancelled".to_owned(),
        FeedEvent::Error { code, .. } => format!("error {code}"),
        FeedEvent::Status { to, .. } => format!("status {to}"),
        FeedEvent::Rewind { message_id, bytes } => match message_id {
            Some(_) => format!("rewind to {bytes}"),
            None => format!("rewind all to {bytes}"),
        },
        FeedEvent::Session { .. } | FeedEvent::Gap { .. } => "opening".to_owned(),
    }
}

fn all_of(records: &[Record]) -> Vec<String> {
    told(&show(&mut Feed::after(Cursor::default()), &logged(records)))
}

/// A turn (2 to 9) with a call that is asked about, and an answer.
fn turn_with_a_call() -> Vec<Record> {
    log([
        user(1, "when?"),
        started(1, Trigger::Message),
        reply(11, 3, "let me see").asking(&[1]).event(),
        asks(1),
        decides(1, Decision::AllowOnce),
        runs(1),
        result(1, "noon"),
        reply(12, 8, "at noon").event(),
        ended(1, Outcome::Completed),
    ])
}

#[test]
fn a_log_is_shown_record_by_record() {
    assert_eq!(
        all_of(&turn_with_a_call()),
        [
            "2 user when?",
            "4.1 token let me see",
            "4.2 asks call_1",
            "4 message let me see",
            "5 may it date 1",
            "6 AllowOnce",
            "8 call_1 noon",
            "9.1 token at noon",
            "9 message at noon",
            "10 done stop",
        ]
    );
}

#[test]
fn text_in_flight_is_counted_in_every_id_until_its_record() {
    let records = log([
        user(1, "a"),
        started(1, Trigger::Message),
        user(2, "b"),
        notice(),
        reply(11, 3, "grüß dich").event(),
        ended(1, Outcome::Completed),
    ]);
    let mut happened = logged(&records);
    happened.splice(3..3, [WalkStep::Asked(Seq(3)), text("grü")]);
    happened.insert(6, text("ß "));
    let items = show(&mut Feed::after(Cursor::default()), &happened);
    assert_eq!(
        told(&items),
        [
            "2 user a",
            "3+4 token grü",
            "4+4 user b",
            "4+7 token ß ",
            "5+7 notice retry",
            "6.1 token dich",
            "6 message grüß dich",
            "7 done stop",
        ]
    );
}

#[test]
fn a_reply_that_was_shown_whole_gives_no_more_text() {
    let records = log([reply(11, 1, "hello").event()]);
    let mut happened = logged(&records);
    happened.splice(1..1, [WalkStep::Asked(Seq(1)), text("hello")]);
    let items = show(&mut Feed::after(Cursor::default()), &happened);
    assert_eq!(told(&items), ["1+5 token hello", "2 message hello"]);
}

#[test]
fn an_interrupted_reply_and_its_continuation_are_one_message() {
    let records = log([
        user(1, "a"),
        started(1, Trigger::Message),
        reply(11, 3, "hel").but(FinishReason::Interrupted).event(),
        started(1, Trigger::Resume),
        reply(12, 5, "lo").continuing(11).event(),
        ended(1, Outcome::Completed),
    ]);
    let items = show(&mut Feed::after(Cursor::default()), &logged(&records));
    assert_eq!(
        told(&items),
        [
            "2 user a",
            "4 token hel",
            "6.1 token lo",
            "6 message hello",
            "7 done stop",
        ]
    );
    let ids = items.iter().filter_map(|item| match &item.event {
        FeedEvent::Message { message_id, .. } => Some(message_id.clone()),
        FeedEvent::Done { message_id, .. } => message_id.clone(),
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), [message_id(11), message_id(11)]);
}

#[test]
fn a_turn_ends_in_the_words_of_its_outcome() {
    for (outcome, end) in [
        (Outcome::Completed, "5 done length"),
        (Outcome::Cancelled, "5 cancelled"),
        (Outcome::Failed, "5 error provider_error"),
    ] {
        let cut = reply(11, 3, "x").but(FinishReason::Length).event();
        let records = log([user(1, "a"), started(1, Trigger::Message), cut]);
        let end_record = record(5, ended(1, outcome));
        let items = all_of(&[records, vec![end_record]].concat());
        assert_eq!(items.last().unwrap(), end);
    }
}

#[test]
fn skipped_calls_and_the_end_of_the_session_are_shown() {
    let records = log([
        user(1, "a"),
        started(1, Trigger::Message),
        reply(11, 3, "").asking(&[1, 2]).event(),
        skipped(&[1, 2]),
        pauses(),
        wakes(),
        Event::SilentMessage {
            content: "psst".to_owned(),
            sender_id: "42".to_owned(),
            sender_name: None,
            source_id: None,
        },
        dropped(1),
        Event::Unknown,
        Event::session_end(EndReason::Timeout),
    ]);
    assert_eq!(
        all_of(&records)[1..],
        [
            "4.2 asks call_1",
            "4.3 asks call_2",
            "4 message ",
            "5.1 call_1 cancelled",
            "5 call_2 cancelled",
            "6 status paused",
            "7 status active",
            "9 dropped: queue full",
            "11 status completed",
        ]
    );
}

/// What one who sent message `own` is shown.
fn followed(own: u64, happened: &[WalkStep]) -> Vec<String> {
    told(&show(&mut Feed::of_message(Seq(own)), happened))
}

#[test]
fn one_who_sent_a_message_follows_it_from_its_start_to_the_end_of_its_turn() {
    let mut records = turn_with_a_call();
    records.push(record(11, user(2, "thanks")));
    assert_eq!(
        followed(2, &logged(&records)),
        [
            "2 start 2",
            "4.1 token let me see",
            "4.2 asks call_1",
            "4 message let me see",
            "5 may it date 1",
            "8 call_1 noon",
            "9.1 token at noon",
            "9 message at noon",
            "10 done stop",
        ]
    );
}

#[test]
fn one_who_sent_a_message_is_not_shown_replies_that_did_not_contain_it() {
    let records = log([
        user(1, "a"),
        started(1, Trigger::Message),
        user(2, "b"),
        reply(11, 3, "to a").asking(&[1]).event(),
        runs(1),
        result(1, "of a"),
        reply(12, 7, "to b").asking(&[2]).event(),
        result(2, "of b"),
        reply(13, 9, "to both").event(),
        ended(1, Outcome::Completed),
        user(3, "c"),
    ]);
    let mut happened = logged(&records);
    happened.splice(3..3, [WalkStep::Asked(Seq(3))]);
    assert_eq!(
        followed(4, &happened),
        [
            "4 start 4",
            "8.1 token to b",
            "8.2 asks call_2",
            "8 message to b",
            "9 call_2 of b",
            "10.1 token to both",
            "10 message to both",
            "11 done stop",
        ]
    );
    assert!(!Feed::of_message(Seq(4)).wants_reply(Seq(3)));
    assert!(Feed::of_message(Seq(4)).wants_reply(Seq(4)));
}

#[test]
fn a_message_of_a_turn_that_failed_ends_with_it_and_the_next_begins_anew() {
    let records = log([
        user(1, "a"),
        started(1, Trigger::Message),
        user(2, "b"),
        ended(1, Outcome::Failed),
        user(3, "c"),
        started(2, Trigger::Message),
        reply(11, 7, "to c").in_turn(2).event(),
        ended(2, Outcome::Completed),
    ]);
    let failed = "5 error provider_error";
    assert_eq!(followed(2, &logged(&records)), ["2 start 2", failed]);
    assert_eq!(followed(4, &logged(&records)), ["4 start 4", failed]);
    assert_eq!(
        followed(6, &logged(&records)),
        [
            "6 start 6",
            "8.1 token to c",
            "8 message to c",
            "9 done stop"
        ]
    );
    let mut done = show(&mut Feed::of_message(Seq(6)), &logged(&records));
    let done = done.pop().unwrap().event;
    assert!(matches!(done, FeedEvent::Done { message_id: Some(id), .. } if id == message_id(11)));
}

#[test]
fn a_long_reply_is_shown_in_pieces_and_one_goes_on_after_any_of_them() {
    let before = [user(1, "a"), started(1, Trigger::Message)];
    let said = reply(11, 3, "grüße an alle").event();
    let records = log(before
        .into_iter()
        .chain([said, ended(1, Outcome::Completed)]));
    let mut out = Vec::new();
    let mut pieces = 0;
    while !feed_after(&records, last_id(&out)).push_record(&records[3], 3, &mut out) {
        pieces += 1;
    }
    let ids: Vec<String> = out.iter().map(|item| item.id.to_string()).collect();
    assert_eq!(ids, ["3+2", "3+4", "3+7", "3+10", "3+13", "4.1", "4"]);
    assert_eq!(pieces, 5);
    assert_eq!(Reader::of(&out).seen, ["message grüße an alle"]);
}

/// The place after these items, which begin with the reply of [`log`]'s fourth record.
fn last_id(items: &[FeedItem]) -> Cursor {
    items.last().map_or(Cursor::after(Seq(3)), |item| item.id)
}

/// What one who stands at `cursor` is shown of a log.
fn resumed(records: &[Record], cursor: &str) -> Vec<String> {
    let mut feed = feed_after(records, Cursor::parse(cursor).unwrap());
    told(&show(&mut feed, &logged(records)))
}

#[test]
fn after_a_power_cut_a_reader_goes_back_to_what_the_log_has() {
    let cut = |text| reply(11, 3, text).but(FinishReason::Interrupted).event();
    let begun = || vec![user(1, "a"), started(1, Trigger::Message)];
    let again = || started(1, Trigger::Resume);
    let failed = || ended(1, Outcome::Failed);
    let then = |more: Vec<Event>| log(begun().into_iter().chain(more));
    let answer = |seq| reply(12, seq, "other").event();
    let goes_on = |seq| reply(12, seq, "lo").continuing(11).event();
    for (name, records, cursor, expected) in [
        (
            "a part was kept",
            then(vec![cut("hel"), again(), goes_on(5)]),
            "3+5",
            vec!["4 rewind to 3", "6.1 token lo", "6 message hello"],
        ),
        (
            "nothing was kept",
            then(vec![again(), answer(4)]),
            "3+5",
            vec!["4 rewind all to 0", "5.1 token other", "5 message other"],
        ),
        (
            "nothing was kept of the second part",
            then(vec![
                cut("hel"),
                again(),
                started(1, Trigger::Restart),
                goes_on(6),
            ]),
            "5+1",
            vec!["6 rewind to 3", "7.1 token lo", "7 message hello"],
        ),
        (
            "less was kept of the second part",
            then(vec![cut("hel"), again(), goes_on(5)]),
            "5+4",
            vec!["6.1 rewind to 5", "6 message hello"],
        ),
        (
            "nothing was kept, and nothing follows",
            then(vec![failed()]),
            "3+5",
            vec!["4.1 rewind all to 0", "4 error provider_error"],
        ),
        (
            "the reader has gone back already",
            then(vec![failed()]),
            "4.1",
            vec!["4 error provider_error"],
        ),
        (
            "nothing was shown",
            then(vec![again(), answer(4)]),
            "3+0",
            vec!["5.1 token other", "5 message other"],
        ),
    ] {
        assert_eq!(resumed(&records, cursor), expected, "{name}");
    }
}

/// One who puts the tokens together.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reader {
    /// The message that is being shown.
    text: String,
    /// Everything else, and texts that never became a message.
    seen: Vec<String>,
}

impl Reader {
    fn read(&mut self, item: &FeedItem) {
        match &item.event {
            FeedEvent::Token { content: piece, .. } => self.text.push_str(piece),
            FeedEvent::Rewind { bytes, .. } => self.text.truncate(usize::try_from(*bytes).unwrap()),
            FeedEvent::Message { content, .. } => {
                assert_eq!(self.text, **content, "at {}", item.id);
                self.seen.push(in_words(&item.event));
                self.text.clear();
            }
            end if end.ends_turn() => {
                self.seen
                    .push(format!("{} after {:?}", in_words(end), self.text));
                self.text.clear();
            }
            other => self.seen.push(in_words(other)),
        }
    }

    fn of(items: &[FeedItem]) -> Reader {
        let mut reader = Reader::default();
        items.iter().for_each(|item| reader.read(item));
        reader
    }
}

/// What a reader who is cut off after each of the items sees in all, from the log alone.
fn check_every_cut(records: &[Record], live: &[FeedItem]) {
    let whole = Reader::of(live);
    for (at, item) in live.iter().enumerate() {
        let mut reader = Reader::of(&live[..=at]);
        // A client knows the id as text.
        let cursor = Cursor::parse(&item.id.to_string()).unwrap();
        let mut feed = feed_after(records, cursor);
        let rest = show(&mut feed, &logged(records));
        rest.iter().for_each(|item| reader.read(item));
        assert_eq!(reader, whole, "cut at {cursor}, then {:?}", told(&rest));
    }
}

/// The story up to a reply that is still in flight at its end, and so in no log.
fn without_reply_in_flight(mut happened: Vec<WalkStep>) -> Vec<WalkStep> {
    let asked = happened
        .iter()
        .rposition(|shown| matches!(shown, WalkStep::Asked(_)));
    let is_ended = |rest: &[WalkStep]| {
        rest.iter()
            .any(|shown| matches!(shown, WalkStep::Record(record) if ends_reply(&record.event)))
    };
    if let Some(asked) = asked.filter(|at| !is_ended(&happened[*at..])) {
        happened.truncate(asked);
    }
    happened
}

#[test]
fn from_any_place_in_a_log_the_rest_is_exactly_what_was_not_seen() {
    let records = turn_with_a_call();
    let all = show(&mut Feed::after(Cursor::default()), &logged(&records));
    for (at, item) in all.iter().enumerate() {
        let mut feed = feed_after(&records, item.id);
        assert_eq!(show(&mut feed, &logged(&records)), all[at + 1..]);
    }
}

proptest! {
    #[test]
    fn from_any_place_of_any_story_a_reader_misses_nothing_and_sees_nothing_twice(
        choices in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let happened = without_reply_in_flight(walk(&choices));
        let records = records_of(&happened);
        let live = show(&mut Feed::after(Cursor::default()), &happened);
        check_every_cut(&records, &live);
        let caught_up = show(&mut Feed::after(Cursor::default()), &logged(&records));
        check_every_cut(&records, &caught_up);
    }

    #[test]
    fn one_who_follows_a_message_sees_it_begin_and_end_once(
        choices in proptest::collection::vec(any::<u8>(), 0..200),
        own in any::<prop::sample::Index>(),
    ) {
        let happened = walk(&choices);
        let records = records_of(&happened);
        let messages = records.iter().filter(|one| matches!(one.event, Event::UserMessage(_)));
        let messages: Vec<Seq> = messages.map(|record| record.seq).collect();
        prop_assume!(!messages.is_empty());
        let own = messages[own.index(messages.len())];
        let mut feed = Feed::of_message(own);
        let items = show(&mut feed, &happened);
        prop_assert_eq!(in_words(&items[0].event), format!("start {own}"));
        let ends = items.iter().filter(|item| item.event.ends_turn()).count();
        prop_assert_eq!(ends, usize::from(feed.is_over()));
        prop_assert!(ends == 0 || items.last().unwrap().event.ends_turn());
        Reader::of(&items);
    }
}
