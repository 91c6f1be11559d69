//! Calls whose results others bring: no thread waits for them, a restart or a power cut loses none
//! of them, and each counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use duragent::base::clock::{Clock, FakeClock};
use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, SimDisk};
use duragent::domain::ids::{AwaitedId, CallId};
use duragent::domain::state::ParkedCall;
use duragent::engine::Lifetimes;
use duragent::policy::{Policy, ProposedCall, RememberError, Verdict};
use duragent::tools::{Caller, Run, ToolKind};
use rustix::io::Errno;

use super::*;
use crate::support::own_model::CallsOnce;

/// When a tool can say what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    BeforeItRuns,
    Afterwards,
}

/// Work that others do, which outlives every engine of a test. The arguments of a call name it.
#[derive(Debug)]
struct Jobs {
    spec: ToolSpec,
    says: Says,
    /// How often each was begun by a run, and how often by one who asked after it.
    runs: Mutex<BTreeMap<String, usize>>,
    begun_late: Mutex<BTreeSet<String>>,
    done: Mutex<BTreeSet<String>>,
    asked_after: Mutex<Vec<String>>,
    given_up: Mutex<Vec<String>>,
    /// Who brings the result before the run is over, if anybody.
    hasty: OnceLock<Sessions>,
}

impl Jobs {
    fn new(says: Says) -> Arc<Jobs> {
        Arc::new(Jobs {
            spec: ToolSpec {
                name: "job".to_owned(),
                kind: ToolKind::Builtin,
                description: "for tests".to_owned(),
                parameters: serde_json::json!({"type": "object"}),
                effect: match says {
                    Says::BeforeItRuns => Effect::Write,
                    // What it began is known by its name when it runs again.
                    Says::Afterwards => Effect::Idempotent,
                },
            },
            says,
            runs: Mutex::default(),
            begun_late: Mutex::default(),
            done: Mutex::default(),
            asked_after: Mutex::default(),
            given_up: Mutex::default(),
            hasty: OnceLock::new(),
        })
    }

    fn finish(&self, name: &str) {
        self.done.lock().unwrap().insert(name.to_owned());
    }

    /// Those that somebody works at, by whatever way that came.
    fn begun(&self) -> BTreeSet<String> {
        let mut begun = self.begun_late.lock().unwrap().clone();
        begun.extend(self.runs.lock().unwrap().keys().cloned());
        begun
    }
}

impl Tool for Jobs {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn awaits(&self, run: &Run<'_>) -> Option<AwaitedId> {
        (self.says == Says::BeforeItRuns).then(|| on(run.arguments))
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        let name = run.arguments.to_owned();
        *self.runs.lock().unwrap().entry(name.clone()).or_default() += 1;
        if let Some(sessions) = self.hasty.get() {
            let session = run.caller.session;
            let counts = sessions.resolve(session, run.call_id, &on(&name), output(&name));
            assert!(counts.unwrap());
        }
        RunResult::Parked { on: on(&name) }
    }

    fn ask_after(&self, parked: ParkedCall<'_>, _: Caller<'_>) -> Option<ToolOutput> {
        let name = name_of(parked.on);
        self.asked_after.lock().unwrap().push(name.clone());
        if !self.begun().contains(&name) {
            self.begun_late.lock().unwrap().insert(name.clone());
        }
        let is_done = self.done.lock().unwrap().contains(&name);
        is_done.then(|| output(&name))
    }

    fn give_up(&self, parked: ParkedCall<'_>, _: Caller<'_>) {
        self.given_up.lock().unwrap().push(name_of(parked.on));
    }
}

fn on(name: &str) -> AwaitedId {
    AwaitedId::parse(&format!("job:{name}")).unwrap()
}

fn name_of(on: &AwaitedId) -> String {
    on.as_str().trim_start_matches("job:").to_owned()
}

fn output(name: &str) -> ToolOutput {
    ToolOutput {
        success: true,
        content: format!("{name} is done"),
    }
}

/// Asks about the tool `deed`, and nothing else.
#[derive(Debug)]
struct AskForDeeds;

impl Policy for AskForDeeds {
    fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict {
        match proposed.call.tool_name.as_str() {
            "deed" => AskAlways.judge(proposed),
            _ => Verdict::Allow,
        }
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_start(&self, _: &ProposedCall<'_>) {}

    fn note_question(&self, _: &ProposedCall<'_>) {}
}

/// An engine on a disk in memory, whose model asks for `calls` and says "done" once it has their
/// results.
struct Bench {
    sessions: Sessions,
    disk: SimDisk,
    jobs: Arc<Jobs>,
    calls: &'static [(&'static str, &'static str)],
    setup: Setup,
}

const THREE_JOBS: &[(&str, &str)] = &[("job", "1"), ("job", "2"), ("job", "3")];

impl Bench {
    fn new(says: Says, calls: &'static [(&'static str, &'static str)]) -> Bench {
        Bench::with(says, calls, |_| {})
    }

    fn with(
        says: Says,
        calls: &'static [(&'static str, &'static str)],
        adapt: impl FnOnce(&mut Setup),
    ) -> Bench {
        let jobs = Jobs::new(says);
        let mut setup = setup(&jobs);
        adapt(&mut setup);
        let disk = SimDisk::new();
        Bench {
            sessions: engine_on(disk.clone(), calls, &setup),
            disk,
            jobs,
            calls,
            setup,
        }
    }

    /// A session whose turn has come as far as it comes by itself.
    fn parked(&self) -> SessionId {
        let id = self.sessions.create(&draft("helper")).unwrap().id;
        self.sessions.submit(&id, message("do it")).unwrap();
        self.wait_until_nobody_works();
        id
    }

    fn wait_until_nobody_works(&self) {
        wait("somebody works", || !self.sessions.is_working());
    }

    fn log(&self, id: &SessionId) -> Vec<Event> {
        let log = self.sessions.events(id, Seq::ZERO, 1_000).unwrap();
        log.into_iter().map(|record| record.event).collect()
    }

    /// The kinds of the events from the first call on.
    fn kinds(&self, id: &SessionId) -> Vec<&'static str> {
        let log = self.log(id);
        let kinds = log.iter().map(kind);
        let from_reply = kinds.skip_while(|kind| *kind != "assistant_response");
        from_reply.skip(1).collect()
    }

    /// The call with these arguments.
    fn call(&self, id: &SessionId, arguments: &str) -> CallId {
        let log = self.log(id);
        let calls = log.iter().filter_map(Event::as_reply);
        let mut calls = calls.flat_map(|reply| &reply.tool_calls);
        let call = calls.find(|call| call.arguments == arguments);
        call.unwrap().call_id.clone()
    }

    /// Brings the result of a job; whether it counts.
    fn resolve(&self, id: &SessionId, name: &str) -> bool {
        let call_id = self.call(id, name);
        let counts = self.sessions.resolve(id, &call_id, &on(name), output(name));
        counts.unwrap()
    }

    fn is_over(&self, id: &SessionId) -> bool {
        self.log(id).iter().any(is_turn_end)
    }

    /// Waits for the end of the turn, which must have given each call one answer.
    fn wait_for_the_end(&self, id: &SessionId) {
        wait("the turn does not end", || self.is_over(id));
        check_answers(&self.log(id), self.calls.len(), "");
    }

    /// As after a restart on a disk on which all is synced.
    fn restart(&mut self, how: Recovery) {
        self.sessions.stop(Duration::ZERO);
        self.sessions = engine_on(self.disk.clone(), self.calls, &self.setup);
        self.sessions.recover(how, || false).unwrap();
        self.wait_until_nobody_works();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

fn setup(jobs: &Arc<Jobs>) -> Setup {
    let deed = tool("deed", |_| output("the deed"));
    Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: deed.with(Arc::clone(jobs) as _),
        policy: Arc::new(AskForDeeds),
        ..Setup::default()
    }
}

fn engine_on(
    fs: impl Fs + 'static,
    calls: &[(&'static str, &'static str)],
    setup: &Setup,
) -> Sessions {
    let store = FileStore::new(Arc::new(fs), PathBuf::from("/workspace"));
    start_with(store, CallsOnce::models(calls), "", setup)
}

fn wait(otherwise: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each call has one answer.
fn check_answers(log: &[Event], calls: usize, what: &str) {
    let replies = log.iter().filter_map(Event::as_reply);
    let asked: Vec<&CallId> = replies
        .flat_map(|reply| &reply.tool_calls)
        .map(|call| &call.call_id)
        .collect();
    assert_eq!(asked.len(), calls, "{what}: {log:#?}");
    for call in asked {
        let answers = log.iter().filter(|event| match event {
            Event::ToolResult { call_id, .. } => call_id == call,
            Event::ToolsSkipped { call_ids, .. } => call_ids.contains(call),
            _ => false,
        });
        assert_eq!(answers.count(), 1, "{what}: {log:#?}");
    }
    let ends = log.iter().filter(|event| is_turn_end(event));
    assert_eq!(ends.count(), 1, "{what}: {log:#?}");
}

#[test]
fn calls_of_one_reply_are_parked_at_once_and_their_results_come_in_any_order() {
    for says in [Says::BeforeItRuns, Says::Afterwards] {
        for order in [["1", "2", "3"], ["3", "1", "2"], ["2", "3", "1"]] {
            let bench = Bench::new(says, THREE_JOBS);
            let id = bench.parked();
            let expected = ["tool_started", "tool_parked"].repeat(3);
            assert_eq!(bench.kinds(&id), expected);
            let view = bench.sessions.show(&id).unwrap();
            assert_eq!((view.working, view.status), (true, Status::Running));
            assert_eq!(view.pending_approval, None);
            for name in order {
                assert!(!bench.is_over(&id));
                assert!(bench.resolve(&id, name));
            }
            bench.wait_for_the_end(&id);
            bench.wait_until_nobody_works();
            assert!(!bench.sessions.show(&id).unwrap().working);
            assert_eq!(*bench.jobs.given_up.lock().unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn the_first_result_of_a_call_counts_and_only_what_it_waits_for_brings_one() {
    let bench = Bench::new(Says::BeforeItRuns, &[("job", "1"), ("job", "2")]);
    let id = bench.parked();
    let (first, second) = (bench.call(&id, "1"), bench.call(&id, "2"));
    let resolve = |call: &CallId, name: &str| {
        let said = output(name);
        bench.sessions.resolve(&id, call, &on(name), said).unwrap()
    };
    assert!(!resolve(&first, "2"), "what another call waits for");
    assert!(!resolve(&CallId::parse("call_of_nobody").unwrap(), "1"));
    assert!(resolve(&first, "1"));
    assert!(!resolve(&first, "1"), "a second time");
    assert!(resolve(&second, "2"));
    bench.wait_for_the_end(&id);
    assert!(!resolve(&second, "2"), "after the turn");
}

#[test]
fn a_result_that_comes_before_the_run_is_over_is_taken() {
    for says in [Says::BeforeItRuns, Says::Afterwards] {
        let bench = Bench::new(says, THREE_JOBS);
        bench.jobs.hasty.set(bench.sessions.clone()).unwrap();
        let id = bench.sessions.create(&draft("helper")).unwrap().id;
        bench.sessions.submit(&id, message("do it")).unwrap();
        bench.wait_for_the_end(&id);
        let each = ["tool_started", "tool_parked", "tool_result"];
        let expected = [each.repeat(3), vec!["assistant_response", "turn_ended"]].concat();
        assert_eq!(bench.kinds(&id), expected, "{says:?}");
    }
}

#[test]
fn what_came_to_its_end_while_the_server_was_down_is_asked_for_at_the_next_start() {
    for says in [Says::BeforeItRuns, Says::Afterwards] {
        let mut bench = Bench::new(says, THREE_JOBS);
        let id = bench.parked();
        assert!(bench.resolve(&id, "2"));
        bench.jobs.finish("1");
        bench.restart(Recovery::TakeUp);
        assert_eq!(*bench.jobs.asked_after.lock().unwrap(), ["1", "3"]);
        assert!(!bench.is_over(&id));
        assert!(bench.sessions.show(&id).unwrap().working);
        assert!(bench.resolve(&id, "3"));
        bench.wait_for_the_end(&id);
        let runs = bench.jobs.runs.lock().unwrap();
        assert!(runs.values().all(|times| *times == 1), "{runs:?}");
    }
}

#[test]
fn where_turns_are_left_waiting_a_parked_one_waits_for_somebody_too() {
    let mut bench = Bench::new(Says::BeforeItRuns, &[("job", "1"), ("job", "2")]);
    let id = bench.parked();
    bench.jobs.finish("1");
    bench.restart(Recovery::LeaveWaiting);
    let view = bench.sessions.show(&id).unwrap();
    assert_eq!((view.status, view.working), (Status::Paused, false));
    assert_eq!(
        *bench.jobs.asked_after.lock().unwrap(),
        Vec::<String>::new()
    );
    // What comes by itself is kept.
    assert!(bench.resolve(&id, "2"));
    bench.wait_until_nobody_works();
    assert!(!bench.is_over(&id));
    let begin = Begin::Now { history: 0 };
    let attached = bench.sessions.subscribe(&id, begin, Presence::default());
    bench.wait_for_the_end(&id);
    drop(attached);
    assert_eq!(*bench.jobs.asked_after.lock().unwrap(), ["1"]);
}

#[test]
fn a_turn_of_very_many_parked_calls_is_at_work_until_the_last_of_them_is_done() {
    const CALLS: &[(&str, &str)] = &[
        ("job", "1"),
        ("job", "2"),
        ("job", "3"),
        ("job", "4"),
        ("job", "5"),
        ("job", "6"),
        ("job", "7"),
        ("job", "8"),
        ("job", "9"),
        ("job", "10"),
        ("job", "11"),
        ("job", "12"),
        ("job", "13"),
        ("job", "14"),
        ("job", "15"),
        ("job", "16"),
        ("job", "17"),
    ];
    let bench = Bench::new(Says::BeforeItRuns, CALLS);
    let id = bench.parked();
    let looks_on = Presence {
        is_readonly: true,
        ..Presence::default()
    };
    // So that it stays in memory.
    let begin = Begin::Now { history: 0 };
    let watcher = bench.sessions.subscribe(&id, begin, looks_on).unwrap();
    let (last, others) = CALLS.split_last().unwrap();
    for (_, name) in others {
        assert!(bench.resolve(&id, name));
    }
    bench.wait_until_nobody_works();
    assert!(bench.sessions.show(&id).unwrap().working);
    drop(watcher);
    assert!(!bench.sessions.is_at_rest());
    assert!(bench.resolve(&id, last.1));
    bench.wait_for_the_end(&id);
    wait("it is still waited for", || bench.sessions.is_at_rest());
}

#[test]
fn whoever_works_for_a_session_that_is_deleted_is_told_though_its_end_cannot_be_written() {
    let full_from = Arc::new(AtomicU64::new(u64::MAX));
    let fs = FaultFs::full_from(
        Arc::new(SimDisk::new()),
        Errno::NOSPC,
        Arc::clone(&full_from),
    );
    let jobs = Jobs::new(Says::BeforeItRuns);
    let sessions = engine_on(fs, THREE_JOBS, &setup(&jobs));
    let id = sessions.create(&draft("helper")).unwrap().id;
    sessions.submit(&id, message("do it")).unwrap();
    wait("somebody works", || !sessions.is_working());
    full_from.store(0, Ordering::SeqCst);
    sessions.delete(&id).unwrap();
    wait("nobody is told", || {
        jobs.given_up.lock().unwrap().len() == 3
    });
    assert!(sessions.is_at_rest());
    sessions.stop(Duration::ZERO);
}

/// The first of many things that end a parked turn.
type Ends = fn(&Sessions, &SessionId);

#[test]
fn a_parked_turn_can_be_ended_and_whoever_works_for_it_is_told() {
    let ends: [(&str, Ends); 3] = [
        ("cancelled", |sessions, id| {
            assert!(sessions.cancel(id).unwrap());
        }),
        ("ended", |sessions, id| sessions.end(id).unwrap()),
        ("deleted", |sessions, id| sessions.delete(id).unwrap()),
    ];
    for (how, end) in ends {
        let mut bench = Bench::new(Says::BeforeItRuns, THREE_JOBS);
        let id = bench.parked();
        let call = bench.call(&id, "1");
        assert!(bench.resolve(&id, "3"));
        // A process that has not parked them itself.
        bench.restart(Recovery::TakeUp);
        end(&bench.sessions, &id);
        wait("nobody is told", || {
            bench.jobs.given_up.lock().unwrap().len() == 2
        });
        assert_eq!(*bench.jobs.given_up.lock().unwrap(), ["1", "2"], "{how}");
        let late = bench.sessions.resolve(&id, &call, &on("1"), output("1"));
        match how {
            "deleted" => assert!(matches!(late, Err(EngineError::SessionNotFound(_)))),
            _ => {
                assert!(!late.unwrap(), "{how}");
                check_answers(&bench.log(&id), 3, how);
                assert!(!bench.sessions.show(&id).unwrap().working, "{how}");
            }
        }
    }
}

#[test]
fn a_session_that_nobody_uses_ends_with_what_it_waits_for() {
    let clock = Arc::new(FakeClock::at(std::time::SystemTime::now()));
    let hour = Duration::from_secs(3600);
    let bench = Bench::with(Says::BeforeItRuns, THREE_JOBS, |setup| {
        setup.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        setup.lifetimes = Lifetimes {
            idle: Some(hour),
            ended: None,
        };
    });
    let id = bench.parked();
    clock.advance(hour / 2);
    assert_eq!(bench.sessions.sweep(|| false).unwrap().ended, 0);
    clock.advance(hour / 2);
    assert_eq!(bench.sessions.sweep(|| false).unwrap().ended, 1);
    wait("nobody is told", || {
        bench.jobs.given_up.lock().unwrap().len() == 3
    });
    assert!(!bench.resolve(&id, "1"));
}

#[test]
fn a_message_that_comes_meanwhile_is_seen_after_the_results() {
    let world = World::with(setup(&Jobs::new(Says::BeforeItRuns)));
    world.model.reply(tool_call("job", "1")).then(text("both"));
    let id = world.session();
    let mut first = world.say(&id, "do it");
    world.wait_for(&id, |event| matches!(event, Event::ToolParked { .. }));
    let mut second = world.say(&id, "and this");
    let calls = world.log(&id);
    let call = calls.iter().find_map(|record| record.event.as_reply());
    let call = call.unwrap().tool_calls[0].call_id.clone();
    let counts = world.sessions.resolve(&id, &call, &on("1"), output("1"));
    assert!(counts.unwrap());
    for stream in [&mut first, &mut second] {
        assert_eq!(shown(&read_all(stream)).last(), Some(&"done"));
    }
    let asked = world.model.wait_for_requests(2);
    let roles: Vec<String> = asked[1]
        .messages()
        .iter()
        .filter_map(|message| Some(message["role"].as_str()?.to_owned()))
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "user"]);
    assert!(asked[1].last_message().contains("and this"));
}

#[test]
fn a_question_stands_beside_parked_calls_and_what_follows_it_waits() {
    const CALLS: &[(&str, &str)] = &[("job", "1"), ("deed", "2"), ("job", "3")];
    // The first result comes while the question is open, or after the answer.
    for is_early in [true, false] {
        let mut bench = Bench::new(Says::BeforeItRuns, CALLS);
        let id = bench.parked();
        let parked = ["tool_started", "tool_parked"];
        let asked = [&parked[..], &["approval_required"]].concat();
        assert_eq!(bench.kinds(&id), asked);
        bench.restart(Recovery::TakeUp);
        assert_eq!(bench.kinds(&id), asked, "after a restart");
        let pending = bench.sessions.show(&id).unwrap().pending_approval.unwrap();
        if is_early {
            assert!(bench.resolve(&id, "1"));
            bench.wait_until_nobody_works();
            assert_eq!(bench.kinds(&id).last(), Some(&"tool_result"));
        }
        let call = pending.call_id.as_str();
        let once = Decision::AllowOnce;
        let answer = bench
            .sessions
            .approve(&id, call, &pending.command, once, &Principal::Owner);
        drop(answer.unwrap());
        bench.wait_until_nobody_works();
        assert_eq!(bench.kinds(&id).last(), Some(&"tool_parked"));
        if !is_early {
            assert!(bench.resolve(&id, "1"));
        }
        assert!(!bench.is_over(&id));
        assert!(bench.resolve(&id, "3"));
        bench.wait_for_the_end(&id);
    }
}

#[test]
fn a_thousand_parked_sessions_have_no_thread_and_no_slot() {
    const SESSIONS: usize = 1_000;
    let bench = Bench::with(Says::BeforeItRuns, &[("job", "1")], |setup| {
        setup.max_active = 2;
    });
    let mut ids = Vec::new();
    for _ in 0..SESSIONS {
        let id = bench.sessions.create(&draft("helper")).unwrap().id;
        // As many as may wait for a slot are taken at a time.
        wait("it is too busy", || {
            match bench.sessions.submit(&id, message("do it")) {
                Ok(_) => true,
                Err(EngineError::Busy { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        });
        ids.push(id);
    }
    bench.wait_until_nobody_works();
    let workers: BTreeSet<String> = ids.iter().map(|id| format!("s-{}", id.short())).collect();
    wait("a thread waits", || workers.is_disjoint(&threads()));
    for id in &ids {
        assert!(bench.sessions.show(id).unwrap().working);
    }
    for id in &ids {
        assert!(bench.resolve(id, "1"));
    }
    for id in &ids {
        bench.wait_for_the_end(id);
    }
}

/// The names of this process's threads.
fn threads() -> BTreeSet<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|task| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim_end().to_owned())
    });
    names.collect()
}

/// Brings the results of those jobs that somebody works at, until the turn is over. Half of the append
/// before a run may be all that a cut leaves: then a person is asked, and the call has not run.
fn bring_all(bench: &Bench, id: &SessionId) {
    wait("the turn does not end", || {
        if let Some(asked) = bench.sessions.show(id).unwrap().pending_approval {
            let (call, command) = (asked.call_id.as_str(), asked.command.as_str());
            let answer =
                bench
                    .sessions
                    .approve(id, call, command, Decision::Retry, &Principal::Owner);
            answer.map(drop).unwrap();
        }
        let log = bench.log(id);
        let parked = log.iter().filter_map(|event| match event {
            Event::ToolParked { call_id, on } => Some((call_id, on)),
            _ => None,
        });
        for (call_id, on) in parked {
            if bench.jobs.begun().contains(&name_of(on)) {
                let said = output(&name_of(on));
                bench.sessions.resolve(id, call_id, on, said).unwrap();
            }
        }
        log.iter().any(is_turn_end)
    });
}

#[test]
fn without_power_from_any_operation_on_no_call_runs_twice_and_no_result_is_lost() {
    for says in [Says::BeforeItRuns, Says::Afterwards] {
        let mut at = 1;
        loop {
            let what = format!("{says:?}, without power from operation {at} on");
            let disk = SimDisk::new();
            let kind = FaultKind::Dead;
            let fs = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            let jobs = Jobs::new(says);
            let setup = setup(&jobs);
            let sessions = engine_on(fs.clone(), THREE_JOBS, &setup);
            let key = SourceId::parse("c-1").unwrap();
            let submitted = sessions
                .create(&keyed_draft("helper", &key))
                .and_then(|view| {
                    sessions.submit(&view.id, keyed("do it", "k-1"))?;
                    Ok(view.id)
                });
            if submitted.is_ok() {
                wait("it neither dies nor parks", || !sessions.is_working());
            }
            let is_whole = fs.operations() < at;
            sessions.stop(Duration::ZERO);
            let disk = disk.cut(&mut fastrand::Rng::with_seed(at));
            let bench = Bench {
                sessions: engine_on(disk.clone(), THREE_JOBS, &setup),
                disk,
                jobs,
                calls: THREE_JOBS,
                setup,
            };
            bench.sessions.recover(Recovery::TakeUp, || false).unwrap();
            let id = bench
                .sessions
                .create(&keyed_draft("helper", &key))
                .unwrap()
                .id;
            bench.sessions.submit(&id, keyed("do it", "k-1")).unwrap();
            bring_all(&bench, &id);
            let log = bench.log(&id);
            check_answers(&log, THREE_JOBS.len(), &what);
            assert_eq!(bench.jobs.begun().len(), THREE_JOBS.len(), "{what}");
            if says == Says::BeforeItRuns {
                let runs = bench.jobs.runs.lock().unwrap();
                assert!(runs.values().all(|times| *times == 1), "{what}: {runs:?}");
            }
            if is_whole {
                break;
            }
            at += 1;
        }
        assert!(at > 20, "the turn took {at} operations only");
    }
}
