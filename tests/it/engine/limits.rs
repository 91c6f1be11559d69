//! What an agent may spend: refused before anything is stored, stopped before another call, and not
//! forgotten by a restart.

use std::path::PathBuf;
use std::time::SystemTime;

use duragent::base::clock::{Clock, FakeClock};
use duragent::base::fs::{Fault, FaultFs, FaultKind, SimDisk};
use duragent::domain::spec::LimitsSpec;
use duragent::domain::spend::Limit;
use rustix::io::Errno;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A world at half past ten. Every reply costs 15 tokens.
fn world(tokens_per_day: Option<u64>, turns_per_hour: Option<u64>) -> (World, Arc<FakeClock>) {
    let start = SystemTime::UNIX_EPOCH + 20_000 * 24 * HOUR + 10 * HOUR + HOUR / 2;
    let clock = Arc::new(FakeClock::at(start));
    let world = World::with(Setup {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        limits: LimitsSpec {
            tokens_per_day,
            turns_per_hour,
            reply_bytes: None,
            cost_per_day: None,
        },
        on_disconnect: OnDisconnect::Continue,
        tools: tool("deed", repeats),
        ..Setup::default()
    });
    world.model.default_reply(text("yes").usage(10, 5));
    (world, clock)
}

/// The limit that refuses a message, and for how long. Nothing of it is stored.
fn refusal(world: &World, id: &SessionId) -> (Limit, Duration) {
    let before = world.kinds(id);
    let refused = world.sessions.submit(id, message("one more"));
    let Err(EngineError::LimitReached {
        agent,
        reached,
        retry_after,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(agent, "helper");
    assert_eq!(world.kinds(id), before);
    (reached.limit, retry_after)
}

#[test]
fn spent_tokens_refuse_messages_in_every_session_until_the_day_ends() {
    let (world, clock) = world(Some(30), None);
    let (a, b) = (world.session(), world.session());
    read_all(&mut world.say(&a, "hi"));
    // Not all is spent: a message may spend more than is left.
    read_all(&mut world.say(&b, "hi"));
    let until_midnight = 13 * HOUR + HOUR / 2;
    let expected = (Limit::TokensPerDay, until_midnight);
    assert_eq!(refusal(&world, &a), expected);
    assert_eq!(refusal(&world, &b), expected);
    let world = world.restarted();
    assert_eq!(refusal(&world, &b), expected);
    clock.advance(until_midnight - Duration::from_secs(1));
    assert_eq!(refusal(&world, &a).1, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    read_all(&mut world.say(&a, "good morning"));
    // And what was spent yesterday is not found by another start.
    let world = world.restarted();
    read_all(&mut world.say(&b, "good morning"));
    assert_eq!(refusal(&world, &a).0, Limit::TokensPerDay);
}

#[test]
fn what_was_spent_can_be_read_before_anybody_asks() {
    let (world, _clock) = world(Some(15), None);
    let (a, b) = (world.session(), world.session());
    read_all(&mut world.say(&a, "hi"));
    let world = world.restarted();
    world
        .sessions
        .read_spending(["helper", "nobody"].into_iter());
    // What is read now is not there any more.
    world.sessions.delete(&a).unwrap();
    assert_eq!(refusal(&world, &b).0, Limit::TokensPerDay);
}

#[test]
fn begun_turns_refuse_messages_until_the_hour_ends_but_not_to_a_turn_at_work() {
    let (world, clock) = world(None, Some(2));
    let (a, b) = (world.session(), world.session());
    read_all(&mut world.say(&a, "hi"));
    world.model.reply(stall().and_text("yes"));
    let mut at_work = world.say(&a, "think");
    world.model.wait_for_stalls(1);
    assert_eq!(refusal(&world, &b), (Limit::TurnsPerHour, HOUR / 2));
    // It is seen by the turn that has begun.
    world.sessions.submit(&a, message("and this")).unwrap();
    world.model.release();
    read_all(&mut at_work);
    world.wait_until_idle(&a);
    assert_eq!(refusal(&world, &a), (Limit::TurnsPerHour, HOUR / 2));
    let world = world.restarted();
    assert_eq!(refusal(&world, &b), (Limit::TurnsPerHour, HOUR / 2));
    clock.advance(HOUR / 2);
    read_all(&mut world.say(&b, "hi"));
}

#[test]
fn a_turn_that_spends_the_last_tokens_asks_the_model_no_more() {
    let (world, _clock) = world(Some(15), None);
    world
        .model
        .reply(tool_call("deed", "{}").usage(10, 5))
        .then(text("never said"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "go"));
    let ended = world.wait_for(&id, |event| matches!(event, Event::TurnEnded { .. }));
    let Event::TurnEnded { outcome, error, .. } = ended.event else {
        unreachable!("it was asked for");
    };
    assert_eq!(outcome, Outcome::Failed);
    let error = error.unwrap();
    assert_eq!(error.code, "limit_reached");
    assert!(
        error.message.starts_with(
            "agent 'helper' has spent its 15 tokens of this day (`spec.limits.tokens_per_day`); \
             it goes on at "
        ),
        "{}",
        error.message
    );
    // The reply and the deed that it paid for are kept, and clients are told.
    let kinds = world.kinds(&id);
    assert!(kinds.contains(&"tool_result"), "{kinds:?}");
    assert!(format!("{items:?}").contains("limit_reached"), "{items:#?}");
    assert_eq!(world.model.request_count(), 1);
}

#[test]
fn of_many_messages_at_once_no_more_begin_turns_than_may() {
    let (world, _clock) = world(None, Some(3));
    world.model.default_reply(stall().and_text("yes"));
    let ids: Vec<SessionId> = (0..12).map(|_| world.session()).collect();
    let accepted = std::thread::scope(|scope| {
        let submit = |id| world.sessions.submit(id, message("me first"));
        let threads: Vec<_> = ids
            .iter()
            .map(|id| scope.spawn(move || submit(id)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.filter(Result::is_ok).count()
    });
    assert_eq!(accepted, 3);
    world.model.wait_for_stalls(3);
    world.model.allow_violations();
}

#[test]
fn a_repeated_key_is_answered_also_when_nothing_may_be_spent() {
    let (world, _clock) = world(None, Some(1));
    let id = world.session();
    let keyed = NewMessage {
        key: Some(SourceId::parse("k").unwrap()),
        ..message("hi")
    };
    let first = world.sessions.submit(&id, keyed.clone()).unwrap();
    world.wait_for(&id, |event| matches!(event, Event::TurnEnded { .. }));
    refusal(&world, &id);
    let again = world.sessions.submit(&id, keyed).unwrap();
    assert_eq!(
        (again.message_id, again.is_repeat),
        (first.message_id, true)
    );
}

#[test]
fn a_deleted_session_has_spent_what_it_has() {
    let (world, _clock) = world(Some(15), None);
    let (a, b) = (world.session(), world.session());
    read_all(&mut world.say(&a, "hi"));
    world.sessions.delete(&a).unwrap();
    assert_eq!(refusal(&world, &b).0, Limit::TokensPerDay);
}

/// One message that a full disk may refuse, and one to another session; whether an operation failed.
fn refused_by_a_full_disk(at: u64) -> bool {
    let fs = FaultFs::new(
        Arc::new(SimDisk::new()),
        Fault {
            at,
            kind: FaultKind::Error(Errno::NOSPC),
        },
    );
    let store = FileStore::new(Arc::new(fs.clone()), PathBuf::from("/workspace"));
    let model = FakeModel::start();
    model.default_reply(stall());
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        limits: LimitsSpec {
            tokens_per_day: None,
            turns_per_hour: Some(1),
            reply_bytes: None,
            cost_per_day: None,
        },
        ..Setup::default()
    };
    let sessions = start_with(store, providers(), &model.url(), &setup);
    let ids = [(), ()].map(|()| sessions.create(&draft("helper")));
    if let [Ok(a), Ok(b)] = ids {
        let [first, second] =
            [a, b].map(|session| sessions.submit(&session.id, message("hi")).is_ok());
        assert_eq!(second, !first, "{at}");
    }
    sessions.stop(Duration::ZERO);
    fs.operations() >= at
}

#[test]
fn a_message_that_could_not_be_stored_gives_its_turn_back() {
    // At each operation, until none is left that could fail.
    let refusals = (1..).take_while(|at| refused_by_a_full_disk(*at));
    assert!(refusals.count() > 20, "two messages take more than that");
}

#[test]
fn what_was_spent_before_the_last_pages_of_a_log_is_found() {
    let (world, _clock) = world(Some(45), None);
    let id = world.session();
    let long = "word ".repeat(60 << 10);
    for _ in 0..3 {
        read_all(&mut world.say(&id, &long));
    }
    let world = world.restarted();
    assert_eq!(refusal(&world, &id).0, Limit::TokensPerDay);
}
