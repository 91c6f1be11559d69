//! Sessions that lie idle end, old ones go, and turns are left waiting when they should be.

use super::*;

use duragent::base::clock::{Clock, FakeClock};
use duragent::domain::event::EndReason;
use duragent::engine::{Lifetimes, Swept};

const HOUR: Duration = Duration::from_secs(3600);

/// A world whose sessions end after 10 idle hours, and are removed 2 hours later.
fn world() -> (World, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(std::time::SystemTime::now()));
    let world = World::with(Setup {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        lifetimes: Lifetimes {
            idle: Some(10 * HOUR),
            ended: Some(2 * HOUR),
        },
        tools: tool("deed", |_| panic!("it must not run")),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    });
    (world, clock)
}

fn sweep(world: &World) -> (usize, usize) {
    let Swept { ended, removed, .. } = world.sessions.sweep(|| false).unwrap();
    (ended, removed)
}

fn end_reason(world: &World, id: &SessionId) -> Option<EndReason> {
    world.sessions.show(id).unwrap().summary.end_reason
}

#[test]
fn an_idle_session_ends_and_goes_later_while_a_used_one_stays() {
    let (world, clock) = world();
    world.model.default_reply(text("yes"));
    let (idle, used) = (world.session(), world.session());
    read_all(&mut world.say(&idle, "are you there"));
    clock.advance(9 * HOUR);
    read_all(&mut world.say(&used, "are you there"));
    assert_eq!(sweep(&world), (0, 0));
    clock.advance(HOUR);
    assert_eq!(sweep(&world), (1, 0));
    assert_eq!(end_reason(&world, &idle), Some(EndReason::Timeout));
    assert_eq!(end_reason(&world, &used), None);
    let refused = world.sessions.submit(&idle, message("still there?"));
    assert!(matches!(refused, Err(EngineError::SessionEnded(_))));
    clock.advance(2 * HOUR);
    assert_eq!(sweep(&world), (0, 1));
    let gone = world.sessions.show(&idle);
    assert!(matches!(gone, Err(EngineError::SessionNotFound(_))));
    assert_eq!(end_reason(&world, &used), None);
}

#[test]
fn a_question_that_nobody_answered_is_skipped_before_the_end() {
    let (world, clock) = world();
    world.model.reply(tool_call("deed", "{}"));
    let id = world.session();
    let stream = world.attach(&id);
    drop(world.say(&id, "do it"));
    world.wait_for(&id, |event| matches!(event, Event::ApprovalRequired { .. }));
    world.wait_until_idle(&id);
    clock.advance(11 * HOUR);
    // Whoever is attached may still answer.
    assert_eq!(sweep(&world), (0, 0));
    drop(stream);
    assert_eq!(sweep(&world), (1, 0));
    let kinds = world.kinds(&id);
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["tools_skipped", "turn_ended", "session_end"]
    );
}

#[test]
fn an_agent_may_keep_its_sessions_for_longer_or_for_ever() {
    for (own, expected) in [(Some(20), 0), (Some(0), 0), (Some(1), 1), (None, 1)] {
        let clock = Arc::new(FakeClock::at(std::time::SystemTime::now()));
        let world = World::with(Setup {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            lifetimes: Lifetimes {
                idle: Some(10 * HOUR),
                ended: None,
            },
            ttl_hours: own,
            ..Setup::default()
        });
        world.session();
        clock.advance(15 * HOUR);
        let swept = world.sessions.sweep(|| false).unwrap();
        assert_eq!(swept.ended, expected, "{own:?}");
        let is_more_to_come = own == Some(20);
        assert_eq!(swept.is_more_to_come, is_more_to_come, "{own:?}");
    }
}

#[test]
fn many_sessions_are_swept_and_let_go_and_a_stop_ends_it() {
    let (world, clock) = world();
    let ids: Vec<SessionId> = (0..300).map(|_| world.session()).collect();
    clock.advance(11 * HOUR);
    let seen = std::cell::Cell::new(0);
    let stops = || {
        seen.set(seen.get() + 1);
        seen.get() > 10
    };
    assert_eq!(world.sessions.sweep(stops).unwrap().ended, 10);
    assert_eq!(sweep(&world), (290, 0));
    let world = world.restarted();
    assert!(
        ids.iter()
            .all(|id| end_reason(&world, id) == Some(EndReason::Timeout))
    );
}

/// A `continue` session whose turn was at work when the process ended.
fn left_over() -> (World, SessionId) {
    let world = World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        ..Setup::default()
    });
    world
        .model
        .reply(text("half").and_stall())
        .then(text(" whole"));
    let id = world.session();
    read_until(
        &mut world.say(&id, "tell me"),
        |event| matches!(event, FeedEvent::Token { content: text, .. } if text == "half"),
    );
    (world.restarted(), id)
}

#[test]
fn a_turn_that_is_left_waiting_goes_on_when_a_client_attaches() {
    let (world, id) = left_over();
    let recovered = world.sessions.recover(Recovery::LeaveWaiting, || false);
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(world.sessions.show(&id).unwrap().status, Status::Paused);
    assert_eq!(world.model.request_count(), 1);
    let stream = world.attach(&id);
    world.wait_for(&id, is_turn_end);
    drop(stream);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages.last().unwrap().content, "half whole");
}

#[test]
fn a_turn_that_is_left_waiting_goes_on_with_a_message_or_a_better_start() {
    let (world, id) = left_over();
    let leave = || world.sessions.recover(Recovery::LeaveWaiting, || false);
    leave().unwrap();
    world.model.default_reply(text("and more"));
    world.sessions.submit(&id, message("go on")).unwrap();
    world.wait_for(&id, is_turn_end);

    let (world, id) = left_over();
    world
        .sessions
        .recover(Recovery::LeaveWaiting, || false)
        .unwrap();
    let world = world.restarted();
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    world.wait_for(&id, is_turn_end);
}

/// A session that was used at `start`, on a clock that then does as `leap` says; how a sweep a day
/// later finds it.
fn swept_after(leap: impl Fn(&FakeClock)) -> Option<EndReason> {
    let (world, clock) = world();
    world.model.default_reply(text("yes"));
    let id = world.session();
    assert_eq!(sweep(&world), (0, 0));
    read_all(&mut world.say(&id, "are you there"));
    leap(&clock);
    assert_eq!(sweep(&world), (0, 0));
    // A process after this one knows of it.
    let world = world.restarted();
    assert_eq!(sweep(&world), (0, 0));
    clock.advance(9 * HOUR);
    assert_eq!(sweep(&world), (0, 0));
    clock.advance(HOUR);
    assert_eq!(sweep(&world), (1, 0));
    end_reason(&world, &id)
}

#[test]
fn a_clock_that_leaps_ends_nothing_before_its_time() {
    const YEARS: i64 = 27 * 365 * 86400;
    for leap in [YEARS, -YEARS] {
        let reason = swept_after(|clock| clock.leap(leap));
        assert_eq!(reason, Some(EndReason::Timeout), "{leap}");
        let reason = swept_after(|clock| {
            clock.reboot();
            clock.leap(leap);
        });
        assert_eq!(reason, Some(EndReason::Timeout), "a boot and {leap}");
    }
}

#[test]
fn a_clock_that_leaps_removes_no_ended_session_before_its_time() {
    let (world, clock) = world();
    let id = world.session();
    assert_eq!(sweep(&world), (0, 0));
    world.sessions.end(&id).unwrap();
    clock.leap(39 * 365 * 86400);
    assert_eq!(sweep(&world), (0, 0));
    clock.advance(2 * HOUR);
    assert_eq!(sweep(&world), (0, 1));
}

#[test]
fn sessions_of_an_older_version_are_not_ended_by_a_clock_that_is_years_off() {
    let (world, clock) = world();
    let id = world.session();
    assert_eq!(sweep(&world), (0, 0));
    world.sessions.stop(Duration::ZERO);
    std::fs::remove_file(world.folder.path().join("clock")).unwrap();
    clock.reboot();
    clock.leap(-27 * 365 * 86400);
    let world = world.restarted();
    assert_eq!(sweep(&world), (0, 0));
    clock.leap(27 * 365 * 86400);
    assert_eq!(sweep(&world), (0, 0));
    assert_eq!(end_reason(&world, &id), None);
}

#[test]
fn a_process_that_ends_before_it_has_looked_at_all_sessions_hides_no_leap() {
    let (world, clock) = world();
    let id = world.session();
    world.sessions.stop(Duration::ZERO);
    std::fs::remove_file(world.folder.path().join("clock")).ok();
    clock.reboot();
    clock.leap(27 * 365 * 86400);
    let world = world.restarted();
    world.sessions.stop(Duration::ZERO);
    let world = world.restarted();
    assert_eq!(sweep(&world), (0, 0));
    assert_eq!(end_reason(&world, &id), None);
}
