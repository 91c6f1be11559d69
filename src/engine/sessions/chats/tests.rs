#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the events that it is about"
)]

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::base::fs::{Fs as _, replace_file};
use crate::base::lock::lock;
use crate::domain::access::QueueSpec;
use crate::domain::event::{Outcome, Trigger};
use crate::domain::message::{Message, MessageText};
use crate::domain::principal::GatewaySender;
use crate::domain::story;
use crate::engine::sessions::requests::{Overheard, SessionDraft};
use crate::engine::testing::{Bench, says};
use crate::engine::upkeep::recovery::Recovery;
use crate::engine::watch::live::{RunningWorker, Work};
use crate::llm::Request;

fn group() -> Chat {
    Chat::new("telegram", "-100")
}

fn in_chat(bench: &Bench, chat: &Chat) -> SessionId {
    let draft = SessionDraft {
        chat: Some(chat.clone()),
        ..SessionDraft::new("ada", Principal::Owner)
    };
    bench.sessions.create(&draft).unwrap().id
}

fn sender(id: &str) -> Principal {
    Principal::Sender(GatewaySender::new("telegram", id))
}

fn key(n: u64) -> SourceId {
    SourceId::parse(&format!("telegram:{n}")).unwrap()
}

/// Message `n` of the platform, from `who`, in update `n`.
fn message(n: u64, who: &str) -> NewMessage {
    NewMessage {
        key: Some(key(n)),
        gateway_message_id: Some(n.to_string()),
        ..NewMessage::new(sender(who), MessageText::parse(format!("q{n}")).unwrap())
    }
}

fn usual() -> QueueRule {
    let usual = QueueSpec::default();
    QueueRule {
        mode: usual.mode,
        max_pending: usual.max_pending,
        overflow: usual.overflow,
    }
}

fn sequential() -> QueueRule {
    QueueRule {
        mode: QueueMode::Sequential,
        ..usual()
    }
}

fn said(n: u64, who: &str) -> MessageInChat {
    MessageInChat {
        message: message(n, who),
        queue: usual(),
        starts: TurnStart::Now,
    }
}

fn settle(bench: &Bench) {
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(bench.engine().workers.wait_idle(deadline), "still at work");
}

/// The log after its first event, a word or two for each.
fn told(bench: &Bench, id: &SessionId) -> Vec<String> {
    let events = bench.events(id).into_iter();
    events.map(|event| in_words(bench, id, &event)).collect()
}

fn in_words(bench: &Bench, id: &SessionId, event: &Event) -> String {
    match event {
        Event::UserMessage(message) => message.content.clone(),
        Event::MessageDropped { message_id, reason } => {
            let dropped = bench.events(id).into_iter().find_map(|event| match event {
                Event::UserMessage(one) if one.message_id == *message_id => Some(one),
                _ => None,
            });
            format!("-{} {reason}", dropped.unwrap().content)
        }
        Event::TurnStarted { .. } => "turn".to_owned(),
        Event::AssistantResponse(_) => "reply".to_owned(),
        Event::TurnEnded { outcome, cause, .. } => match &cause.source_id {
            Some(key) => format!("{outcome:?} by {key}"),
            None => format!("{outcome:?}"),
        },
        Event::SessionEnd { cause, .. } => format!("over by {:?}", cause.by),
        Event::ApprovalDecision { source_id, .. } => format!("decided by {source_id:?}"),
        other => serde_json::to_value(other).unwrap()["type"]
            .as_str()
            .unwrap()
            .to_owned(),
    }
}

/// What people say last in a call of the model.
fn asked(request: &Request) -> String {
    match request.messages.last() {
        Some(Message::User { text, .. }) => (**text).to_owned(),
        other => format!("{other:?}"),
    }
}

/// The model notes what it is asked, in `asked`, and says `ok`, so often.
fn notes(bench: &Bench, times: usize) -> Arc<Mutex<Vec<String>>> {
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    for _ in 0..times {
        let noted = Arc::clone(&noted);
        bench.model.then(move |request, sink| {
            lock(&noted).push(asked(request));
            says(sink, "ok")
        });
    }
    noted
}

/// A session of a chat that is at work with a call that contained message 1, and nobody does the work.
fn at_work(bench: &Bench) -> Arc<Session> {
    let id = in_chat(bench, &group());
    let session = bench.engine().open.get(&id).unwrap();
    session.live().work = Work::RunningWorker(RunningWorker::new(1_000));
    bench.sessions.say_in_chat(&id, said(1, "a")).unwrap();
    let begun = story::started(1, Trigger::Message);
    session.decide(|_| Ok((vec![begun], ()))).unwrap();
    let mut live = session.live();
    live.called_with = live.last_seq();
    drop(live);
    session
}

#[test]
fn what_waits_and_what_comes_go_by_the_queues_rule() {
    use Overflow::{DropNew, DropOld, Reject};
    use QueueMode::{Batch, Drop, Sequential};
    for (mode, overflow, max_pending, expected) in [
        (Batch, DropOld, 2, &["q2", "q3", "q4", "-q2 queue full"][..]),
        (Batch, DropNew, 2, &["q2", "q3", "q4", "-q4 queue full"]),
        (Batch, Reject, 2, &["q2", "q3", "q4", "-q4 rejected"]),
        (Batch, DropOld, 9, &["q2", "q3", "q4"]),
        (
            Batch,
            DropOld,
            1,
            &["q2", "q3", "-q2 queue full", "q4", "-q3 queue full"],
        ),
        // The call contains the one that is answered: there is nothing else to withdraw.
        (
            Batch,
            DropOld,
            0,
            &[
                "q2",
                "-q2 queue full",
                "q3",
                "-q3 queue full",
                "q4",
                "-q4 queue full",
            ],
        ),
        (
            Sequential,
            DropOld,
            2,
            &["q2", "q3", "q4", "-q2 queue full"],
        ),
        (
            Sequential,
            Reject,
            1,
            &["q2", "q3", "-q3 rejected", "q4", "-q4 rejected"],
        ),
        (
            Drop,
            DropOld,
            9,
            &["q2", "-q2 busy", "q3", "-q3 busy", "q4", "-q4 busy"],
        ),
    ] {
        let bench = Bench::new();
        let session = at_work(&bench);
        let queue = QueueRule {
            mode,
            max_pending,
            overflow,
        };
        for n in 2..=4 {
            let said = MessageInChat {
                queue,
                ..said(n, "b")
            };
            let placed = bench
                .sessions
                .say_in_chat(&session.id, said.clone())
                .unwrap();
            let withdrawn = match placed.fate {
                MessageFate::Taken { in_place_of } => in_place_of.len(),
                MessageFate::Withdrawn(_) => 1,
            };
            // One append, and one more of the same key does nothing.
            let records = bench
                .sessions
                .events(&session.id, Seq(placed.accepted.seq.0 - 1), 9)
                .unwrap();
            assert_eq!(records.len(), 1 + withdrawn, "{records:?}");
            assert!(records[1..].iter().all(|record| record.cont));
            let again = bench.sessions.say_in_chat(&session.id, said).unwrap();
            assert!(again.accepted.is_repeat);
        }
        let case = format!("{mode:?} {overflow:?} {max_pending}");
        assert_eq!(told(&bench, &session.id)[2..], *expected, "{case}");
    }
}

#[test]
fn an_idle_agent_takes_every_message_whatever_the_queues_rule() {
    for mode in [QueueMode::Batch, QueueMode::Sequential, QueueMode::Drop] {
        let bench = Bench::new();
        let id = in_chat(&bench, &group());
        let queue = QueueRule {
            mode,
            max_pending: 0,
            overflow: Overflow::Reject,
        };
        for n in [1, 2] {
            let said = MessageInChat {
                queue,
                ..said(n, "a")
            };
            let placed = bench.sessions.say_in_chat(&id, said).unwrap();
            assert!(matches!(placed.fate, MessageFate::Taken { .. }));
            settle(&bench);
        }
        let turn = |q: &str| [q, "turn", "reply", "Completed"].map(str::to_owned);
        assert_eq!(
            told(&bench, &id),
            [turn("q1"), turn("q2")].concat(),
            "{mode:?}"
        );
    }
}

/// While a worker takes messages up, others are withdrawn: none of these is in any call, and each of the others
/// is in one.
#[test]
fn no_message_is_withdrawn_that_a_call_contains() {
    for overflow in [Overflow::DropOld, Overflow::DropNew, Overflow::Reject] {
        for mode in [QueueMode::Batch, QueueMode::Sequential, QueueMode::Drop] {
            let bench = Bench::new();
            let id = in_chat(&bench, &group());
            let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
            for _ in 0..200 {
                let seen = Arc::clone(&seen);
                bench.model.then(move |request, sink| {
                    lock(&seen).extend(asked(request).split_whitespace().map(str::to_owned));
                    says(sink, "ok")
                });
            }
            let queue = QueueRule {
                mode,
                max_pending: 1,
                overflow,
            };
            for n in 1..=80 {
                let said = MessageInChat {
                    queue,
                    ..said(n, "a")
                };
                bench.sessions.say_in_chat(&id, said).unwrap();
            }
            settle(&bench);
            let told = told(&bench, &id);
            let dropped: HashSet<&str> = told
                .iter()
                .filter_map(|one| one.strip_prefix('-')?.split(' ').next())
                .collect();
            let seen = lock(&seen);
            for n in 1..=80 {
                let q = format!("q{n}");
                let how = format!("{mode:?} {overflow:?} {q}");
                assert_ne!(seen.contains(&q), dropped.contains(q.as_str()), "{how}");
            }
        }
    }
}

#[test]
fn in_turn_each_message_has_a_turn_to_itself_in_the_order_in_which_they_came() {
    let bench = Bench::new();
    let id = in_chat(&bench, &group());
    let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
    let (begun_tx, begun_rx) = crossbeam_channel::bounded::<()>(1);
    bench.model.then(move |_, sink| {
        begun_tx.send(()).ok();
        go_rx.recv().ok();
        says(sink, "ok")
    });
    let noted = notes(&bench, 9);
    for n in 1..=4 {
        let said = MessageInChat {
            queue: sequential(),
            ..said(n, "a")
        };
        bench.sessions.say_in_chat(&id, said).unwrap();
    }
    begun_rx.recv_timeout(Duration::from_secs(20)).unwrap();
    // Talk waits for nothing.
    bench
        .sessions
        .overhear(&id, message(5, "b"), Overheard::Shown)
        .unwrap();
    drop(go_tx);
    settle(&bench);
    assert_eq!(*lock(&noted), ["q5\n\nq2", "q3", "q4"]);
    let completed = told(&bench, &id)
        .iter()
        .filter(|one| *one == "Completed")
        .count();
    assert_eq!(completed, 4);
}

/// Whatever of a log the power leaves, each message that is in it is answered in a turn of its own.
#[test]
fn after_a_kill_at_any_moment_each_message_still_has_its_turn() {
    let all = {
        let bench = Bench::new();
        let session = at_work(&bench);
        for n in 2..=4 {
            let said = MessageInChat {
                queue: sequential(),
                ..said(n, "a")
            };
            bench.sessions.say_in_chat(&session.id, said).unwrap();
        }
        let reply = story::reply(11, 3, "ok").event();
        session.decide(|_| Ok((vec![reply], ()))).unwrap();
        let ended = story::ended(1, Outcome::Completed);
        session.decide(|_| Ok((vec![ended], ()))).unwrap();
        let begun = story::started(2, Trigger::Message);
        session.decide(|_| Ok((vec![begun], ()))).unwrap();
        bench.events(&session.id)
    };
    for cut in 1..=all.len() {
        let bench = Bench::new();
        let session = bench.session(all[..cut].to_vec());
        let id = session.id.clone();
        bench.engine().open.throw_away(&session, "in a test");
        drop(session);
        bench.sessions.recover(Recovery::TakeUp, || false).unwrap();
        settle(&bench);
        let events = bench.events(&id);
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|one| wanted(one)).count();
        let messages = count(|event| matches!(event, Event::UserMessage(_)));
        let turns = count(|event| matches!(event, Event::TurnEnded { .. }));
        let replies = count(|event| matches!(event, Event::AssistantResponse(_)));
        assert_eq!((turns, replies), (messages, messages), "{cut}: {events:?}");
    }
}

#[test]
fn a_message_that_is_to_wait_begins_no_turn_and_a_restart_begins_it() {
    for restarts in [false, true] {
        let bench = Bench::new();
        let id = in_chat(&bench, &group());
        let noted = notes(&bench, 2);
        for (n, starts) in [(1, TurnStart::Later), (2, TurnStart::Joins)] {
            let said = MessageInChat {
                starts,
                ..said(n, "a")
            };
            bench.sessions.say_in_chat(&id, said).unwrap();
        }
        settle(&bench);
        assert_eq!(told(&bench, &id), ["q1", "q2"]);
        if restarts {
            let session = bench.engine().open.get(&id).unwrap();
            bench.engine().open.throw_away(&session, "in a test");
            drop(session);
            bench.sessions.recover(Recovery::TakeUp, || false).unwrap();
        } else {
            bench.sessions.begin_turn(&id).unwrap();
        }
        settle(&bench);
        assert_eq!(*lock(&noted), ["q1\n\nq2"]);
    }
}

#[test]
fn a_quick_succession_of_one_sender_is_one_turn_and_another_senders_is_not_in_it() {
    let bench = Bench::new();
    let id = in_chat(&bench, &group());
    let noted = notes(&bench, 9);
    for (n, who, starts) in [
        (1, "a", TurnStart::Later),
        (2, "b", TurnStart::Later),
        (3, "a", TurnStart::Joins),
        (4, "b", TurnStart::Joins),
        // Said when the first was over, as nothing of it has begun yet.
        (5, "a", TurnStart::Later),
    ] {
        let said = MessageInChat {
            queue: sequential(),
            starts,
            ..said(n, who)
        };
        bench.sessions.say_in_chat(&id, said).unwrap();
    }
    bench.sessions.begin_turn(&id).unwrap();
    settle(&bench);
    // With others behind it nothing joins the first any more.
    assert_eq!(*lock(&noted), ["q1", "q2\n\nq4", "q3", "q5"]);
}

#[test]
fn a_message_is_replaced_until_a_call_may_contain_it() {
    for queue in [usual(), sequential()] {
        let bench = Bench::new();
        let id = in_chat(&bench, &group());
        let noted = notes(&bench, 9);
        let anew = |n: u64, who: &str| MessageInChat {
            message: NewMessage {
                gateway_message_id: Some("1".to_owned()),
                ..message(n, who)
            },
            queue,
            starts: TurnStart::Later,
        };
        let replace = |n, who| {
            bench
                .sessions
                .replace_in_chat(&id, "1", anew(n, who))
                .unwrap()
        };
        assert!(matches!(replace(2, "a"), Replaced::Unknown));
        let said = MessageInChat {
            queue,
            starts: TurnStart::Later,
            ..said(1, "a")
        };
        bench.sessions.say_in_chat(&id, said).unwrap();
        // Another's word does not take its place.
        assert!(matches!(replace(2, "b"), Replaced::Unknown));
        for _ in 0..2 {
            assert!(matches!(replace(2, "a"), Replaced::Replaced(_)));
        }
        assert!(matches!(replace(3, "a"), Replaced::Replaced(_)));
        let told_so_far = ["q1", "q2", "-q1 edited", "q3", "-q2 edited"];
        assert_eq!(told(&bench, &id), told_so_far);
        bench.sessions.begin_turn(&id).unwrap();
        settle(&bench);
        assert!(matches!(replace(4, "a"), Replaced::TooLate));
        assert_eq!(*lock(&noted), ["q3"]);
    }
}

#[test]
fn a_message_in_line_that_is_written_anew_keeps_its_place() {
    let bench = Bench::new();
    let session = at_work(&bench);
    for (n, who) in [(2, "a"), (3, "b")] {
        let said = MessageInChat {
            queue: sequential(),
            ..said(n, who)
        };
        bench.sessions.say_in_chat(&session.id, said).unwrap();
    }
    let anew = MessageInChat {
        message: NewMessage {
            gateway_message_id: Some("2".to_owned()),
            ..message(4, "a")
        },
        queue: sequential(),
        starts: TurnStart::Now,
    };
    let replaced = bench.sessions.replace_in_chat(&session.id, "2", anew);
    assert!(matches!(replaced, Ok(Replaced::Replaced(_))));
    let live = session.live();
    let held = live.state.held.iter().flatten();
    let held: Vec<&str> = held.map(|one| one.message.content.as_str()).collect();
    assert_eq!(held, ["q4", "q3"]);
}

/// A session of the chat with a question about call 1.
fn with_a_question(bench: &Bench) -> Arc<Session> {
    let session = at_work(bench);
    let reply = story::reply(11, 3, "").asking(&[1]).event();
    for event in [reply, story::asks(1)] {
        session.decide(|_| Ok((vec![event], ()))).unwrap();
    }
    session
}

#[test]
fn what_is_delivered_again_does_nothing_also_after_a_restart_and_in_the_session_that_has_ended() {
    let bench = Bench::new();
    let session = with_a_question(&bench);
    let id = session.id.clone();
    let (sessions, a) = (&bench.sessions, sender("a"));
    let decide =
        |id: &SessionId| sessions.decide_in_chat(id, "call_1", Decision::Deny, &a, Some(&key(7)));
    let decided = decide(&id).unwrap();
    assert_eq!(decide(&id).unwrap(), decided);
    assert!(matches!(
        sessions.decide_in_chat(&id, "call_1", Decision::Deny, &a, Some(&key(70))),
        Err(EngineError::AlreadyAnswered)
    ));
    session.live().work = Work::None;
    let stop = |n| sessions.cancel_in_chat(&id, &a, Some(&key(n))).unwrap();
    assert_eq!(stop(8), StopInChat::Stopped);
    assert_eq!(stop(8), StopInChat::Repeated);
    assert_eq!(stop(80), StopInChat::NothingToStop);
    let told_so_far = told(&bench, &id);
    assert_eq!(told_so_far.last().unwrap(), "Cancelled by telegram:8");
    let seen = |n: u64, message: Option<&str>| {
        sessions
            .knows_key("ada", &group(), &a, &key(n), message)
            .unwrap()
    };
    let knows_all = || {
        assert_eq!(seen(1, Some("1")), KeySeen::Repeated);
        assert_eq!(seen(1, Some("99")), KeySeen::OfAnother);
        assert_eq!(seen(7, None), KeySeen::Repeated);
        assert_eq!(seen(8, Some("8")), KeySeen::Repeated);
        assert_eq!(seen(80, Some("80")), KeySeen::No);
        let by_another = sessions.knows_key("ada", &group(), &sender("b"), &key(1), Some("1"));
        assert_eq!(by_another.unwrap(), KeySeen::No);
    };
    knows_all();
    bench.engine().open.throw_away(&session, "in a test");
    drop(session);
    knows_all();
    assert!(sessions.end_in_chat(&id, &a, Some(&key(9))).unwrap());
    assert!(!sessions.end_in_chat(&id, &a, Some(&key(9))).unwrap());
    // Before the chat's next session, and beside it.
    knows_all();
    assert_eq!(seen(9, Some("9")), KeySeen::Repeated);
    let next = in_chat(&bench, &group());
    assert_ne!(next, id);
    for _ in 0..2 {
        knows_all();
        assert_eq!(seen(9, Some("9")), KeySeen::Repeated);
    }
}

#[test]
fn a_worker_that_is_stopped_says_by_whose_word() {
    let bench = Bench::new();
    let id = in_chat(&bench, &group());
    let (begun_tx, begun_rx) = crossbeam_channel::bounded::<()>(1);
    let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
    bench.model.then(move |_, sink| {
        begun_tx.send(()).ok();
        go_rx.recv_timeout(Duration::from_secs(20)).ok();
        says(sink, "ok").and(Err(crate::llm::LlmError::Cancelled))
    });
    bench.sessions.say_in_chat(&id, said(1, "a")).unwrap();
    begun_rx.recv_timeout(Duration::from_secs(20)).unwrap();
    let sessions = bench.sessions.clone();
    let stopped = std::thread::spawn({
        let id = id.clone();
        move || sessions.cancel_in_chat(&id, &sender("a"), Some(&key(2)))
    });
    let session = bench.engine().open.get(&id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while session.live().cancel_cause() == SaidBy::default() {
        assert!(Instant::now() < deadline, "nobody asks it to stop");
        std::thread::yield_now();
    }
    drop(go_tx);
    assert_eq!(stopped.join().unwrap().unwrap(), StopInChat::Stopped);
    settle(&bench);
    assert_eq!(told(&bench, &id).last().unwrap(), "Cancelled by telegram:2");
    // The next turn has an end of its own.
    bench.sessions.say_in_chat(&id, said(3, "a")).unwrap();
    settle(&bench);
    assert_eq!(told(&bench, &id).last().unwrap(), "Completed");
}

#[test]
fn a_chat_that_has_another_id_keeps_its_sessions_also_after_a_restart() {
    let bench = Bench::new();
    let (old, new) = (group(), Chat::new("telegram", "-200"));
    let topic = |chat: &Chat| chat.clone().in_thread("7");
    let (whole, in_topic) = (in_chat(&bench, &old), in_chat(&bench, &topic(&old)));
    let other = in_chat(&bench, &Chat::new("irc", "-100"));
    for _ in 0..2 {
        bench
            .sessions
            .move_chat("telegram", "-100", "-200")
            .unwrap();
    }
    assert_eq!(told(&bench, &whole), ["session_changed"]);
    assert_eq!(told(&bench, &other), Vec::<String>::new());
    let disk = bench.disk.clone();
    let look = |bench: &Bench| {
        let find = |chat: &Chat| {
            let found = bench.sessions.find_by_chat("ada", chat).unwrap();
            found.map(|view| view.id)
        };
        assert_eq!(find(&new), Some(whole.clone()));
        assert_eq!(find(&topic(&new)), Some(in_topic.clone()));
        assert_eq!((find(&old), find(&topic(&old))), (None, None));
    };
    look(&bench);
    drop(bench);
    look(&Bench::with(|plan| plan.fs = Arc::new(disk)));
}

#[test]
fn a_session_that_is_no_chats_gets_none() {
    let bench = Bench::new();
    let session = bench.session([]);
    let moved = Event::SessionChanged {
        title: None,
        model: None,
        gateway_chat_id: Some("1".to_owned()),
    };
    let refused = session.decide(|_| Ok((vec![moved], ())));
    assert!(matches!(refused, Err(EngineError::Invalid(_))));
}

/// Counts what it is told, and looks at the session meanwhile.
struct Heard {
    sessions: Mutex<Option<Sessions>>,
    times: AtomicUsize,
}

impl ChatListener for Heard {
    fn is_new(&self, gateway: &str, session: &SessionId) {
        assert_eq!(gateway, "telegram");
        let sessions = lock(&self.sessions).clone().unwrap();
        assert!(sessions.engine.open.in_use(session).unwrap().is_readable());
        self.times.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_listens_to_chats_hears_of_each_append_and_of_no_other_session() {
    let bench = Bench::new();
    let heard = Arc::new(Heard {
        sessions: Mutex::new(Some(bench.sessions.clone())),
        times: AtomicUsize::new(0),
    });
    bench
        .sessions
        .set_chat_listener(Arc::clone(&heard) as Arc<_>);
    bench.session([story::user(1, "hi")]);
    assert_eq!(heard.times.load(Ordering::SeqCst), 0);
    let id = in_chat(&bench, &group());
    bench.sessions.say_in_chat(&id, said(1, "a")).unwrap();
    settle(&bench);
    bench
        .sessions
        .change(&id, Some("t".to_owned()), None)
        .unwrap();
    let appends = bench.sessions.events(&id, Seq(1), 99).unwrap();
    let appends = appends.iter().filter(|record| !record.cont).count();
    assert_eq!(heard.times.load(Ordering::SeqCst), appends);
    *lock(&heard.sessions) = None;
}

#[test]
fn what_a_log_from_elsewhere_says_of_a_chat_does_not_count() {
    for is_adopted in [false, true] {
        let bench = Bench::new();
        let planted = in_chat(&bench, &group());
        let disk = bench.disk.clone();
        drop(bench);
        let bench = Bench::with(|plan| plan.fs = Arc::new(disk));
        bench.sessions.distrust([planted.clone()]);
        if is_adopted {
            bench.sessions.adopt_all(|| false);
        }
        assert_eq!(bench.sessions.find_by_chat("ada", &group()).unwrap(), None);
        let begun = in_chat(&bench, &group());
        assert_ne!(begun, planted);
        bench.sessions.adopt_all(|| false);
        assert_eq!(in_chat(&bench, &group()), begun);
        assert_eq!(bench.sessions.show(&planted).unwrap().summary.chat(), None);
    }
}

#[test]
fn a_log_that_cannot_be_read_keeps_its_chat_from_nothing() {
    let bench = Bench::new();
    let id = in_chat(&bench, &group());
    bench.sessions.say_in_chat(&id, said(1, "a")).unwrap();
    settle(&bench);
    let session = bench.engine().open.get(&id).unwrap();
    bench.engine().open.throw_away(&session, "in a test");
    drop(session);
    let folder = format!("/workspace/sessions/{id}");
    let log = format!("{folder}/events.jsonl");
    let damaged = "{\"crc\":\"00000000\",\"seq\":1}\nnonsense\n";
    replace_file(&bench.disk, log.as_ref(), damaged.as_bytes()).unwrap();
    bench
        .disk
        .remove_file(format!("{folder}/state.yaml").as_ref())
        .ok();
    let a = sender("a");
    let next = in_chat(&bench, &group());
    assert_ne!(next, id);
    assert_eq!(in_chat(&bench, &group()), next);
    let seen = bench
        .sessions
        .knows_key("ada", &group(), &a, &key(1), Some("1"));
    assert_eq!(seen.unwrap(), KeySeen::No);
}

#[test]
fn many_chats_are_looked_for_at_once_and_each_has_one_session() {
    let bench = Bench::new();
    let chats: Vec<Chat> = (0..20)
        .map(|n| Chat::new("telegram", n.to_string()))
        .collect();
    let begun: Vec<Vec<SessionId>> = std::thread::scope(|scope| {
        let each = || scope.spawn(|| chats.iter().map(|chat| in_chat(&bench, chat)).collect());
        let all = [each(), each(), each()];
        all.map(|one| one.join().unwrap()).to_vec()
    });
    assert_eq!(begun[0], begun[1]);
    assert_eq!(begun[0], begun[2]);
    let distinct: HashSet<&SessionId> = begun[0].iter().collect();
    assert_eq!(distinct.len(), chats.len());
}
