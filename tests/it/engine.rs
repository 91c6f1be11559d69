//! The engine on real files, with a provider on loopback.

mod at_most_once;
mod client;
mod continuing;
mod failed_writes;
mod full_disk;
mod limits;
mod lost_answers;
mod overflow;
mod panics;
mod parking;
mod power_cut;
mod prices;
mod principals;
mod secrets;
mod storage;
mod sweep;
mod tool_crash;
mod tool_loop;
mod unanswered;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::sessions::AskAlways;
use duragent::base::fs::RealFs;
use duragent::domain::event::{
    Decision, Event, FinishReason, OnDisconnect, Outcome, Record, Status, ToolOutput,
};
use duragent::domain::ids::{Seq, SessionId, SourceId};
use duragent::domain::message::MessageText;
use duragent::domain::principal::{GatewaySender, Principal};
use duragent::engine::{
    Begin, Cursor, EngineError, FeedEvent, FeedItem, Flow, ListQuery, NewMessage, Presence,
    Recovery, SessionDraft, Sessions, Subscription,
};
use duragent::llm::Models;
use duragent::store::file::FileStore;
use duragent::tools::{Effect, RunResult, Tool, ToolSpec, Toolbox};
use tempfile::TempDir;

use crate::support::fake_model::{FakeModel, error, pieces, stall, text, tool_call};
use crate::support::sessions::{Says, Setup, providers, repeats, start, start_with, tool};

const PATIENCE: Duration = Duration::from_secs(60);

// --- a small world ---

struct World {
    sessions: Sessions,
    model: FakeModel,
    folder: Arc<TempDir>,
    setup: Setup,
}

impl World {
    fn new() -> World {
        World::with(Setup::default())
    }

    fn with(setup: Setup) -> World {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        World::on(folder, FakeModel::start(), setup)
    }

    fn on(folder: Arc<TempDir>, model: FakeModel, setup: Setup) -> World {
        let sessions = start(folder.path(), &model, &setup);
        World {
            sessions,
            model,
            folder,
            setup,
        }
    }

    /// As after a restart: another engine on the same files.
    fn restarted(mut self) -> World {
        self.sessions.stop(Duration::ZERO);
        self.sessions = start(self.folder.path(), &self.model, &self.setup);
        self
    }

    fn session(&self) -> SessionId {
        self.sessions.create(&draft("helper")).unwrap().id
    }

    fn say(&self, id: &SessionId, content: &str) -> Subscription {
        let message = message(content);
        self.sessions.submit_and_follow(id, message).unwrap().1
    }

    fn attach(&self, id: &SessionId) -> Subscription {
        let begin = Begin::Now { history: 20 };
        self.sessions
            .subscribe(id, begin, Presence::default())
            .unwrap()
    }

    fn log(&self, id: &SessionId) -> Vec<Record> {
        self.sessions.events(id, Seq(0), 10_000).unwrap()
    }

    fn kinds(&self, id: &SessionId) -> Vec<&'static str> {
        self.log(id)
            .iter()
            .map(|record| kind(&record.event))
            .collect()
    }

    /// Waits until the session's log holds what is looked for.
    fn wait_for(&self, id: &SessionId, what: impl Fn(&Event) -> bool) -> Record {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.log(id).into_iter().find(|record| what(&record.event)) {
                return found;
            }
            assert!(Instant::now() < deadline, "not in {:?}", self.kinds(id));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_until_idle(&self, id: &SessionId) {
        let deadline = Instant::now() + PATIENCE;
        while self.sessions.show(id).unwrap().working {
            assert!(Instant::now() < deadline, "still working");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

fn draft(agent: &str) -> SessionDraft {
    SessionDraft::new(agent, Principal::Owner)
}

fn keyed_draft(agent: &str, key: &SourceId) -> SessionDraft {
    SessionDraft {
        key: Some(key.clone()),
        ..draft(agent)
    }
}

fn sender(id: &str) -> Principal {
    Principal::Sender(GatewaySender::new("test", id))
}

fn message(content: &str) -> NewMessage {
    NewMessage::new(Principal::Owner, MessageText::parse(content).unwrap())
}

fn keyed(content: &str, key: &str) -> NewMessage {
    NewMessage {
        key: Some(SourceId::parse(key).unwrap()),
        ..message(content)
    }
}

/// Everything a subscription shows until `enough` says so or it is over.
fn read_until(
    subscription: &mut Subscription,
    enough: impl Fn(&FeedEvent) -> bool,
) -> Vec<FeedItem> {
    let deadline = Instant::now() + PATIENCE;
    let mut items = Vec::new();
    loop {
        let before = items.len();
        let flow = subscription.pull(&mut items).unwrap();
        if items[before..].iter().any(|item| enough(&item.event)) {
            return items;
        }
        match flow {
            Flow::Over | Flow::Cut(_) => return items,
            Flow::More => {}
            Flow::Open => {
                let woken = subscription.wake().recv_deadline(deadline);
                assert!(woken.is_ok(), "nothing more came after {items:?}");
            }
        }
    }
}

fn read_all(subscription: &mut Subscription) -> Vec<FeedItem> {
    read_until(subscription, |_| false)
}

/// The text that tokens make up.
fn said(items: &[FeedItem]) -> String {
    items
        .iter()
        .filter_map(|item| match &item.event {
            FeedEvent::Token { content: text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn shown(items: &[FeedItem]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for item in items {
        let name = match &item.event {
            FeedEvent::Session { .. } => "session",
            FeedEvent::Start { .. } => "start",
            FeedEvent::UserMessage { .. } => "user_message",
            FeedEvent::Dropped { .. } => "dropped",
            FeedEvent::Token { .. } => "token",
            FeedEvent::ToolCall(_) => "tool_call",
            FeedEvent::ToolResult { .. } => "tool_result",
            FeedEvent::ApprovalRequired { .. } => "approval_required",
            FeedEvent::ApprovalDecision { .. } => "approval_decision",
            FeedEvent::Notice { .. } => "notice",
            FeedEvent::Message { .. } => "message",
            FeedEvent::Done { .. } => "done",
            FeedEvent::Cancelled => "cancelled",
            FeedEvent::Error { .. } => "error",
            FeedEvent::Status { .. } => "status",
            FeedEvent::Rewind { .. } => "rewind",
            FeedEvent::Gap { .. } => "gap",
        };
        if names.last() != Some(&"token") || name != "token" {
            names.push(name);
        }
    }
    names
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::SessionStart(_) => "session_start",
        Event::UserMessage(_) => "user_message",
        Event::TurnStarted { .. } => "turn_started",
        Event::AssistantResponse(_) => "assistant_response",
        Event::ToolStarted { .. } => "tool_started",
        Event::ContextSummary(_) => "context_summary",
        Event::CompactRequested { .. } => "compact_requested",
        Event::ToolParked { .. } => "tool_parked",
        Event::ToolResult { .. } => "tool_result",
        Event::ToolsSkipped { .. } => "tools_skipped",
        Event::ApprovalRequired { .. } => "approval_required",
        Event::ApprovalDecision { .. } => "approval_decision",
        Event::StatusChange { .. } => "status_change",
        Event::TurnEnded { .. } => "turn_ended",
        Event::SessionEnd { .. } => "session_end",
        _ => "other",
    }
}

fn is_turn_end(event: &Event) -> bool {
    matches!(event, Event::TurnEnded { .. })
}

fn is_pause(event: &Event) -> bool {
    matches!(event, Event::StatusChange { to, .. } if *to == Status::Paused)
}

fn is_done(event: &FeedEvent) -> bool {
    matches!(event, FeedEvent::Done { .. })
}

fn is_question(event: &FeedEvent) -> bool {
    matches!(event, FeedEvent::ApprovalRequired { .. })
}

/// A tool that a person is asked about.
fn asking_world() -> World {
    World::with(Setup {
        tools: tool("note", repeats),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    })
}

/// A server that has started again in the middle of a reply, and taken the turn up.
fn restarted_in_a_reply(setup: Setup) -> (World, SessionId) {
    let world = World::with(setup);
    world
        .model
        .reply(text("the first half").and_stall())
        .then(text(", the second half"));
    let id = world.session();
    let mut stream = world.say(&id, "tell me");
    read_until(
        &mut stream,
        |event| matches!(event, FeedEvent::Token { content: text, .. } if text == "half"),
    );
    drop(stream);
    let world = world.restarted();
    let taken_up = world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    assert_eq!(taken_up, 1);
    (world, id)
}

// --- one message ---

#[test]
fn a_message_is_answered_and_all_of_it_is_in_the_log() {
    let world = World::new();
    world.model.reply(text("hello to you").usage(7, 3));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "hello"));
    assert_eq!(shown(&items), ["start", "token", "message", "done"]);
    assert_eq!(said(&items), "hello to you");
    assert_eq!(
        world.kinds(&id),
        [
            "session_start",
            "user_message",
            "turn_started",
            "assistant_response",
            "turn_ended"
        ]
    );
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    let texts: Vec<&str> = messages.iter().map(|one| one.content.as_str()).collect();
    assert_eq!(texts, ["hello", "hello to you"]);
    world.wait_until_idle(&id);
    let view = world.sessions.show(&id).unwrap();
    assert_eq!(view.summary.usage.total_tokens, 10);
    assert_eq!((view.status, view.attached), (Status::Active, 0));
}

#[test]
fn a_second_turn_contains_the_first() {
    let world = World::new();
    world.model.reply(text("one")).then(text("two"));
    let id = world.session();
    read_all(&mut world.say(&id, "first"));
    read_all(&mut world.say(&id, "second"));
    let asked = world.model.wait_for_requests(2);
    assert_eq!(asked[1].each("content"), ["first", "one", "second"]);
}

#[test]
fn a_provider_that_fails_fails_the_turn_and_the_next_message_works() {
    let world = World::new();
    world
        .model
        .reply(error(400, "no such model"))
        .then(text("fine"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "hello"));
    assert_eq!(shown(&items), ["start", "error"]);
    let FeedEvent::Error { code, message } = &items[1].event else {
        panic!("{items:?}");
    };
    assert_eq!(code, "provider_error");
    assert!(message.contains("no such model"), "{message}");
    let items = read_all(&mut world.say(&id, "again"));
    assert_eq!(said(&items), "fine");
}

#[test]
fn what_came_before_a_failure_is_kept() {
    let world = World::new();
    world
        .model
        .reply(pieces(&["half of "]).and_error(400, "upstream died"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "hello"));
    assert_eq!(shown(&items), ["start", "token", "message", "error"]);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "half of ");
}

// --- tools and approvals ---

#[test]
fn a_tool_that_does_not_exist_is_answered_to_the_model() {
    let world = World::new();
    world
        .model
        .reply(tool_call("date", "{}"))
        .then(text("sorry"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "what time is it?"));
    assert_eq!(said(&items), "sorry");
    let asked = world.model.wait_for_requests(2);
    assert!(asked[1].last_message().contains("no tool called 'date'"));
}

#[test]
fn a_tool_runs_between_its_two_records() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        ..Setup::default()
    });
    world
        .model
        .reply(tool_call("note", r#"{"a":1}"#))
        .then(text("noted"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "note this"));
    assert_eq!(
        shown(&items),
        [
            "start",
            "tool_call",
            "message",
            "tool_result",
            "token",
            "message",
            "done"
        ]
    );
    let kinds = world.kinds(&id);
    let started = kinds
        .iter()
        .position(|kind| *kind == "tool_started")
        .unwrap();
    assert_eq!(kinds[started + 1], "tool_result");
    let asked = world.model.wait_for_requests(2);
    assert!(asked[1].last_message().contains(r#"got {"a":1}"#));
}

#[test]
fn a_model_that_never_stops_calling_is_made_to_answer() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        ..Setup::default()
    });
    world.model.default_reply(tool_call("note", "{}"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "loop"));
    assert_eq!(shown(&items).last(), Some(&"done"));
    let asked = world.model.requests();
    assert_eq!(asked.len(), 11);
    assert_eq!(asked[10].body["tool_choice"], "none");
}

#[test]
fn an_approval_holds_no_thread_and_the_turn_goes_on_after_it() {
    let world = asking_world();
    world
        .model
        .reply(tool_call("note", "{}"))
        .then(text("done"));
    let id = world.session();
    let mut stream = world.say(&id, "note this");
    let items = read_until(&mut stream, is_question);
    assert_eq!(shown(&items).last(), Some(&"approval_required"));
    world.wait_until_idle(&id);
    let pending = world.sessions.show(&id).unwrap().pending_approval.unwrap();
    let call = pending.call_id.as_str();
    let approve = |command: &str| {
        world
            .sessions
            .approve(&id, call, command, Decision::AllowOnce, &Principal::Owner)
            .map(|(_, subscription)| subscription)
    };
    assert!(matches!(
        approve("rm -rf /"),
        Err(EngineError::WrongCommand)
    ));
    let wrong = world.sessions.approve(
        &id,
        "other",
        &pending.command,
        Decision::Deny,
        &Principal::Owner,
    );
    assert!(matches!(wrong, Err(EngineError::WrongCall(_))));
    let mut outcome = approve(&pending.command).unwrap();
    assert_eq!(said(&read_all(&mut outcome)), "done");
    // The stream that asked goes on with the same turn.
    assert_eq!(said(&read_all(&mut stream)), "done");
    assert!(matches!(
        approve(&pending.command),
        Err(EngineError::AlreadyAnswered)
    ));
}

#[test]
fn a_message_while_an_approval_is_pending_is_stored_and_asked_again() {
    let world = asking_world();
    world
        .model
        .reply(tool_call("note", "{}"))
        .then(text("done"));
    let id = world.session();
    read_until(&mut world.say(&id, "note this"), is_question);
    let mut second = world.say(&id, "and hurry");
    let items = read_until(&mut second, is_question);
    assert_eq!(shown(&items), ["start", "approval_required"]);
    let pending = world.sessions.show(&id).unwrap().pending_approval.unwrap();
    let deny = Decision::Deny;
    let call = pending.call_id.as_str();
    world
        .sessions
        .approve(&id, call, &pending.command, deny, &Principal::Owner)
        .unwrap();
    assert_eq!(said(&read_all(&mut second)), "done");
    let asked = world.model.wait_for_requests(2);
    assert_eq!(asked[1].each("role"), ["user", "assistant", "tool", "user"]);
}

// --- several at once ---

#[test]
fn all_watchers_see_the_same_events_in_the_same_order() {
    let world = World::new();
    world
        .model
        .reply(text("one two three").and_stall().and_text(" four five"));
    let id = world.session();
    let mut early = world.attach(&id);
    drop(read_until(&mut early, |_| true));
    let message = NewMessage {
        detached: true,
        ..message("count")
    };
    world.sessions.submit(&id, message).unwrap();
    world.model.wait_for_stalls(1);
    let mut late = world.attach(&id);
    let is_end = |event: &FeedEvent| matches!(event, FeedEvent::Done { .. });
    world.model.release();
    let early = read_until(&mut early, is_end);
    let late = read_until(&mut late, is_end);
    assert_eq!(shown(&early), ["user_message", "token", "message", "done"]);
    assert_eq!(shown(&late), ["session", "token", "message", "done"]);
    assert_eq!(said(&early), "one two three four five");
    assert_eq!(said(&late), said(&early));
    assert_eq!(early.last(), late.last());
}

#[test]
fn a_message_during_a_turn_is_seen_at_the_next_call_of_that_turn() {
    let world = World::new();
    world
        .model
        .reply(text("working").and_stall())
        .then(text("both"));
    let id = world.session();
    let mut first = world.say(&id, "first");
    world.model.wait_for_stalls(1);
    let mut second = world.say(&id, "second");
    world.model.release();
    let first = read_all(&mut first);
    let second = read_all(&mut second);
    assert_eq!(said(&first), "workingboth");
    assert_eq!(shown(&second), ["start", "token", "message", "done"]);
    assert_eq!(said(&second), "both");
    assert_eq!(first.last(), second.last());
    let ends = world.kinds(&id);
    assert_eq!(ends.iter().filter(|kind| **kind == "turn_ended").count(), 1);
}

#[test]
fn sessions_beyond_the_limit_wait_in_order() {
    let world = World::with(Setup {
        max_active: 1,
        ..Setup::default()
    });
    world.model.reply(text("a").and_stall());
    let ids = [world.session(), world.session(), world.session()];
    let mut streams: Vec<Subscription> = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        streams.push(world.say(id, &format!("number {at}")));
        if at == 0 {
            world.model.wait_for_stalls(1);
        }
    }
    assert_eq!(world.model.requests().len(), 1);
    world.model.release();
    for stream in &mut streams {
        assert_eq!(shown(&read_all(stream)).last(), Some(&"done"));
    }
    let asked: Vec<String> = world
        .model
        .requests()
        .iter()
        .map(|one| one.last_message())
        .collect();
    assert_eq!(asked, ["number 0", "number 1", "number 2"]);
}

#[test]
fn more_than_four_waiting_for_each_slot_are_turned_away_before_storing() {
    let world = World::with(Setup {
        max_active: 1,
        ..Setup::default()
    });
    world.model.reply(text("a").and_stall());
    let first = world.session();
    let _working = world.say(&first, "hello");
    world.model.wait_for_stalls(1);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let id = world.session();
        waiting.push(world.say(&id, "hello"));
    }
    let id = world.session();
    let refused = world.sessions.submit(&id, message("hello"));
    assert!(matches!(refused, Err(EngineError::Busy { .. })));
    assert_eq!(world.kinds(&id), ["session_start"]);
    world.model.release();
}

#[test]
fn the_same_key_is_one_message_and_one_turn_for_all_callers() {
    let world = World::new();
    world.model.reply(text("once").and_stall());
    let id = world.session();
    let outcomes: Vec<(bool, String)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let message = keyed("pay", "k-1");
                    let (accepted, mut stream) =
                        world.sessions.submit_and_follow(&id, message).unwrap();
                    (accepted.is_repeat, said(&read_all(&mut stream)))
                })
            })
            .collect();
        world.model.wait_for_stalls(1);
        world.model.release();
        callers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|(repeat, _)| !repeat).count(), 1);
    assert!(
        outcomes.iter().all(|(_, text)| text == "once"),
        "{outcomes:?}"
    );
    assert_eq!(world.model.requests().len(), 1);
    // And after a restart, from the log alone.
    let world = world.restarted();
    let (accepted, mut stream) = world
        .sessions
        .submit_and_follow(&id, keyed("pay", "k-1"))
        .unwrap();
    assert!(accepted.is_repeat);
    assert_eq!(
        shown(&read_all(&mut stream)),
        ["start", "token", "message", "done"]
    );
    let other = world.sessions.submit(&id, keyed("pay twice", "k-1"));
    assert!(matches!(other, Err(EngineError::KeyReused)));
}

#[test]
fn a_creation_key_creates_one_session() {
    let world = World::new();
    let key = SourceId::parse("create-1").unwrap();
    let first = world.sessions.create(&keyed_draft("helper", &key)).unwrap();
    let second = world.sessions.create(&keyed_draft("helper", &key)).unwrap();
    assert_eq!(first.id, second.id);
    let missing = world.sessions.create(&draft("nobody"));
    assert!(matches!(missing, Err(EngineError::AgentNotFound(_))));
}

// --- cancelling, leaving, coming back ---

#[test]
fn a_cancel_ends_a_stalled_reply_and_keeps_what_came() {
    let world = World::new();
    world.model.reply(text("half a").and_stall());
    let id = world.session();
    let mut stream = world.say(&id, "hello");
    read_until(
        &mut stream,
        |event| matches!(event, FeedEvent::Token { content: text, .. } if text == "a"),
    );
    assert!(world.sessions.cancel(&id).unwrap());
    assert_eq!(shown(&read_all(&mut stream)).last(), Some(&"cancelled"));
    let reply = world.wait_for(&id, |event| matches!(event, Event::AssistantResponse(_)));
    let reply = reply.event.as_reply().unwrap();
    assert_eq!(*reply.content, "half a");
    assert_eq!(reply.finish_reason, FinishReason::Cancelled);
    world.model.wait_for_disconnects(1);
    assert!(!world.sessions.cancel(&id).unwrap());
    world.model.reply(text("fresh"));
    assert_eq!(said(&read_all(&mut world.say(&id, "again"))), "fresh");
}

#[test]
fn a_cancel_skips_what_waits_for_an_approval() {
    let world = asking_world();
    world.model.reply(tool_call("note", "{}")).then(text("ok"));
    let id = world.session();
    read_until(&mut world.say(&id, "note this"), is_question);
    assert!(world.sessions.cancel(&id).unwrap());
    let kinds = world.kinds(&id);
    assert_eq!(kinds[kinds.len() - 2..], ["tools_skipped", "turn_ended"]);
    assert_eq!(said(&read_all(&mut world.say(&id, "and now?"))), "ok");
}

#[test]
fn a_turn_pauses_when_the_last_client_leaves_and_goes_on_when_one_comes() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        ..Setup::default()
    });
    world
        .model
        .reply(text("a moment").and_stall().and_call("note", "{}"))
        .then(text("finished"));
    let id = world.session();
    let stream = world.say(&id, "note this");
    world.model.wait_for_stalls(1);
    drop(stream);
    world.model.release();
    world.wait_for(&id, is_pause);
    world.wait_until_idle(&id);
    assert_eq!(world.sessions.show(&id).unwrap().status, Status::Paused);
    assert!(!world.kinds(&id).contains(&"tool_started"));
    let mut attached = world.attach(&id);
    let items = read_until(&mut attached, is_done);
    assert_eq!(said(&items), "finished");
}

#[test]
fn a_turn_whose_caller_was_told_to_come_later_goes_on() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        ..Setup::default()
    });
    world
        .model
        .reply(text("a moment").and_stall().and_call("note", "{}"))
        .then(text("finished"));
    let id = world.session();
    let stream = world.say(&id, "note this");
    world.model.wait_for_stalls(1);
    stream.let_it_run_on();
    drop(stream);
    assert_eq!(world.sessions.show(&id).unwrap().attached, 0);
    world.model.release();
    world.wait_for(&id, is_turn_end);
    assert!(!world.kinds(&id).contains(&"status_change"));
}

#[test]
fn a_readonly_client_does_not_count() {
    let world = World::new();
    world.model.reply(text("a").and_stall());
    let id = world.session();
    let _stream = world.say(&id, "hello");
    let readonly = Presence {
        is_readonly: true,
        ..Presence::default()
    };
    let now = Begin::Now { history: 0 };
    let _looks_on = world.sessions.subscribe(&id, now, readonly).unwrap();
    assert_eq!(world.sessions.show(&id).unwrap().attached, 1);
    world.model.release();
}

#[test]
fn a_session_that_continues_needs_nobody() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        on_disconnect: OnDisconnect::Continue,
        ..Setup::default()
    });
    world
        .model
        .reply(text("a").and_stall().and_call("note", "{}"))
        .then(text("finished"));
    let id = world.session();
    drop(world.say(&id, "note this"));
    world.model.wait_for_stalls(1);
    assert_eq!(world.sessions.show(&id).unwrap().status, Status::Running);
    world.model.release();
    world.wait_for(&id, is_turn_end);
}

#[test]
fn others_can_be_sent_away() {
    let world = World::new();
    let id = world.session();
    let mut first = world.attach(&id);
    let takes_over = Presence {
        detaches_others: true,
        ..Presence::default()
    };
    let now = Begin::Now { history: 0 };
    let _second = world.sessions.subscribe(&id, now, takes_over).unwrap();
    let mut items = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !matches!(first.pull(&mut items).unwrap(), Flow::Cut(_)) {
        first.wake().recv_deadline(deadline).unwrap();
    }
    assert_eq!(world.sessions.show(&id).unwrap().attached, 1);
}

#[test]
fn every_cursor_of_a_stream_leads_to_exactly_the_rest() {
    let world = World::with(Setup {
        tools: tool("note", repeats),
        ..Setup::default()
    });
    world
        .model
        .reply(
            text("let me see")
                .and_call("note", "{}")
                .and_call("note", r#"{"b":2}"#),
        )
        .then(text("that is it"));
    let id = world.session();
    let mut watcher = world.attach(&id);
    read_all(&mut world.say(&id, "look"));
    let items = read_until(&mut watcher, is_done);
    for at in 0..items.len() {
        let cursor = Cursor::parse(&items[at].id.to_string()).unwrap();
        let begin = Begin::After(cursor);
        let mut again = world
            .sessions
            .subscribe(&id, begin, Presence::default())
            .unwrap();
        let rest = if at + 1 < items.len() {
            read_until(&mut again, is_done)
        } else {
            Vec::new()
        };
        let wanted = &items[at + 1..];
        assert_eq!(shown(&rest), shown(wanted), "after {cursor}");
        assert_eq!(said(&rest), said(wanted), "after {cursor}");
    }
}

// --- the end, and after it ---

#[test]
fn an_ended_session_takes_nothing_more_and_can_be_read() {
    let world = World::new();
    let id = world.session();
    read_all(&mut world.say(&id, "hello"));
    let mut watcher = world.attach(&id);
    world.sessions.end(&id).unwrap();
    let items = read_all(&mut watcher);
    assert_eq!(shown(&items).last(), Some(&"status"));
    let refused = world.sessions.submit(&id, message("more"));
    assert!(matches!(refused, Err(EngineError::SessionEnded(_))));
    assert_eq!(world.sessions.messages(&id, 10, None).unwrap().len(), 2);
    let last = items.last().unwrap().id;
    let again = world
        .sessions
        .subscribe(&id, Begin::After(last), Presence::default())
        .unwrap();
    assert!(again.has_nothing_left());
}

#[test]
fn a_deleted_session_is_gone_even_while_it_works() {
    let world = World::new();
    world.model.reply(text("a").and_stall());
    let id = world.session();
    let mut stream = world.say(&id, "hello");
    world.model.wait_for_stalls(1);
    world.sessions.delete(&id).unwrap();
    read_all(&mut stream);
    assert!(matches!(
        world.sessions.show(&id),
        Err(EngineError::SessionNotFound(_))
    ));
    let page = world
        .sessions
        .list(&ListQuery {
            limit: 10,
            ..ListQuery::default()
        })
        .unwrap();
    assert_eq!(page.sessions, []);
}

#[test]
fn sessions_are_listed_newest_first_page_by_page() {
    let world = World::new();
    let mut ids: Vec<SessionId> = (0..5).map(|_| world.session()).collect();
    ids.sort_by(|a, b| b.cmp(a));
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = world
            .sessions
            .list(&ListQuery {
                limit: 2,
                cursor,
                ..ListQuery::default()
            })
            .unwrap();
        seen.extend(page.sessions.into_iter().map(|view| view.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[test]
fn a_reply_parked_by_a_stop_goes_on_after_the_start_as_one_message() {
    let (world, id) = restarted_in_a_reply(Setup {
        on_disconnect: OnDisconnect::Continue,
        ..Setup::default()
    });
    world.wait_for(&id, is_turn_end);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1].content, "the first half, the second half");
    let asked = world.model.wait_for_requests(2);
    assert!(asked[1].last_message().contains("Continue"));
    let outcome = world.wait_for(&id, is_turn_end).event;
    assert!(matches!(
        outcome,
        Event::TurnEnded {
            outcome: Outcome::Completed,
            ..
        }
    ));
}

#[test]
fn a_try_counts_also_when_the_turn_has_paused_through_another_start() {
    let (world, id) = restarted_in_a_reply(Setup {
        stop_was_clean: false,
        ..Setup::default()
    });
    world.wait_for(&id, is_pause);
    world.wait_until_idle(&id);
    let world = world.restarted();
    let mut attached = world.attach(&id);
    read_until(&mut attached, is_done);
    let kinds = world.kinds(&id);
    let starts = kinds.iter().filter(|kind| **kind == "turn_started");
    assert_eq!(starts.count(), 2, "{kinds:?}");
}

#[test]
fn a_panic_in_a_tool_is_a_failed_result() {
    let world = World::with(Setup {
        tools: tool("bang", |_| panic!("on purpose")),
        ..Setup::default()
    });
    world.model.reply(tool_call("bang", "{}")).then(text("oh"));
    let id = world.session();
    assert_eq!(said(&read_all(&mut world.say(&id, "go"))), "oh");
}
