//! The engine on a disk that takes nothing for a while: turns wait, and go on by themselves.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use duragent::base::fs::{FaultFs, SimDisk};
use duragent::domain::chat::Chat;
use duragent::engine::Cut;
use rustix::io::Errno;

use super::*;

/// An engine on a disk that can be full; its one agent goes on without a client, unless told otherwise.
struct FullWorld {
    sessions: Sessions,
    model: FakeModel,
    fs: FaultFs,
    /// The operation from which on it is full.
    full_from: Arc<AtomicU64>,
    setup: Setup,
}

impl FullWorld {
    fn new(errno: Errno, tools: Toolbox) -> FullWorld {
        FullWorld::with(errno, tools, OnDisconnect::Continue)
    }

    fn with(errno: Errno, tools: Toolbox, on_disconnect: OnDisconnect) -> FullWorld {
        FullWorld::of(
            errno,
            Setup {
                on_disconnect,
                tools,
                ..Setup::default()
            },
        )
    }

    fn of(errno: Errno, setup: Setup) -> FullWorld {
        let full_from = Arc::new(AtomicU64::new(u64::MAX));
        let fs = FaultFs::full_from(Arc::new(SimDisk::new()), errno, Arc::clone(&full_from));
        let model = FakeModel::start();
        FullWorld {
            sessions: engine(fs.clone(), &model, &setup),
            model,
            fs,
            full_from,
            setup,
        }
    }

    /// The disk is full from the `ahead`-th operation from here on.
    fn fill_after(&self, ahead: u64) -> u64 {
        let from = self.fs.operations() + ahead;
        self.full_from.store(from, Ordering::SeqCst);
        from
    }

    fn make_room(&self) {
        self.full_from.store(u64::MAX, Ordering::SeqCst);
    }

    fn log(&self, id: &SessionId) -> Vec<Record> {
        self.sessions.events(id, Seq::ZERO, 10_000).unwrap()
    }

    fn has_ended(&self, id: &SessionId) -> bool {
        self.log(id).iter().any(|record| is_turn_end(&record.event))
    }

    fn wait_until(&self, what: &str, is_true: impl Fn(&FullWorld) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true(self) {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// From memory: reading the log would count as operations, of which one is to fail.
    fn is_idle(&self, id: &SessionId) -> bool {
        !self.sessions.show(id).unwrap().working
    }

    fn is_waiting(&self) -> bool {
        self.sessions.waiting_for_room().is_some()
    }
}

impl Drop for FullWorld {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

fn engine(fs: FaultFs, model: &FakeModel, setup: &Setup) -> Sessions {
    let store = FileStore::new(Arc::new(fs), PathBuf::from("/workspace"));
    start_with(store, providers(), &model.url(), setup)
}

fn detached(key: &str) -> NewMessage {
    NewMessage {
        detached: true,
        ..keyed("do it", key)
    }
}

/// One turn with a tool on a disk that is full from its `at`-th operation on, until all stands
/// still; whether it came to that.
fn waits_and_goes_on(errno: Errno, at: u64) -> bool {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let counted = |arguments: &str| {
        RUNS.fetch_add(1, Ordering::SeqCst);
        repeats(arguments)
    };
    let world = FullWorld::new(errno, tool("deed", counted));
    world.model.reply(tool_call("deed", "{}"));
    world.model.default_reply(text("all is well"));
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    let runs = RUNS.load(Ordering::SeqCst);
    let from = world.fill_after(at);
    let refused = world.sessions.submit(&id, detached("k-1"));
    if let Err(error) = &refused {
        assert!(error.is_passing(), "{error:?}");
        assert_eq!(world.log(&id).len(), 1, "said to be not stored");
        world.make_room();
        world.sessions.submit(&id, detached("k-1")).unwrap();
    }
    world.wait_until("it neither waits nor ends", |world| {
        world.is_waiting() || world.is_idle(&id)
    });
    world.make_room();
    world.wait_until("it does not go on", |world| world.has_ended(&id));
    let log = world.log(&id);
    let ends: Vec<_> = log.iter().filter(|one| is_turn_end(&one.event)).collect();
    assert!(
        matches!(
            ends[..],
            [Record {
                event: Event::TurnEnded {
                    outcome: Outcome::Completed,
                    ..
                },
                ..
            }]
        ),
        "at {at}: {ends:?}"
    );
    assert_eq!(RUNS.load(Ordering::SeqCst), runs + 1, "at {at}");
    assert_eq!(world.sessions.read_only(), 0, "at {at}");
    world.wait_until("it is still said to wait", |world| !world.is_waiting());
    world.fs.operations() >= from
}

/// At every operation of a turn: its start, its journal, the reply, the call's start and result, its end.
fn at_every_operation(errno: Errno) {
    let mut at = 1;
    while waits_and_goes_on(errno, at) {
        at += 1;
    }
    assert!(at > 15, "the turn took {at} operations only");
}

#[test]
fn a_turn_waits_at_any_moment_of_it_until_there_is_room_and_goes_on_by_itself() {
    at_every_operation(Errno::NOSPC);
    // The rest as well, at some of the moments: what is told of them apart is one function.
    for errno in [Errno::DQUOT, Errno::ROFS, Errno::MFILE] {
        for at in [1, 2, 3, 4, 6, 9, 12, 15] {
            waits_and_goes_on(errno, at);
        }
    }
}

#[test]
fn text_that_was_shown_before_the_disk_was_full_stays_and_the_rest_follows() {
    let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
    world
        .model
        .reply(text("one ").and_stall().and_text("lost"))
        .then(text("two"));
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    let (_, mut stream) = world
        .sessions
        .submit_and_follow(&id, detached("k-1"))
        .unwrap();
    read_until(
        &mut stream,
        |event| matches!(event, FeedEvent::Token { content: text, .. } if text == "one "),
    );
    world.fill_after(1);
    world.model.release();
    let Cut::Waits(why) = read_to_the_cut(&mut stream) else {
        panic!("another reason");
    };
    assert!(why.contains("the disk is full"), "{why}");
    assert!(
        why.contains("are free") && why.contains("are wanted"),
        "{why}"
    );
    // Told a moment before it waits.
    world.wait_until("it does not wait", FullWorld::is_waiting);
    assert_eq!(world.sessions.waiting_for_room(), Some((1, why)));
    // Who comes meanwhile can read, and sees it go on.
    let begin = Begin::Now { history: 20 };
    let mut late = world
        .sessions
        .subscribe(&id, begin, Presence::default())
        .unwrap();
    world.make_room();
    read_until(&mut late, FeedEvent::ends_turn);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages.last().unwrap().content, "one two");
    assert_eq!(world.model.request_count(), 2);
}

#[test]
fn a_turn_does_not_pause_for_want_of_those_who_were_told_that_it_goes_on() {
    let world = FullWorld::with(Errno::NOSPC, Toolbox::default(), OnDisconnect::Pause);
    world
        .model
        .reply(text("one ").and_stall().and_text("lost"))
        .then(text("two"));
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    let (_, mut stream) = world
        .sessions
        .submit_and_follow(&id, keyed("do it", "k-1"))
        .unwrap();
    read_until(
        &mut stream,
        |event| matches!(event, FeedEvent::Token { content: text, .. } if text == "one "),
    );
    world.fill_after(1);
    world.model.release();
    let cut = read_to_the_cut(&mut stream);
    assert!(matches!(cut, Cut::Waits(_)), "{cut:?}");
    drop(stream);
    world.make_room();
    world.wait_until("it does not go on", |world| world.has_ended(&id));
    // The next one is for its own client again.
    world.model.default_reply(text("three"));
    world
        .sessions
        .submit(&id, keyed("once more", "k-2"))
        .unwrap();
    world.wait_until("it does not pause", |world| {
        world.sessions.show(&id).unwrap().status == Status::Paused
    });
}

fn read_to_the_cut(stream: &mut Subscription) -> Cut {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match stream.pull(&mut Vec::new()).unwrap() {
            Flow::Cut(cut) => return cut,
            Flow::Open => drop(stream.wake().recv_deadline(deadline)),
            Flow::More => {}
            Flow::Over => panic!("it ended"),
        }
        assert!(Instant::now() < deadline);
    }
}

/// A turn that waits for room at its first event.
fn waiting() -> (FullWorld, SessionId) {
    let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
    world.model.default_reply(text("well"));
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    // As soon as the disk takes the message, and nothing after it.
    for ahead in 1.. {
        world.fill_after(ahead);
        let key = format!("k-{ahead}");
        if world.sessions.submit(&id, detached(&key)).is_ok() {
            break;
        }
        world.make_room();
    }
    world.wait_until("it does not wait", FullWorld::is_waiting);
    (world, id)
}

#[test]
fn a_cancel_that_cannot_be_written_says_so_and_the_turn_goes_on() {
    let (world, id) = waiting();
    let refused = world.sessions.cancel(&id);
    assert!(
        matches!(refused, Err(EngineError::DiskFull(Some(_)))),
        "{refused:?}"
    );
    assert!(world.is_waiting());
    world.make_room();
    world.wait_until("it does not go on", |world| world.has_ended(&id));
}

#[test]
fn a_session_whose_turn_waits_can_be_deleted_which_makes_room() {
    let (world, id) = waiting();
    world.sessions.delete(&id).unwrap();
    world.wait_until("it is still said to wait", |world| !world.is_waiting());
    let gone = world.sessions.show(&id);
    assert!(matches!(gone, Err(EngineError::SessionNotFound(_))));
}

#[test]
fn a_reply_that_came_whole_is_not_asked_for_again() {
    let mut asked = Vec::new();
    for ahead in 1.. {
        let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
        world.model.reply(stall().and_text("well"));
        world.model.default_reply(text("asked again"));
        let id = world.sessions.create(&draft("helper")).unwrap().id;
        world.sessions.submit(&id, detached("k-1")).unwrap();
        world.model.wait_for_stalls(1);
        let from = world.fill_after(ahead);
        world.model.release();
        world.wait_until("it neither waits nor ends", |world| {
            world.is_waiting() || world.is_idle(&id)
        });
        let has_waited = world.is_waiting();
        world.make_room();
        world.wait_until("it does not go on", |world| world.has_ended(&id));
        if has_waited {
            asked.push(world.model.request_count());
        }
        if world.fs.operations() < from {
            break;
        }
    }
    // The last to find no room is the log, with all of the reply in hand.
    assert_eq!(asked.last(), Some(&1), "{asked:?}");
}

#[test]
fn a_stop_does_not_wait_for_a_turn_that_waits_and_the_next_start_takes_it_up() {
    let (mut world, id) = waiting();
    let began = Instant::now();
    world.sessions.stop(Duration::from_secs(60));
    assert!(began.elapsed() < Duration::from_secs(30));
    world.sessions = engine(world.fs.clone(), &world.model, &world.setup);
    // The disk is full still: what was left over waits again.
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    world.wait_until("it does not wait", FullWorld::is_waiting);
    world.make_room();
    world.wait_until("it does not go on", |world| world.has_ended(&id));
}

#[test]
fn a_message_on_a_full_disk_is_refused_with_the_numbers_and_is_not_stored() {
    let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    world.fill_after(1);
    let refused = world.sessions.submit(&id, detached("k-1")).unwrap_err();
    assert!(refused.to_string().contains("are free"), "{refused}");
    assert_eq!(world.log(&id).len(), 1);
    assert!(!world.is_waiting());
    assert!(world.sessions.create(&draft("helper")).is_err());
    // And who deletes makes room.
    world.sessions.delete(&id).unwrap();
}

#[test]
fn a_creation_whose_key_cannot_be_stored_leaves_no_second_session() {
    let key = SourceId::parse("k-1").unwrap();
    let mut at = 1;
    loop {
        let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
        let from = world.fill_after(at);
        let created = world.sessions.create(&keyed_draft("helper", &key));
        world.make_room();
        let again = world.sessions.create(&keyed_draft("helper", &key)).unwrap();
        if let Ok(created) = created {
            assert_eq!(created.id, again.id, "at {at}");
        }
        let query = ListQuery {
            limit: 10,
            ..ListQuery::default()
        };
        let listed = world.sessions.list(&query).unwrap().sessions;
        assert_eq!(listed.len(), 1, "at {at}");
        if world.fs.operations() < from {
            break;
        }
        at += 1;
    }
    assert!(at > 5, "{at}");
}

#[test]
fn a_creation_whose_key_cannot_be_stored_leaves_the_conversation_of_its_chat_alone() {
    let key = SourceId::parse("k-1").unwrap();
    let in_chat = |draft: SessionDraft| SessionDraft {
        chat: Some(Chat::new("telegram", "42")),
        ..draft
    };
    let world = FullWorld::new(Errno::NOSPC, Toolbox::default());
    let begun = world.sessions.create(&in_chat(draft("helper"))).unwrap();
    world.fill_after(0);
    let refused = world.sessions.create(&in_chat(keyed_draft("helper", &key)));
    assert!(matches!(refused, Err(EngineError::DiskFull(_))));
    world.make_room();
    assert_eq!(world.sessions.show(&begun.id).unwrap().id, begun.id);
    let again = world.sessions.create(&in_chat(keyed_draft("helper", &key)));
    assert_eq!(again.unwrap().id, begun.id);
}

#[test]
fn a_question_that_nobody_answered_is_denied_when_there_is_room() {
    let world = FullWorld::of(
        Errno::NOSPC,
        Setup {
            on_disconnect: OnDisconnect::Continue,
            tools: tool("deed", |_| panic!("nobody allowed it")),
            policy: Arc::new(AskAlways),
            adapt: |spec| spec.session.approval_timeout = Some(Duration::from_secs(1)),
            ..Setup::default()
        },
    );
    world.model.reply(tool_call("deed", "{}"));
    world.model.default_reply(text("so be it"));
    let id = world.sessions.create(&draft("helper")).unwrap().id;
    world.sessions.submit(&id, detached("k-1")).unwrap();
    world.wait_until("it is not asked", |world| {
        world.is_idle(&id) && world.log(&id).len() > 3
    });
    let from = world.fill_after(0);
    // It has tried to write.
    world.wait_until("it is not due", |world| world.fs.operations() > from + 1);
    world.make_room();
    world.wait_until("it is not denied", |world| world.has_ended(&id));
    let told = world.model.requests().last().unwrap().last_message();
    assert!(told.contains("nobody answered"), "{told}");
}
