#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reader looks at few of the events"
)]

use proptest::prelude::*;

use super::*;
use crate::domain::event::{Event, Outcome, SessionStart, Trigger, UserMessage};
use crate::domain::story::*;
use crate::domain::window::Limits;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::feed::{FeedEvent, FeedItem};
use crate::engine::watch::subscription::begins_a_reply;

/// A session in memory and its log, as the engine keeps them.
struct Scene {
    live: Live,
    log: Vec<Record>,
}

/// One who watches, as a subscription does.
struct Watching {
    id: u64,
    wake_rx: Receiver<()>,
    feed: Feed,
    seen: Vec<FeedItem>,
}

impl Scene {
    /// A session with its first event.
    fn new() -> Scene {
        let mut scene = Scene {
            live: Live::new(SessionState::new(Limits::none())),
            log: Vec::new(),
        };
        scene.happens([start()]);
        scene
    }

    fn happens(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.writes(&record(self.live.last_seq().0 + 1, event));
        }
    }

    fn writes(&mut self, record: &Record) {
        self.log.push(record.clone());
        self.live.publish(&[Arc::new(record.clone())]);
    }

    fn asks_the_model(&mut self) {
        let input_seq = self.live.last_seq();
        let in_flight = InFlight::new(message_id(99), None, input_seq, "echo/echo".to_owned());
        self.live.in_flight = Some(in_flight);
    }

    fn streams(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.live.publish_text(piece, &[piece.len()]);
        }
    }

    fn shows(&mut self, shown: &WalkStep) {
        match shown {
            WalkStep::Record(record) => self.writes(record),
            WalkStep::Asked(_) => self.asks_the_model(),
            WalkStep::Text(text) => self.streams(&[text]),
        }
    }

    /// A watcher that goes on after `cursor`.
    fn watched_from(&mut self, cursor: Cursor) -> Watching {
        let mut feed = Feed::after(cursor);
        let known = self
            .log
            .iter()
            .filter(|record| record.seq < feed.next_seq());
        let known: Vec<&Record> = known.collect();
        let begins = known.iter().rposition(|record| begins_a_reply(record));
        known[begins.unwrap_or(0)..]
            .iter()
            .for_each(|record| feed.remember(record));
        self.watched(feed)
    }

    fn watched(&mut self, feed: Feed) -> Watching {
        let (id, wake_rx) = self.live.watch(WatcherRole::Attached);
        Watching {
            id,
            wake_rx,
            feed,
            seen: Vec::new(),
        }
    }

    /// Shows a watcher all that it lacks, as [`Subscription::pull`] does.
    ///
    /// [`Subscription::pull`]: crate::engine::watch::subscription::Subscription::pull
    fn catches_up(&self, one: &mut Watching) {
        loop {
            match self.live.take(one.id, &one.feed, false) {
                News::Cut(reason) => panic!("{reason}"),
                News::Behind(last) => {
                    let from = one.feed.next_seq();
                    let missed = self.log.iter().filter(|record| record.seq >= from);
                    for record in missed.filter(|record| record.seq <= last) {
                        one.feed.push_record(record, usize::MAX, &mut one.seen);
                    }
                }
                News::Items(pieces, more) => {
                    pieces.into_iter().for_each(|piece| one.takes(piece));
                    if !more {
                        return;
                    }
                }
            }
        }
    }
}

impl Watching {
    fn takes(&mut self, piece: NewsItem) {
        match piece {
            NewsItem::ReplyBegins(input_seq) => self.feed.reply_in_flight(input_seq),
            NewsItem::Text(id, text) => self.feed.push_text(id, text, &mut self.seen),
            NewsItem::Record(record) => {
                assert!(self.feed.push_record(&record, usize::MAX, &mut self.seen));
            }
        }
    }

    /// What it saw, in a few words; the pieces of a text are one.
    fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        let mut is_text = false;
        for item in &self.seen {
            match (&item.event, told.last_mut().filter(|_| is_text)) {
                (FeedEvent::Token { content: text, .. }, Some(last)) => last.push_str(text),
                (FeedEvent::Token { content: text, .. }, None) => told.push(format!("text {text}")),
                (FeedEvent::UserMessage { message, .. }, _) => {
                    told.push(format!("user {}", message.content));
                }
                (FeedEvent::Message { content, .. }, _) => told.push(format!("message {content}")),
                (other, _) => told.push(format!("{other:?}")),
            }
            is_text = matches!(item.event, FeedEvent::Token { .. });
        }
        told
    }

    fn ids(&self) -> Vec<String> {
        self.seen.iter().map(|item| item.id.to_string()).collect()
    }
}

/// A session whose model is asked about message 2, in event 4's turn.
fn asked() -> Scene {
    let mut scene = Scene::new();
    scene.happens([user(1, "a"), started(1, Trigger::Message)]);
    scene
}

#[test]
fn a_watcher_in_step_is_given_each_piece_as_it_was_said() {
    let mut scene = asked();
    let mut watcher = scene.watched_from(Cursor::after(Seq(3)));
    scene.asks_the_model();
    scene.live.publish_text("hello", &[2, 5]);
    scene.streams(&[" you"]);
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.ids(), ["3+2", "3+5", "3+9"]);
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.seen.len(), 3);
}

#[test]
fn a_watcher_in_the_middle_of_a_piece_is_given_its_rest() {
    let mut scene = asked();
    scene.asks_the_model();
    scene.streams(&["hello", " you"]);
    let mut watcher = scene.watched_from(Cursor::parse("3+2").unwrap());
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.told(), ["text llo you"]);
    assert_eq!(watcher.ids(), ["3+5", "3+9"]);
}

#[test]
fn one_who_comes_new_is_given_the_text_so_far_in_one_piece() {
    let mut scene = asked();
    scene.asks_the_model();
    scene.streams(&["hello", " you"]);
    let watcher = scene.watched_from(Cursor::parse("3+0").unwrap());
    let News::Items(pieces, more) = scene.live.take(watcher.id, &watcher.feed, true) else {
        panic!("it is up to date");
    };
    assert!(
        matches!(&pieces[..], [NewsItem::ReplyBegins(Seq(3)), NewsItem::Text(_, text)] if text == "hello you")
    );
    assert!(!more);
}

#[test]
fn a_long_text_is_taken_bit_by_bit() {
    let mut scene = asked();
    let mut watcher = scene.watched_from(Cursor::after(Seq(3)));
    scene.asks_the_model();
    let piece = "x".repeat(10 << 10);
    (0..20).for_each(|_| scene.streams(&[&piece]));
    let News::Items(pieces, more) = scene.live.take(watcher.id, &watcher.feed, false) else {
        panic!("it is up to date");
    };
    // The first says that a reply begins.
    assert_eq!(pieces.len(), 1 + 7);
    assert!(more);
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.seen.len(), 20);
    assert_eq!(watcher.feed.shown_bytes(), 200 << 10);
}

#[test]
fn all_see_text_and_records_in_one_order_however_late_they_look() {
    let mut scene = asked();
    let mut often = scene.watched_from(Cursor::after(Seq(3)));
    let mut late = scene.watched_from(Cursor::after(Seq(3)));
    scene.asks_the_model();
    scene.streams(&["one ", "two "]);
    scene.catches_up(&mut often);
    scene.happens([user(2, "b")]);
    scene.streams(&["three "]);
    scene.catches_up(&mut often);
    scene.streams(&["four"]);
    scene.happens([
        user(3, "c"),
        reply(11, 3, "one two three four").event(),
        user(4, "d"),
    ]);
    scene.catches_up(&mut often);
    scene.catches_up(&mut late);
    assert_eq!(
        late.told(),
        [
            "text one two ",
            "user b",
            "text three four",
            "user c",
            "message one two three four",
            "user d",
        ]
    );
    assert_eq!(often.told(), late.told());
    assert_eq!(late.ids(), ["3+8", "4+8", "4+18", "5+18", "6", "7"]);
}

#[test]
fn one_who_follows_a_message_is_not_given_the_text_of_a_reply_without_it() {
    let mut scene = asked();
    scene.asks_the_model();
    let mut follower = scene.watched(Feed::of_message(Seq(4)));
    scene.streams(&["to a"]);
    scene.happens([user(2, "b")]);
    scene.streams(&[" only"]);
    scene.catches_up(&mut follower);
    assert_eq!(follower.ids(), ["4"]);
    scene.happens([reply(11, 3, "to a only").event()]);
    scene.asks_the_model();
    scene.streams(&["to b"]);
    scene.catches_up(&mut follower);
    assert_eq!(follower.ids(), ["4", "5+4"]);
}

#[test]
fn a_reply_that_left_nothing_is_in_flight_no_more_when_its_turn_has_ended() {
    let mut scene = asked();
    let mut watcher = scene.watched_from(Cursor::after(Seq(3)));
    scene.asks_the_model();
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.feed.cursor().to_string(), "3+0");
    scene.happens([ended(1, Outcome::Cancelled), user(2, "b")]);
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.ids(), ["4", "5"]);
}

#[test]
fn what_was_shown_of_a_lost_reply_is_not_counted_for_the_next() {
    let mut scene = asked();
    // The power went after "3+5", and nothing was kept.
    let mut watcher = scene.watched_from(Cursor::parse("3+5").unwrap());
    scene.happens([started(1, Trigger::Resume)]);
    scene.asks_the_model();
    scene.streams(&["another"]);
    scene.catches_up(&mut watcher);
    assert_eq!(watcher.ids(), ["4", "4+7"]);
    assert_eq!(watcher.told()[1], "text another");
}

#[test]
fn one_who_is_far_behind_is_sent_to_the_log() {
    let mut scene = Scene::new();
    let behind = |scene: &Scene, one: &Watching| matches!(scene.live.take(one.id, &one.feed, false), News::Behind(last) if last == scene.live.last_seq());
    let early = scene.watched_from(Cursor::default());
    assert!(behind(&scene, &early), "event 1 came before any watcher");

    let watcher = scene.watched_from(Cursor::after(Seq(1)));
    scene.happens((0..TAIL_RECORDS as u64).map(|n| user(n, "x")));
    assert!(!behind(&scene, &watcher));
    scene.happens([notice()]);
    assert!(behind(&scene, &watcher));
    assert_eq!(scene.live.tail.len(), TAIL_RECORDS);
}

#[test]
fn the_tail_is_bounded_in_bytes_and_gone_with_the_last_watcher() {
    let mut scene = Scene::new();
    let watcher = scene.watched_from(Cursor::after(Seq(1)));
    let long = "x".repeat(TAIL_BYTES / 4);
    scene.happens((0..20).map(|n| user(n, &long)));
    assert_eq!(scene.live.tail.len(), 3);
    assert!(scene.live.tail_bytes <= TAIL_BYTES);
    // One record is kept, however large.
    scene.happens([user(20, &"x".repeat(2 * TAIL_BYTES)), notice()]);
    assert_eq!(scene.live.tail.len(), 1);
    let kept: usize = scene
        .live
        .tail
        .iter()
        .map(|one| size_of_text(&one.record))
        .sum();
    assert_eq!(scene.live.tail_bytes, kept);

    scene.live.unwatch(watcher.id);
    assert!(scene.live.tail.is_empty());
    scene.happens([notice()]);
    assert!(scene.live.tail.is_empty());
    assert_eq!(scene.live.tail_bytes, 0);
}

#[test]
fn what_was_written_last_is_at_hand_however_long_it_is() {
    let mut scene = asked();
    let one = scene.watched_from(Cursor::after(scene.live.last_seq()));
    let next = scene.live.last_seq().0 + 1;
    let long = reply(11, 3, &"x".repeat(2 * TAIL_BYTES)).event();
    let ending = ended(1, Outcome::Completed);
    let written = [record(next, long), record(next + 1, ending)];
    scene.live.publish(&written.map(Arc::new));
    let news = scene.live.take(one.id, &one.feed, false);
    assert!(matches!(news, News::Items(items, _) if items.len() == 2));
    scene
        .live
        .publish(&[Arc::new(record(next + 2, user(2, "b")))]);
    let news = scene.live.take(one.id, &one.feed, false);
    assert!(matches!(news, News::Behind(_)), "the log has it");
}

#[test]
fn a_long_reply_in_short_pieces_is_a_reply_in_longer_ones() {
    let mut scene = asked();
    scene.asks_the_model();
    for _ in 0..3 * PIECES_MAX {
        scene.streams(&["x"]);
    }
    let reply = scene.live.in_flight.as_ref().unwrap();
    let pieces_max = PIECES_MAX + 2 * PIECES_MAX / JOINED_BYTES + 1;
    assert!(reply.ends.len() <= pieces_max, "{}", reply.ends.len());
    for shown in [0, 1, 77, PIECES_MAX, 3 * PIECES_MAX - 1] {
        let mut end = shown;
        for piece in reply.pieces_after(shown) {
            assert!(
                piece.start == end && piece.len() <= JOINED_BYTES,
                "{piece:?}"
            );
            end = piece.end;
        }
        assert!(end == reply.text.len() || end >= shown + PIECE_BYTES);
    }
}

#[test]
fn watchers_count_as_attached_by_their_role_until_they_go() {
    let mut live = Scene::new().live;
    let (attached, _wake_rx) = live.watch(WatcherRole::Attached);
    let (following, _wake_rx) = live.watch(WatcherRole::Following);
    let (readonly, _wake_rx) = live.watch(WatcherRole::Readonly);
    assert_eq!(live.attached(), 2);
    assert!(!live.wants_a_client());
    live.unwatch(attached);
    assert_eq!(live.attached(), 1);
    live.unwatch(following);
    assert_eq!(live.attached(), 0);
    assert!(live.has_watchers() && live.wants_a_client());
    live.unwatch(readonly);
    assert!(!live.has_watchers());
}

#[test]
fn a_turn_waits_for_a_client_only_where_somebody_must_be_there() {
    let starts = |on_disconnect, gateway: Option<&str>| {
        let Event::SessionStart(start) = start() else {
            panic!("it starts");
        };
        Event::SessionStart(SessionStart {
            on_disconnect,
            gateway: gateway.map(str::to_owned),
            ..start
        })
    };
    let detached = || {
        Event::from(UserMessage {
            detached: true,
            ..user_message(1, "a")
        })
    };
    for (start, message, waits) in [
        (starts(OnDisconnect::Pause, None), user(1, "a"), true),
        (starts(OnDisconnect::Pause, None), detached(), false),
        (starts(OnDisconnect::Continue, None), user(1, "a"), false),
        (
            starts(OnDisconnect::Pause, Some("telegram")),
            user(1, "a"),
            false,
        ),
    ] {
        for turn in [None, Some(started(1, Trigger::Message))] {
            let mut scene = Scene {
                live: Live::new(SessionState::new(Limits::none())),
                log: Vec::new(),
            };
            scene.happens([start.clone(), message.clone()].into_iter().chain(turn));
            assert_eq!(scene.live.wants_a_client(), waits, "{start:?} {message:?}");
        }
    }
}

#[test]
fn those_who_are_sent_away_are_told_why_and_count_no_more() {
    let mut scene = Scene::new();
    let mine = scene.watched_from(Cursor::after(Seq(1)));
    let other = scene.watched_from(Cursor::after(Seq(1)));
    let (follower, _wake_rx) = scene.live.watch(WatcherRole::Following);
    let cut = |scene: &Scene, id| match scene.live.take(id, &mine.feed, false) {
        News::Cut(cut) => Some(cut.to_string()),
        News::Items(..) | News::Behind(_) => None,
    };
    scene.live.detach_others(mine.id);
    assert_eq!(cut(&scene, mine.id), None);
    assert_eq!(cut(&scene, follower), None);
    assert_eq!(cut(&scene, other.id).unwrap(), "another client took over");
    assert_eq!(scene.live.attached(), 2);

    scene
        .live
        .cut_watchers(Cut::Broken("the disk is full".to_owned()));
    assert_eq!(cut(&scene, mine.id).unwrap(), "the disk is full");
    assert_eq!(cut(&scene, other.id).unwrap(), "another client took over");
    assert_eq!(scene.live.attached(), 0);
}

#[test]
fn a_broken_session_shows_what_it_has_and_then_sends_away() {
    let mut scene = Scene::new();
    let mut watcher = scene.watched_from(Cursor::after(Seq(1)));
    scene.happens([user(1, "a")]);
    scene.live.break_off("it panicked");
    let News::Items(pieces, true) = scene.live.take(watcher.id, &watcher.feed, false) else {
        panic!("there is something to show");
    };
    pieces.into_iter().for_each(|piece| watcher.takes(piece));
    let taken = scene.live.take(watcher.id, &watcher.feed, false);
    assert!(matches!(taken, News::Cut(cut) if cut.to_string() == "it panicked"));
}

#[test]
fn whatever_happens_wakes_all_who_watch_once_the_lock_is_free() {
    let mut scene = asked();
    let one = scene.watched_from(Cursor::after(Seq(3)));
    let other = scene.watched_from(Cursor::after(Seq(3)));
    let woken = || [&one, &other].map(|watcher| watcher.wake_rx.try_iter().count());
    scene.live = given_back(scene.live);
    woken();
    for happens in [
        |scene: &mut Scene| scene.happens([notice(), notice()]),
        |scene: &mut Scene| {
            scene.asks_the_model();
            scene.streams(&["a", "b"]);
        },
        |scene: &mut Scene| scene.live.cut_watchers(Cut::Broken("bye".to_owned())),
        |scene: &mut Scene| scene.live.break_off("bye"),
    ] {
        happens(&mut scene);
        assert_eq!(woken(), [0, 0]);
        scene.live = given_back(scene.live);
        assert_eq!(woken(), [1, 1]);
        scene.live = given_back(scene.live);
        assert_eq!(woken(), [0, 0]);
    }
}

/// As after a holder of the lock has given it back.
fn given_back(live: Live) -> Live {
    let live = Mutex::new(live);
    drop(LiveGuard::new(&live));
    live.into_inner().unwrap()
}

/// What one who puts the tokens together has in the end: the messages, and the text in flight.
fn put_together(seen: &[FeedItem]) -> Vec<String> {
    let mut text = String::new();
    let mut messages = Vec::new();
    for item in seen {
        match &item.event {
            FeedEvent::Token { content: piece, .. } => text.push_str(piece),
            FeedEvent::Rewind { bytes, .. } => text.truncate(usize::try_from(*bytes).unwrap()),
            FeedEvent::Message { content, .. } => {
                assert_eq!(text, **content, "at {}", item.id);
                messages.push(std::mem::take(&mut text));
            }
            end if end.ends_turn() => messages.push(std::mem::take(&mut text)),
            other => messages.push(format!("{other:?}")),
        }
    }
    messages.push(text);
    messages
}

proptest! {
    #[test]
    fn however_often_one_looks_or_loses_the_connection_one_sees_the_same(
        choices in proptest::collection::vec(any::<u8>(), 0..150),
        looks in proptest::collection::vec(0..5u8, 150),
    ) {
        let mut scene = Scene::new();
        let mut steady = scene.watched_from(Cursor::after(Seq(1)));
        let mut lazy = scene.watched_from(Cursor::after(Seq(1)));
        let mut shaky = scene.watched_from(Cursor::after(Seq(1)));
        for (shown, look) in walk(&choices).iter().skip(1).zip(looks.iter().cycle()) {
            scene.shows(shown);
            scene.catches_up(&mut steady);
            if *look == 0 {
                scene.catches_up(&mut lazy);
            }
            if *look == 1 {
                scene.catches_up(&mut shaky);
                scene.live.unwatch(shaky.id);
                let before = shaky;
                shaky = scene.watched_from(before.feed.cursor());
                shaky.seen = before.seen;
            }
        }
        scene.catches_up(&mut lazy);
        scene.catches_up(&mut shaky);
        let seen = put_together(&steady.seen);
        prop_assert_eq!(put_together(&lazy.seen), seen.clone());
        prop_assert_eq!(put_together(&shaky.seen), seen);
    }
}
