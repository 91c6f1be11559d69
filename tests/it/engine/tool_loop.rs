//! The loop of a turn: calls beside one another and in order, words in between, and its ends.

use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use duragent::domain::spec::Provider;
use duragent::policy::{Policy, ProposedCall, RememberError, Verdict};
use duragent::tools::{Run, RunResult, ToolKind};

use super::at_most_once::copy_tree;
use super::*;

/// A tool whose runs last until they are let go, one by one. Its arguments are numbers.
#[derive(Debug)]
struct Slow {
    spec: ToolSpec,
    begun: Mutex<Vec<String>>,
    most_at_once: Mutex<(usize, usize)>,
    go_rx: Receiver<()>,
    /// Those that look at nothing but that.
    deaf: &'static [&'static str],
}

impl Tool for Slow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        {
            let mut at_once = self.most_at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        // Last: whoever waits for it finds the run counted.
        self.begun.lock().unwrap().push(run.arguments.to_owned());
        let is_deaf = self.deaf.contains(&run.arguments);
        let deaf = never();
        let (success, content) = select! {
            recv(self.go_rx) -> _ => (true, format!("got {}", run.arguments)),
            recv(if is_deaf { &deaf } else { run.cancel }) -> _ => (false, "so far".to_owned()),
        };
        self.most_at_once.lock().unwrap().0 -= 1;
        RunResult::Done(ToolOutput { success, content })
    }
}

struct Tools {
    slow: Arc<Slow>,
    go_tx: Sender<()>,
}

impl Tools {
    fn new(effect: Effect, deaf: &'static [&'static str]) -> Tools {
        let (go_tx, go_rx) = bounded(0);
        let slow = Arc::new(Slow {
            spec: ToolSpec {
                name: "look".to_owned(),
                kind: ToolKind::Builtin,
                description: "for tests".to_owned(),
                parameters: serde_json::json!({"type": "object"}),
                effect,
            },
            begun: Mutex::default(),
            most_at_once: Mutex::default(),
            go_rx,
            deaf,
        });
        Tools { slow, go_tx }
    }

    /// Beside a tool `note` that writes, and is quick.
    fn toolbox(&self) -> Toolbox {
        tool("note", repeats).with(Arc::clone(&self.slow) as _)
    }

    fn setup(&self) -> Setup {
        Setup {
            on_disconnect: OnDisconnect::Continue,
            tools: self.toolbox(),
            ..Setup::default()
        }
    }

    fn begun(&self) -> usize {
        self.slow.begun.lock().unwrap().len()
    }

    fn wait_until_begun(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.begun() < count {
            assert!(Instant::now() < deadline, "{} have begun", self.begun());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn most_at_once(&self) -> usize {
        self.slow.most_at_once.lock().unwrap().1
    }

    /// Lets `count` runs go.
    fn let_go(&self, count: usize) {
        for _ in 0..count {
            self.go_tx.send_timeout((), PATIENCE).unwrap();
        }
    }
}

/// What became of each call, in the order of the log: `started`, its output, or `skipped: …`.
fn fates(world: &World, id: &SessionId) -> Vec<(String, String)> {
    let mut fates = Vec::new();
    for record in world.log(id) {
        match record.event {
            Event::ToolStarted { call_id, .. } => {
                fates.push((call_id.to_string(), "started".to_owned()));
            }
            Event::ToolResult {
                call_id, result, ..
            } => fates.push((call_id.to_string(), result.content)),
            Event::ToolsSkipped { call_ids, reason } => {
                let skipped = format!("skipped: {reason}");
                fates.extend(call_ids.iter().map(|id| (id.to_string(), skipped.clone())));
            }
            _ => {}
        }
    }
    fates
}

/// How many answers each call of the session has.
fn answers(world: &World, id: &SessionId) -> Vec<usize> {
    let fates = fates(world, id);
    let mut calls = Vec::new();
    for record in world.log(id) {
        if let Event::AssistantResponse(reply) = record.event {
            calls.extend(reply.tool_calls.iter().cloned());
        }
    }
    let count = |call: &duragent::domain::event::ToolCall| {
        let of_call = fates.iter().filter(|(id, _)| *id == call.call_id.as_str());
        of_call.filter(|(_, fate)| fate != "started").count()
    };
    calls.iter().map(count).collect()
}

fn looks(count: usize) -> crate::support::fake_model::Step {
    (2..=count).fold(tool_call("look", "1"), |step, number| {
        step.and_call("look", &number.to_string())
    })
}

// --- beside one another ---

#[test]
fn calls_that_only_read_run_beside_one_another_and_eight_at_most() {
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world.model.reply(looks(11)).then(text("seen"));
    let id = world.session();
    let mut stream = world.say(&id, "look around");
    tools.wait_until_begun(8);
    // All are written as begun by one append, before any of them runs.
    let kinds = world.kinds(&id);
    assert_eq!(kinds[kinds.len() - 8..], ["tool_started"; 8]);
    tools.let_go(8);
    tools.wait_until_begun(11);
    tools.let_go(3);
    assert_eq!(said(&read_all(&mut stream)), "seen");
    assert_eq!(tools.most_at_once(), 8);
    assert_eq!(answers(&world, &id), [1; 11]);
    // The model gets each result with its call, whatever their order was.
    let asked = world.model.wait_for_requests(2);
    let results = asked[1].messages();
    let results = results.iter().filter(|one| one["role"] == "tool");
    assert_eq!(results.count(), 11);
}

#[test]
fn a_result_is_written_as_it_comes_and_not_with_the_slowest() {
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world.model.reply(looks(3)).then(text("seen"));
    let id = world.session();
    let mut stream = world.say(&id, "look around");
    tools.wait_until_begun(3);
    tools.let_go(1);
    world.wait_for(&id, |event| matches!(event, Event::ToolResult { .. }));
    assert!(world.sessions.show(&id).unwrap().working);
    tools.let_go(2);
    assert_eq!(said(&read_all(&mut stream)), "seen");
}

#[test]
fn any_other_call_runs_alone_and_in_its_place() {
    for effect in [Effect::Idempotent, Effect::Write] {
        let tools = Tools::new(effect, &[]);
        let world = World::with(tools.setup());
        world.model.reply(looks(3)).then(text("done"));
        let id = world.session();
        let mut stream = world.say(&id, "go");
        for number in 1..=3 {
            tools.wait_until_begun(number);
            tools.let_go(1);
        }
        assert_eq!(said(&read_all(&mut stream)), "done");
        assert_eq!(tools.most_at_once(), 1, "{effect:?}");
        assert_eq!(*tools.slow.begun.lock().unwrap(), ["1", "2", "3"]);
    }
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world
        .model
        .reply(looks(2).and_call("note", "{}").and_call("look", "3"))
        .then(text("done"));
    let id = world.session();
    let mut stream = world.say(&id, "look, note, look");
    tools.wait_until_begun(2);
    tools.let_go(2);
    tools.wait_until_begun(3);
    tools.let_go(1);
    read_all(&mut stream);
    let fates = fates(&world, &id);
    let at = |fate: &str| fates.iter().position(|(_, one)| one == fate).unwrap();
    assert!(at("got 1").max(at("got 2")) < at("got {}"), "{fates:?}");
    let last_start = fates.iter().rposition(|(_, one)| one == "started").unwrap();
    assert!(at("got {}") < last_start, "{fates:?}");
    assert_eq!(tools.most_at_once(), 2);
}

/// Asks about what looks at `ask`, and forbids what looks at `deny`.
#[derive(Debug, Default)]
struct Picky {
    noted: Mutex<Vec<String>>,
}

impl Policy for Picky {
    fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict {
        match proposed.call.arguments.as_str() {
            "\"ask\"" => Verdict::Ask {
                command: proposed.command(),
                commands: proposed.commands(),
                is_exact: false,
                session_rules: Vec::new(),
            },
            "\"deny\"" => Verdict::Deny {
                reason: "forbidden".to_owned(),
            },
            _ => Verdict::Allow,
        }
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_question(&self, _: &ProposedCall<'_>) {}

    fn note_start(&self, proposed: &ProposedCall<'_>) {
        let arguments = proposed.call.arguments.clone();
        self.noted.lock().unwrap().push(arguments);
    }
}

#[test]
fn of_the_calls_before_a_question_all_have_run_and_none_after_it() {
    let tools = Tools::new(Effect::Read, &[]);
    let policy = Arc::new(Picky::default());
    let world = World::with(Setup {
        policy: Arc::clone(&policy) as _,
        ..tools.setup()
    });
    let calls = looks(2).and_call("look", "\"deny\"").and_call("look", "3");
    let calls = calls.and_call("look", "\"ask\"").and_call("look", "4");
    world.model.reply(calls).then(text("seen"));
    let id = world.session();
    let mut stream = world.say(&id, "look around");
    tools.wait_until_begun(2);
    tools.let_go(2);
    tools.wait_until_begun(3);
    tools.let_go(1);
    read_until(&mut stream, is_question);
    world.wait_until_idle(&id);
    assert_eq!(answers(&world, &id), [1, 1, 1, 1, 0, 0]);
    assert_eq!(tools.begun(), 3);
    let asked = world.sessions.show(&id).unwrap().pending_approval.unwrap();
    let call = asked.call_id.as_str();
    let approved = world.sessions.approve(
        &id,
        call,
        &asked.command,
        Decision::AllowOnce,
        &Principal::Owner,
    );
    let (_, mut outcome) = approved.unwrap();
    // What was allowed runs beside what need not be asked about.
    tools.wait_until_begun(5);
    tools.let_go(2);
    assert_eq!(said(&read_all(&mut outcome)), "seen");
    assert_eq!(answers(&world, &id), [1; 6]);
    let noted = policy.noted.lock().unwrap().clone();
    assert_eq!(noted, ["1", "2", "3", "\"ask\"", "4"]);
}

#[test]
fn a_panic_of_one_of_several_is_its_own() {
    let tools = Tools::new(Effect::Read, &[]);
    let bang = Says::reads("bang", |_| panic!("on purpose"));
    let world = World::with(Setup {
        tools: tools.toolbox().with(bang),
        ..tools.setup()
    });
    let calls = tool_call("bang", "{}").and_call("look", "1");
    world.model.reply(calls).then(text("oh"));
    let id = world.session();
    let mut stream = world.say(&id, "go");
    tools.wait_until_begun(1);
    tools.let_go(1);
    assert_eq!(said(&read_all(&mut stream)), "oh");
    let fates = fates(&world, &id);
    assert!(fates.iter().any(|(_, fate)| fate == "got 1"), "{fates:?}");
    assert_eq!(answers(&world, &id), [1, 1]);
}

#[test]
fn calls_that_only_read_are_run_again_after_a_kill_and_beside_one_another() {
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world.model.reply(looks(3));
    let id = world.session();
    drop(world.say(&id, "look around"));
    tools.wait_until_begun(3);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    copy_tree(world.folder.path(), folder.path());
    let setup = Setup {
        stop_was_clean: false,
        ..tools.setup()
    };
    let after = World::on(folder, FakeModel::start(), setup);
    after.model.reply(text("seen"));
    after.sessions.recover(Recovery::TakeUp, || false).unwrap();
    tools.wait_until_begun(6);
    // Those of the engine that was killed still hang.
    assert_eq!(tools.most_at_once(), 6);
    tools.let_go(6);
    after.wait_for(&id, is_turn_end);
    assert_eq!(answers(&after, &id), [1, 1, 1]);
}

// --- words in between, and the last round ---

#[test]
fn what_is_said_while_tools_run_is_in_the_next_model_call() {
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world.model.reply(looks(2)).then(text("as you wish"));
    let id = world.session();
    let mut first = world.say(&id, "look around");
    tools.wait_until_begun(2);
    let mut second = world.say(&id, "only to the left");
    tools.let_go(2);
    assert_eq!(said(&read_all(&mut first)), "as you wish");
    assert_eq!(said(&read_all(&mut second)), "as you wish");
    let asked = world.model.wait_for_requests(2);
    assert_eq!(
        asked[1].each("role"),
        ["user", "assistant", "tool", "tool", "user"]
    );
    assert_eq!(asked[1].last_message(), "only to the left");
}

#[test]
fn after_the_last_round_the_model_is_shown_its_tools_and_may_use_none() {
    for (provider, none) in [
        (Provider::OPENAI, serde_json::json!("none")),
        (Provider::ANTHROPIC, serde_json::json!({"type": "none"})),
    ] {
        let adapt: fn(&mut duragent::domain::spec::AgentSpec) = if provider == Provider::ANTHROPIC {
            |spec| {
                spec.model.main.provider = Provider::ANTHROPIC;
                spec.session.max_tool_iterations = 2;
            }
        } else {
            |spec| spec.session.max_tool_iterations = 2
        };
        let world = World::with(Setup {
            tools: tool("note", repeats),
            adapt,
            ..Setup::default()
        });
        world.model.reply(tool_call("note", "{}"));
        world.model.reply(tool_call("note", "{}"));
        // One that calls all the same is taken by its words.
        world
            .model
            .reply(text("that is all").and_call("note", "{}"));
        let id = world.session();
        let items = read_all(&mut world.say(&id, "loop"));
        assert_eq!(shown(&items).last(), Some(&"done"));
        assert_eq!(said(&items), "that is all");
        let asked = world.model.requests();
        assert_eq!(asked.len(), 3);
        let choices: Vec<_> = asked.iter().map(|one| &one.body["tool_choice"]).collect();
        assert_eq!(
            choices,
            [&serde_json::Value::Null, &serde_json::Value::Null, &none]
        );
        let tools: Vec<_> = asked.iter().map(|one| &one.body["tools"]).collect();
        assert_eq!(tools[0].as_array().unwrap().len(), 1);
        assert_eq!(tools[2], tools[0]);
        assert_eq!(answers(&world, &id), [1, 1]);
    }
}

// --- ended from outside ---

/// A quarter of a second is promised; the rest is for a machine with other work.
const SOON: Duration = Duration::from_millis(600);

#[test]
fn a_cancel_ends_all_that_run_and_skips_the_rest() {
    let tools = Tools::new(Effect::Read, &[]);
    let world = World::with(tools.setup());
    world.model.reply(looks(3).and_call("note", "{}"));
    let id = world.session();
    let mut stream = world.say(&id, "look around");
    tools.wait_until_begun(3);
    let asked_at = Instant::now();
    assert!(world.sessions.cancel(&id).unwrap());
    let took = asked_at.elapsed();
    assert!(took < SOON, "{took:?}");
    assert_eq!(shown(&read_all(&mut stream)).last(), Some(&"cancelled"));
    assert_eq!(answers(&world, &id), [1, 1, 1, 1]);
    let ends: Vec<String> = fates(&world, &id)
        .into_iter()
        .map(|(_, fate)| fate)
        .collect();
    assert_eq!(ends[..3], ["started"; 3]);
    assert_eq!(ends[3..6], ["so far\n(cancelled by the user)"; 3]);
    assert_eq!(ends[6..], ["skipped: cancelled by the user"]);
    world.model.reply(text("fresh"));
    assert_eq!(said(&read_all(&mut world.say(&id, "and now?"))), "fresh");
}

#[test]
fn a_cancel_does_not_wait_for_the_one_of_several_that_ignores_it() {
    let tools = Tools::new(Effect::Read, &["2"]);
    let world = World::with(tools.setup());
    world.model.reply(looks(3).and_call("note", "{}"));
    let id = world.session();
    drop(world.say(&id, "look around"));
    tools.wait_until_begun(3);
    let asked_at = Instant::now();
    assert!(world.sessions.cancel(&id).unwrap());
    let took = asked_at.elapsed();
    assert!(took < SOON, "{took:?}");
    // Those that listened have their own words, the deaf one is in doubt, the last never began.
    assert_eq!(answers(&world, &id), [1, 1, 1, 1]);
    let mut ends: Vec<String> = fates(&world, &id)
        .into_iter()
        .map(|(_, fate)| fate)
        .collect();
    ends.drain(..3);
    assert_eq!(ends[..2], ["so far\n(cancelled by the user)"; 2]);
    assert!(ends[2].contains("it had begun"), "{ends:?}");
    assert_eq!(ends[3], "skipped: cancelled by the user");
    // The session is free at once, and what comes back late changes nothing.
    world.model.reply(text("fresh"));
    assert_eq!(said(&read_all(&mut world.say(&id, "and now?"))), "fresh");
    let kinds = world.kinds(&id);
    tools.let_go(1);
    world.sessions.stop(PATIENCE);
    assert_eq!(world.kinds(&id), kinds);
}

#[test]
fn calls_that_a_shutdown_stopped_are_not_run_again() {
    for (effect, count) in [(Effect::Read, 3), (Effect::Write, 1)] {
        let tools = Tools::new(effect, &[]);
        let world = World::with(tools.setup());
        world.model.reply(looks(count)).then(text("all right"));
        let id = world.session();
        drop(world.say(&id, "look around"));
        tools.wait_until_begun(count);
        let world = world.restarted();
        assert_eq!(answers(&world, &id), vec![1; count]);
        let fates = fates(&world, &id);
        let stopped = fates
            .iter()
            .filter(|(_, fate)| fate.contains("stopped by shutdown"));
        assert_eq!(stopped.count(), count, "{fates:?}");
        world.sessions.recover(Recovery::TakeUp, || false).unwrap();
        world.wait_for(&id, is_turn_end);
        assert_eq!(tools.begun(), count);
        assert!(!world.kinds(&id).contains(&"approval_required"));
    }
}
