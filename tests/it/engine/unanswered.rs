//! Questions that nobody answers in time: denied by the engine, once, and by nothing but time.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

use crate::support::sessions::Reloaded;
use duragent::base::clock::{Clock, FakeClock};
use duragent::domain::event::ApprovalKind;

const LIMIT: Duration = Duration::from_secs(3600);
const YEARS: i64 = 20 * 365 * 86_400;

/// A world whose agent asks before its one tool, and waits an hour for the answer.
struct Asking {
    world: World,
    clock: Arc<FakeClock>,
}

impl Asking {
    fn new(on_disconnect: OnDisconnect) -> Asking {
        Asking::with(on_disconnect, tool("deed", |_| panic!("nobody allowed it")))
    }

    fn with(on_disconnect: OnDisconnect, tools: Toolbox) -> Asking {
        let clock = Arc::new(FakeClock::at(std::time::SystemTime::now()));
        let world = World::with(Setup {
            on_disconnect,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            tools,
            policy: Arc::new(AskAlways),
            adapt: |spec| spec.session.approval_timeout = Some(LIMIT),
            ..Setup::default()
        });
        world.model.default_reply(text("so be it"));
        Asking { world, clock }
    }

    /// A session whose turn waits for an answer, with nobody attached.
    fn ask(&self) -> (SessionId, Record) {
        self.world.model.reply(tool_call("deed", "{}"));
        let id = self.world.session();
        drop(self.world.say(&id, "do it"));
        (id.clone(), self.question(&id))
    }

    fn question(&self, id: &SessionId) -> Record {
        let is_asked = |event: &Event| matches!(event, Event::ApprovalRequired { .. });
        let asked = self.world.wait_for(id, is_asked);
        self.world.wait_until_idle(id);
        asked
    }

    /// Waits until the timer has looked at the one open question, as the clock is now.
    fn look(&self) {
        let reloaded = &self.world.setup.reloaded;
        // One look may have begun before, and another is over when the next begins.
        for _ in 0..3 {
            let before = reloaded.asked();
            self.world.sessions.agents_changed();
            let deadline = Instant::now() + PATIENCE;
            while reloaded.asked() == before {
                assert!(Instant::now() < deadline, "the timer does not look");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Has the timer look, and waits until it has denied.
    fn denial(&self, id: &SessionId) -> Record {
        self.world.sessions.agents_changed();
        self.world.wait_for(id, is_decision)
    }

    fn decisions(&self, id: &SessionId) -> Vec<Decision> {
        let log = self.world.log(id);
        log.iter()
            .filter_map(|record| match record.event {
                Event::ApprovalDecision { decision, .. } => Some(decision),
                _ => None,
            })
            .collect()
    }

    fn restarted(self, how: Recovery) -> Asking {
        let asking = self.stopped_and_started();
        asking.world.sessions.recover(how, || false).unwrap();
        asking
    }

    fn stopped_and_started(self) -> Asking {
        Asking {
            world: self.world.restarted(),
            ..self
        }
    }
}

fn is_decision(event: &Event) -> bool {
    matches!(event, Event::ApprovalDecision { .. })
}

fn approve(world: &World, id: &SessionId, decision: Decision) -> Result<(), EngineError> {
    let call_id = world
        .log(id)
        .iter()
        .find_map(|record| match &record.event {
            Event::ApprovalRequired { call_id, .. } => Some(call_id.to_string()),
            _ => None,
        })
        .unwrap();
    let command = "deed {}";
    let answered = world
        .sessions
        .approve(id, &call_id, command, decision, &Principal::Owner);
    answered.map(|_| ())
}

/// What the model was told last of a call.
fn told(world: &World) -> String {
    world.model.requests().last().unwrap().last_message()
}

#[test]
fn a_question_that_nobody_answers_in_time_is_denied_and_the_turn_goes_on() {
    let asking = Asking::new(OnDisconnect::Continue);
    let world = &asking.world;
    world.model.reply(tool_call("deed", "{}"));
    let id = world.session();
    let mut stream = world.attach(&id);
    drop(world.say(&id, "do it"));
    asking.question(&id);
    asking.clock.advance(LIMIT - Duration::from_secs(1));
    asking.look();
    assert_eq!(asking.decisions(&id), []);
    asking.clock.advance(Duration::from_secs(1));
    asking.denial(&id);
    let shown = read_until(&mut stream, |event| {
        matches!(event, FeedEvent::ApprovalDecision { .. })
    });
    let is_denial = |item: &FeedItem| {
        let decision = Decision::Deny;
        matches!(&item.event, FeedEvent::ApprovalDecision { decision: told, by: None, .. } if *told == decision)
    };
    assert!(shown.iter().any(is_denial), "{shown:?}");
    world.wait_for(&id, is_turn_end);
    assert!(told(world).contains("nobody answered"), "{}", told(world));
    assert_eq!(asking.decisions(&id), [Decision::Deny]);
    let late = approve(world, &id, Decision::AllowOnce);
    assert!(
        matches!(late, Err(EngineError::AlreadyAnswered)),
        "{late:?}"
    );
}

#[test]
fn an_answer_in_time_counts_and_the_next_question_has_its_own_time() {
    let asking = Asking::with(OnDisconnect::Continue, tool("deed", repeats));
    let (id, _) = asking.ask();
    asking.clock.advance(LIMIT - Duration::from_secs(1));
    asking.world.model.reply(tool_call("deed", "{}"));
    approve(&asking.world, &id, Decision::AllowOnce).unwrap();
    let questions = || {
        let kinds = asking.world.kinds(&id);
        kinds
            .iter()
            .filter(|kind| **kind == "approval_required")
            .count()
    };
    let deadline = Instant::now() + PATIENCE;
    while questions() < 2 {
        assert!(Instant::now() < deadline, "{:?}", asking.world.kinds(&id));
        std::thread::sleep(Duration::from_millis(2));
    }
    asking.clock.advance(LIMIT - Duration::from_secs(1));
    asking.look();
    assert_eq!(asking.decisions(&id), [Decision::AllowOnce]);
    asking.clock.advance(Duration::from_secs(1));
    asking.world.sessions.agents_changed();
    asking.world.wait_for(&id, is_turn_end);
    assert_eq!(asking.decisions(&id), [Decision::AllowOnce, Decision::Deny]);
}

#[test]
fn a_session_that_pauses_is_denied_and_then_waits_for_its_client() {
    let asking = Asking::new(OnDisconnect::Pause);
    let world = &asking.world;
    world.model.reply(tool_call("deed", "{}"));
    let id = world.session();
    let stream = world.say(&id, "do it");
    asking.question(&id);
    drop(stream);
    asking.clock.advance(LIMIT);
    asking.denial(&id);
    world.wait_for(&id, |event| matches!(event, Event::StatusChange { .. }));
    assert_eq!(world.sessions.show(&id).unwrap().status, Status::Paused);
    assert_eq!(world.model.request_count(), 1);
    let _client = world.attach(&id);
    world.wait_for(&id, is_turn_end);
    assert!(told(world).contains("nobody answered"), "{}", told(world));
}

#[test]
fn the_time_goes_on_while_the_server_is_down() {
    let asking = Asking::new(OnDisconnect::Continue);
    let (id, asked) = asking.ask();
    asking.clock.advance(LIMIT / 2);
    let asking = asking.restarted(Recovery::TakeUp);
    asking.look();
    assert_eq!(asking.decisions(&id), []);
    asking.clock.advance(LIMIT / 2);
    let denied = asking.denial(&id);
    assert_eq!(denied.timestamp.since(asked.timestamp), LIMIT);
    asking.world.wait_for(&id, is_turn_end);

    // It passed while nobody looked: found at the start, nobody has to ask for it.
    let (id, _) = asking.ask();
    asking.world.sessions.stop(Duration::ZERO);
    asking.clock.advance(2 * LIMIT);
    let asking = asking.restarted(Recovery::TakeUp);
    asking.world.wait_for(&id, is_turn_end);
    assert_eq!(asking.decisions(&id), [Decision::Deny]);
}

#[test]
fn where_turns_are_left_waiting_a_denied_one_waits_too() {
    let asking = Asking::new(OnDisconnect::Continue);
    let (id, _) = asking.ask();
    asking.clock.advance(LIMIT);
    // Before the server has said what becomes of turns, none is set going by looking at it.
    let asking = asking.stopped_and_started();
    asking.world.sessions.show(&id).unwrap();
    asking.look();
    assert_eq!(asking.decisions(&id), []);
    let sessions = &asking.world.sessions;
    sessions.recover(Recovery::LeaveWaiting, || false).unwrap();
    asking.world.wait_for(&id, is_decision);
    assert_eq!(sessions.show(&id).unwrap().status, Status::Paused);
    assert_eq!(asking.world.model.request_count(), 1);
    let _client = asking.world.attach(&id);
    asking.world.wait_for(&id, is_turn_end);
}

#[test]
fn a_leap_of_the_clock_denies_nothing_and_the_time_goes_on_after_it() {
    for leap in [YEARS, -YEARS] {
        let asking = Asking::new(OnDisconnect::Continue);
        let (id, _) = asking.ask();
        asking.clock.leap(leap);
        asking.look();
        asking.clock.advance(LIMIT - Duration::from_secs(1));
        asking.look();
        assert_eq!(asking.decisions(&id), [], "{leap}");
        asking.clock.advance(Duration::from_secs(1));
        asking.denial(&id);
    }
}

#[test]
fn after_a_leap_that_a_restart_finds_the_time_counts_from_the_leap() {
    for leap in [YEARS, -YEARS] {
        let asking = Asking::new(OnDisconnect::Continue);
        let (id, _) = asking.ask();
        asking.world.sessions.stop(Duration::ZERO);
        asking.clock.leap(leap);
        let asking = asking.restarted(Recovery::TakeUp);
        asking.look();
        assert_eq!(asking.decisions(&id), [], "{leap}");
        // And over one more restart.
        asking.clock.advance(LIMIT / 2);
        let asking = asking.restarted(Recovery::TakeUp);
        asking.clock.advance(LIMIT / 2 - Duration::from_secs(1));
        asking.look();
        assert_eq!(asking.decisions(&id), [], "{leap}");
        asking.clock.advance(Duration::from_secs(1));
        asking.denial(&id);
    }
}

#[test]
fn an_agent_that_is_loaded_anew_changes_the_time_of_open_questions() {
    let asking = Asking::new(OnDisconnect::Continue);
    let reloaded = &asking.world.setup.reloaded;
    let (id, _) = asking.ask();
    asking.clock.advance(LIMIT / 2);
    let waits_longer = Reloaded::Waits(Some(9 * LIMIT));
    for other in [Reloaded::Gone, Reloaded::Waits(None), waits_longer] {
        reloaded.set(other);
        asking.clock.advance(LIMIT);
        asking.look();
        assert_eq!(asking.decisions(&id), [], "{other:?}");
    }
    reloaded.set(Reloaded::Waits(Some(LIMIT)));
    asking.denial(&id);
    asking.world.wait_for(&id, is_turn_end);
}

#[test]
fn of_an_answer_and_the_end_of_the_time_at_once_the_first_counts() {
    let asking = Asking::with(OnDisconnect::Continue, tool("deed", repeats));
    for _ in 0..20 {
        let (id, _) = asking.ask();
        asking.clock.advance(LIMIT);
        let answered = std::thread::scope(|scope| {
            scope.spawn(|| asking.world.sessions.agents_changed());
            approve(&asking.world, &id, Decision::AllowOnce)
        });
        asking.world.wait_for(&id, is_turn_end);
        let expected = match answered {
            Ok(()) => Decision::AllowOnce,
            Err(EngineError::AlreadyAnswered) => Decision::Deny,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(asking.decisions(&id), [expected]);
    }
}

#[test]
fn what_was_cancelled_ended_or_deleted_is_not_denied_afterwards() {
    let asking = Asking::new(OnDisconnect::Continue);
    let world = &asking.world;
    let (cancelled, _) = asking.ask();
    let (ended, _) = asking.ask();
    let (deleted, _) = asking.ask();
    assert!(world.sessions.cancel(&cancelled).unwrap());
    world.sessions.end(&ended).unwrap();
    world.sessions.delete(&deleted).unwrap();
    let (other, _) = asking.ask();
    asking.clock.advance(LIMIT);
    asking.denial(&other);
    asking.world.wait_for(&other, is_turn_end);
    for id in [&cancelled, &ended] {
        assert_eq!(asking.decisions(id), []);
    }
    let gone = world.sessions.show(&deleted);
    assert!(matches!(gone, Err(EngineError::SessionNotFound(_))));
}

#[test]
fn whether_a_call_has_run_is_asked_for_ever() {
    static IS_RUNNING: AtomicBool = AtomicBool::new(false);
    let hangs = |_: &str| {
        IS_RUNNING.store(true, Ordering::SeqCst);
        std::thread::sleep(PATIENCE);
        repeats("")
    };
    let asking = Asking::with(OnDisconnect::Continue, tool("deed", hangs));
    let (id, _) = asking.ask();
    approve(&asking.world, &id, Decision::AllowOnce).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !IS_RUNNING.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it does not run");
        std::thread::sleep(Duration::from_millis(2));
    }
    // As after a kill at this moment.
    let folder = Arc::new(tempfile::tempdir().unwrap());
    super::at_most_once::copy_tree(asking.world.folder.path(), folder.path());
    let setup = asking.world.setup.clone();
    let killed = Asking {
        world: World::on(folder, FakeModel::start(), setup),
        clock: Arc::clone(&asking.clock),
    };
    killed.world.model.default_reply(text("so be it"));
    let recover = || killed.world.sessions.recover(Recovery::TakeUp, || false);
    assert_eq!(recover().unwrap(), 1);
    let uncertain = |event: &Event| {
        let kind = ApprovalKind::Uncertain;
        matches!(event, Event::ApprovalRequired { kind: asked, .. } if *asked == kind)
    };
    killed.world.wait_for(&id, uncertain);
    killed.world.wait_until_idle(&id);
    killed.clock.advance(100 * LIMIT);
    // The timer has looked when it has denied this one, and looks at all each time.
    let (other, _) = killed.ask();
    killed.clock.advance(LIMIT);
    killed.denial(&other);
    killed.world.wait_for(&other, is_turn_end);
    assert_eq!(killed.decisions(&id), [Decision::AllowOnce]);
    assert!(
        killed
            .world
            .sessions
            .show(&id)
            .unwrap()
            .pending_approval
            .is_some()
    );
}
