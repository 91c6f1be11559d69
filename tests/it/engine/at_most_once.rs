//! Tools run at most once unless they say otherwise, at whatever moment the process ends.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use duragent::domain::event::ApprovalKind;
use duragent::engine::sessions::view::PendingApproval;

use super::*;

/// A tool that counts what it did, and lingers after its first deed.
#[derive(Debug)]
struct Pays {
    spec: ToolSpec,
    deeds: AtomicUsize,
    /// The first run lasts until this closes …
    linger_rx: Receiver<()>,
    /// … or until it is cancelled, if it looks at that.
    is_deaf: bool,
}

impl Tool for Pays {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &duragent::tools::Run<'_>) -> RunResult {
        if self.deeds.fetch_add(1, Ordering::SeqCst) > 0 {
            return output(true, "paid").into();
        }
        let deaf = crossbeam_channel::never();
        let said = crossbeam_channel::select! {
            recv(self.linger_rx) -> _ => output(true, "paid"),
            recv(if self.is_deaf { &deaf } else { run.cancel }) -> _ => output(false, "interrupted"),
        };
        said.into()
    }
}

fn output(success: bool, content: &str) -> ToolOutput {
    ToolOutput {
        success,
        content: content.to_owned(),
    }
}

/// An engine whose model has called `pay`, whose first run lasts until it is let go.
struct Paying {
    world: World,
    tool: Arc<Pays>,
    id: SessionId,
    linger_tx: Sender<()>,
}

impl Paying {
    /// Returns when the tool has done its deed and has not come back.
    fn start(effect: Effect) -> Paying {
        Paying::start_as(effect, false)
    }

    fn start_as(effect: Effect, is_deaf: bool) -> Paying {
        let (linger_tx, linger_rx) = bounded(0);
        let tool = Arc::new(Pays {
            spec: ToolSpec {
                name: "pay".to_owned(),
                kind: duragent::tools::ToolKind::Builtin,
                description: "for tests".to_owned(),
                parameters: serde_json::json!({"type": "object"}),
                effect,
            },
            deeds: AtomicUsize::new(0),
            linger_rx,
            is_deaf,
        });
        let world = World::with(Setup {
            on_disconnect: OnDisconnect::Continue,
            tools: Toolbox::default().with(Arc::clone(&tool) as _),
            ..Setup::default()
        });
        world.model.reply(tool_call("pay", r#"{"to":"ann"}"#));
        let id = world.session();
        drop(world.say(&id, "pay ann"));
        let paying = Paying {
            world,
            tool,
            id,
            linger_tx,
        };
        paying.wait_for_deeds(1);
        paying
    }

    fn deeds(&self) -> usize {
        self.tool.deeds.load(Ordering::SeqCst)
    }

    fn wait_for_deeds(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.deeds() < count {
            assert!(Instant::now() < deadline, "{} deeds", self.deeds());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Another engine on what is on the disk now, as after a kill at this moment.
    fn killed_now(&self) -> World {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        copy_tree(self.world.folder.path(), folder.path());
        let setup = Setup {
            stop_was_clean: false,
            ..self.world.setup.clone()
        };
        let after = World::on(folder, FakeModel::start(), setup);
        after.model.reply(text("all right"));
        after.sessions.recover(Recovery::TakeUp, || false).unwrap();
        after
    }
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), copy).unwrap();
        }
    }
}

fn count(world: &World, id: &SessionId, name: &str) -> usize {
    let kinds = world.kinds(id);
    kinds.iter().filter(|kind| **kind == name).count()
}

fn wait_for_question(world: &World, id: &SessionId) -> PendingApproval {
    world.wait_for(id, |event| matches!(event, Event::ApprovalRequired { .. }));
    world.sessions.show(id).unwrap().pending_approval.unwrap()
}

/// What the model was told of its call.
fn told(world: &World) -> String {
    world.model.wait_for_requests(1)[0].last_message()
}

// --- the process dies while a tool runs ---

#[test]
fn a_tool_that_may_run_twice_is_run_again_after_a_kill() {
    for effect in [Effect::Read, Effect::Idempotent] {
        let before = Paying::start(effect);
        let after = before.killed_now();
        after.wait_for(&before.id, is_turn_end);
        assert_eq!(before.deeds(), 2, "{effect:?}");
        assert_eq!(count(&after, &before.id, "tool_started"), 2);
        assert_eq!(count(&after, &before.id, "tool_result"), 1);
        assert_eq!(told(&after), "paid");
    }
}

#[test]
fn any_other_tool_is_not_run_again_before_a_person_says_so() {
    let before = Paying::start(Effect::Write);
    let after = before.killed_now();
    let asked = wait_for_question(&after, &before.id);
    assert_eq!(asked.kind, ApprovalKind::Uncertain);
    assert_eq!(asked.command, r#"pay {"to":"ann"}"#);
    after.wait_until_idle(&before.id);
    assert_eq!(before.deeds(), 1);
    // Not after another kill either, and it is not asked twice.
    let id = before.id.clone();
    let after = after.restarted();
    after.sessions.recover(Recovery::TakeUp, || false).unwrap();
    assert_eq!(wait_for_question(&after, &id), asked);
    assert_eq!(count(&after, &id, "approval_required"), 1);
    assert_eq!(before.deeds(), 1);
    assert_eq!(after.model.request_count(), 0);
}

#[test]
fn each_answer_to_an_uncertain_call_does_what_it_says() {
    use Decision::{AllowOnce, Deny, Retry, Skip, Worked};
    for (answer, stored, deeds, words) in [
        (Retry, Retry, 2, "paid"),
        (AllowOnce, Retry, 2, "paid"),
        (Skip, Skip, 1, "unknown whether it ran"),
        (Deny, Skip, 1, "unknown whether it ran"),
        (Worked, Worked, 1, "did its work"),
    ] {
        let before = Paying::start(Effect::Write);
        let after = before.killed_now();
        let asked = wait_for_question(&after, &before.id);
        let (_, mut outcome) = after
            .sessions
            .approve(
                &before.id,
                asked.call_id.as_str(),
                &asked.command,
                answer,
                &Principal::Owner,
            )
            .unwrap();
        assert_eq!(said(&read_all(&mut outcome)), "all right");
        assert_eq!(before.deeds(), deeds, "{answer:?}");
        assert!(told(&after).contains(words), "{answer:?}: {}", told(&after));
        let decided = after.wait_for(&before.id, |event| {
            matches!(event, Event::ApprovalDecision { .. })
        });
        assert!(
            matches!(decided.event, Event::ApprovalDecision { decision, .. } if decision == stored)
        );
    }
}

/// Nobody knows any more what running it twice would mean: it counts as one that changes something.
#[test]
fn a_call_whose_tool_is_gone_after_a_kill_is_asked_about_and_the_answer_stands() {
    let mut before = Paying::start(Effect::Read);
    before.world.setup.tools = Toolbox::default();
    let after = before.killed_now();
    let asked = wait_for_question(&after, &before.id);
    assert_eq!(asked.kind, ApprovalKind::Uncertain);
    assert_eq!(asked.command, r#"pay {"to":"ann"}"#);
    let call = asked.call_id.as_str();
    let worked = Decision::Worked;
    let approved =
        after
            .sessions
            .approve(&before.id, call, &asked.command, worked, &Principal::Owner);
    read_all(&mut approved.unwrap().1);
    assert!(told(&after).contains("did its work"), "{}", told(&after));
}

#[test]
fn an_uncertain_call_cannot_be_allowed_for_ever() {
    let before = Paying::start(Effect::Write);
    let after = before.killed_now();
    let asked = wait_for_question(&after, &before.id);
    let call = asked.call_id.as_str();
    let always = Decision::AllowAlways;
    let refused =
        after
            .sessions
            .approve(&before.id, call, &asked.command, always, &Principal::Owner);
    assert!(matches!(refused, Err(EngineError::Invalid(_))));
    assert_eq!(before.deeds(), 1);
}

/// The process may die after any append of a turn: each beginning of its log is tried.
#[test]
fn after_any_beginning_of_a_log_a_call_runs_only_if_it_had_not_begun() {
    let before = Paying::start(Effect::Write);
    let Paying {
        world,
        tool,
        id,
        linger_tx,
    } = before;
    drop(linger_tx);
    world.wait_for(&id, is_turn_end);
    let kinds = world.kinds(&id);
    let at = |name| kinds.iter().position(|kind| *kind == name).unwrap();
    let (started, result) = (at("tool_started"), at("tool_result"));
    for lines in 2..kinds.len() {
        let deeds = tool.deeds.load(Ordering::SeqCst);
        let after = with_first_lines(&world, &id, lines);
        if lines <= started + 1 && lines > started {
            wait_for_question(&after, &id);
        } else {
            after.wait_for(&id, is_turn_end);
        }
        // Without a call in its log, the model is asked, and answers without one.
        let has_call = lines > at("assistant_response");
        let runs = usize::from(has_call && lines <= started);
        assert_eq!(
            tool.deeds.load(Ordering::SeqCst) - deeds,
            runs,
            "{lines} lines"
        );
        assert!(lines <= result || runs == 0);
    }
}

/// Another engine on a log that ends after its first `lines` lines.
fn with_first_lines(world: &World, id: &SessionId, lines: usize) -> World {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    copy_tree(world.folder.path(), folder.path());
    let session = session_folder(folder.path(), id);
    let log = fs::read_to_string(session.join("events.jsonl")).unwrap();
    let kept: String = log.split_inclusive('\n').take(lines).collect();
    fs::write(session.join("events.jsonl"), kept).unwrap();
    drop(fs::remove_file(session.join("state.yaml")));
    let setup = Setup {
        stop_was_clean: false,
        ..world.setup.clone()
    };
    let after = World::on(folder, FakeModel::start(), setup);
    after.sessions.recover(Recovery::TakeUp, || false).unwrap();
    after
}

fn session_folder(root: &Path, id: &SessionId) -> std::path::PathBuf {
    root.join("sessions").join(id.as_str())
}

// --- the process dies while a person is asked ---

#[test]
fn a_question_outlives_a_kill_and_its_answer_runs_the_tool_once() {
    let world = World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: tool("note", repeats),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    });
    world.model.reply(tool_call("note", r#"{"a":1}"#));
    let id = world.session();
    drop(world.say(&id, "note this"));
    let asked = wait_for_question(&world, &id);
    let lines = world.kinds(&id).len();
    let after = with_first_lines(&world, &id, lines);
    after.model.reply(text("noted"));
    assert_eq!(wait_for_question(&after, &id), asked);
    let (_, mut outcome) = after
        .sessions
        .approve(
            &id,
            asked.call_id.as_str(),
            &asked.command,
            Decision::AllowOnce,
            &Principal::Owner,
        )
        .unwrap();
    assert_eq!(said(&read_all(&mut outcome)), "noted");
    assert_eq!(count(&after, &id, "tool_started"), 1);
    assert!(told(&after).contains(r#"got {"a":1}"#));
}

#[test]
fn an_answer_without_its_deed_is_acted_on_after_a_kill() {
    let world = World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: tool("note", repeats),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    });
    world.model.reply(tool_call("note", "{}"));
    let id = world.session();
    drop(world.say(&id, "note this"));
    let asked = wait_for_question(&world, &id);
    let once = Decision::AllowOnce;
    let approved = world.sessions.approve(
        &id,
        asked.call_id.as_str(),
        &asked.command,
        once,
        &Principal::Owner,
    );
    drop(approved.unwrap());
    world.wait_for(&id, is_turn_end);
    let kinds = world.kinds(&id);
    let decided = kinds
        .iter()
        .position(|kind| *kind == "approval_decision")
        .unwrap();
    let after = with_first_lines(&world, &id, decided + 1);
    after.wait_for(&id, is_turn_end);
    assert_eq!(count(&after, &id, "approval_required"), 1);
    assert_eq!(count(&after, &id, "tool_result"), 1);
}

// --- stopped from outside ---

#[test]
fn a_tool_that_a_shutdown_stopped_is_not_uncertain() {
    let Paying {
        world,
        tool,
        id,
        linger_tx: _lingers,
    } = Paying::start(Effect::Write);
    let after = world.restarted();
    let result = after.wait_for(&id, |event| matches!(event, Event::ToolResult { .. }));
    let Event::ToolResult { result, .. } = result.event else {
        unreachable!()
    };
    assert!(!result.success);
    assert!(result.content.contains("stopped by shutdown"), "{result:?}");
    after.model.reply(text("all right"));
    after.sessions.recover(Recovery::TakeUp, || false).unwrap();
    after.wait_for(&id, is_turn_end);
    assert_eq!(count(&after, &id, "approval_required"), 0);
    assert_eq!(tool.deeds.load(Ordering::SeqCst), 1);
}

#[test]
fn a_cancel_stops_a_tool_and_its_turn() {
    let paying = Paying::start(Effect::Write);
    let asked_at = Instant::now();
    assert!(paying.world.sessions.cancel(&paying.id).unwrap());
    assert!(asked_at.elapsed() < PATIENCE, "it was waited for");
    let kinds = paying.world.kinds(&paying.id);
    assert_eq!(kinds[kinds.len() - 2..], ["tool_result", "turn_ended"]);
    paying.world.model.reply(text("fresh"));
    let mut next = paying.world.say(&paying.id, "and now?");
    assert_eq!(said(&read_all(&mut next)), "fresh");
}

#[test]
fn a_tool_that_cannot_be_stopped_is_left_behind_and_writes_nothing_more() {
    let paying = Paying::start_as(Effect::Write, true);
    let (world, id) = (&paying.world, &paying.id);
    assert!(world.sessions.cancel(id).unwrap());
    let kinds = world.kinds(id);
    assert_eq!(kinds[kinds.len() - 2..], ["tools_skipped", "turn_ended"]);
    world.model.reply(text("fresh"));
    assert_eq!(said(&read_all(&mut world.say(id, "and now?"))), "fresh");
    let kinds = world.kinds(id);
    let Paying {
        world,
        id,
        linger_tx,
        ..
    } = paying;
    // It comes back when nobody waits for it.
    drop(linger_tx);
    world.sessions.stop(PATIENCE);
    assert_eq!(world.kinds(&id), kinds);
}
