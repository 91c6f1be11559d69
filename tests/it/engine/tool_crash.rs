//! A turn with tools on a disk that fails, or loses its power, at any of its operations: what may
//! run once runs once, what may run twice is run again, and the turn comes to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, SimDisk};
use duragent::domain::event::ToolCall;
use duragent::store::{ReadLimit, SessionStore as _};
use duragent::tools::{Run, RunResult, ToolKind};
use rustix::io::Errno;

use super::*;
use crate::support::own_model::CallsOnce;

/// Counts what it did by its arguments, and keeps the disk as it is while it runs.
#[derive(Debug)]
struct Deeds {
    spec: ToolSpec,
    done: Mutex<BTreeMap<String, usize>>,
    /// Power cuts while it ran.
    disk: SimDisk,
    cuts: Mutex<Vec<SimDisk>>,
}

impl Tool for Deeds {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        self.keep_a_cut();
        *self
            .done
            .lock()
            .unwrap()
            .entry(run.arguments.to_owned())
            .or_default() += 1;
        self.keep_a_cut();
        RunResult::Done(ToolOutput {
            success: true,
            content: format!("did {}", run.arguments),
        })
    }
}

impl Deeds {
    fn keep_a_cut(&self) {
        let mut cuts = self.cuts.lock().unwrap();
        let mut rng = fastrand::Rng::with_seed(cuts.len() as u64);
        cuts.push(self.disk.cut(&mut rng));
    }

    fn count(&self) -> usize {
        self.done.lock().unwrap().values().sum()
    }

    fn most(&self) -> usize {
        self.done
            .lock()
            .unwrap()
            .values()
            .copied()
            .max()
            .unwrap_or(0)
    }
}

/// The calls of the one turn: neighbours, so that those that read run beside one another.
const CALLS: [(&str, &str); 3] = [("deed", "1"), ("deed", "2"), ("deed", "3")];

fn deeds(effect: Effect, disk: &SimDisk) -> Arc<Deeds> {
    Arc::new(Deeds {
        spec: ToolSpec {
            name: "deed".to_owned(),
            kind: ToolKind::Builtin,
            description: "for tests".to_owned(),
            parameters: serde_json::json!({"type": "object"}),
            effect,
        },
        done: Mutex::default(),
        disk: disk.clone(),
        cuts: Mutex::default(),
    })
}

fn engine_on(fs: impl Fs + 'static, tool: &Arc<Deeds>) -> Sessions {
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        stop_was_clean: false,
        tools: Toolbox::default().with(Arc::clone(tool) as _),
        ..Setup::default()
    };
    let store = FileStore::new(Arc::new(fs), PathBuf::from("/workspace"));
    start_with(store, CallsOnce::models(&CALLS), "", &setup)
}

/// Somebody who wants one message answered, whatever happens.
struct User {
    sessions: Sessions,
    disk: SimDisk,
    tool: Arc<Deeds>,
    answer: Decision,
    /// How often a question was answered.
    asked: usize,
}

impl User {
    fn restart(&mut self) {
        self.sessions.stop(Duration::ZERO);
        self.sessions = engine_on(self.disk.clone(), &self.tool);
    }

    fn insist<T>(&mut self, ask: impl Fn(&Sessions) -> Result<T, EngineError>) -> T {
        for _ in 0..4 {
            if let Ok(answer) = ask(&self.sessions) {
                return answer;
            }
            if self.sessions.read_only() > 0 {
                self.restart();
            }
        }
        panic!("one failure leads to more");
    }

    /// Says it, and sees to it that its turn ends; its log then.
    fn gets_an_answer(&mut self) -> Vec<Event> {
        let key = SourceId::parse("c-1").unwrap();
        let id = self
            .insist(|sessions| sessions.create(&keyed_draft("helper", &key)))
            .id;
        self.insist(|sessions| sessions.submit(&id, keyed("do it", "k-1")));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.sessions.read_only() > 0 {
                self.restart();
            }
            let log = self.insist(|sessions| sessions.events(&id, Seq::ZERO, 1_000));
            if log.iter().any(|record| is_turn_end(&record.event)) {
                return log.into_iter().map(|record| record.event).collect();
            }
            assert!(Instant::now() < deadline, "{log:#?}");
            self.bring_on(&id);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Answers what is asked; comes by otherwise, which takes up what was given up.
    fn bring_on(&mut self, id: &SessionId) {
        let pending = self
            .sessions
            .show(id)
            .ok()
            .and_then(|view| view.pending_approval);
        if let Some(asked) = pending {
            let call = asked.call_id.as_str();
            let answer = self.answer;
            let done = self
                .sessions
                .approve(id, call, &asked.command, answer, &Principal::Owner);
            self.asked += usize::from(done.is_ok());
        } else {
            let begin = Begin::Now { history: 0 };
            drop(self.sessions.subscribe(id, begin, Presence::default()));
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

/// Each call has one answer, and the turn one end.
fn check_log(log: &[Event], what: &str) {
    let calls: Vec<&ToolCall> = log
        .iter()
        .filter_map(Event::as_reply)
        .flat_map(|reply| &reply.tool_calls)
        .collect();
    assert_eq!(calls.len(), CALLS.len(), "{what}: {log:#?}");
    for call in calls {
        let answers = log.iter().filter(|event| match event {
            Event::ToolResult { call_id, .. } => *call_id == call.call_id,
            Event::ToolsSkipped { call_ids, .. } => call_ids.contains(&call.call_id),
            _ => false,
        });
        assert_eq!(answers.count(), 1, "{what}: {log:#?}");
    }
    let ends = log.iter().filter(|event| is_turn_end(event));
    assert_eq!(ends.count(), 1, "{what}: {log:#?}");
}

fn check_deeds(user: &User, what: &str) {
    let most = user.tool.most();
    match (user.tool.spec.effect, user.answer) {
        (Effect::Write, Decision::Retry) => assert!(most <= 1 + user.asked, "{what}: {most}"),
        (Effect::Write, _) => assert!(most <= 1, "{what}: {most} times"),
        (Effect::Read | Effect::Idempotent, _) => {
            assert_eq!(user.asked, 0, "{what}");
            assert_eq!(user.tool.done.lock().unwrap().len(), CALLS.len(), "{what}");
        }
    }
    if user.asked == 0 {
        assert!(
            user.tool.count() >= CALLS.len(),
            "{what}: something never ran"
        );
    }
}

#[test]
fn with_a_failure_at_any_operation_nothing_runs_once_too_often() {
    for (effect, kind) in [
        (Effect::Write, FaultKind::Error(Errno::IO)),
        (Effect::Write, FaultKind::Error(Errno::NOSPC)),
        (
            Effect::Read,
            FaultKind::ShortWrite {
                bytes: 100,
                errno: Errno::IO,
            },
        ),
    ] {
        let mut at = 1;
        loop {
            let fault = Fault { at, kind };
            let what = format!("{effect:?}, {fault:?}");
            let disk = SimDisk::new();
            let tool = deeds(effect, &disk);
            let fs = FaultFs::new(Arc::new(disk.clone()), fault);
            let mut user = User {
                sessions: engine_on(fs.clone(), &tool),
                disk,
                tool,
                answer: Decision::Skip,
                asked: 0,
            };
            let log = user.gets_an_answer();
            check_log(&log, &what);
            check_deeds(&user, &what);
            drop(user);
            if fs.operations() < at {
                break;
            }
            at += 1;
        }
        assert!(at > 30, "the turn took {at} operations only");
    }
}

#[test]
fn without_power_from_any_operation_on_nothing_runs_once_too_often() {
    for (effect, answer) in [
        (Effect::Write, Decision::Skip),
        (Effect::Write, Decision::Retry),
        (Effect::Read, Decision::Skip),
        (Effect::Idempotent, Decision::Skip),
    ] {
        let mut asked = 0;
        let mut at = 1;
        loop {
            let kind = FaultKind::Dead;
            let what = format!("{effect:?}, without power from operation {at} on");
            let disk = SimDisk::new();
            let tool = deeds(effect, &disk);
            let fs = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            let is_whole = runs_until_dead(engine_on(fs.clone(), &tool), &fs, &disk, at);
            let disk = disk.cut(&mut fastrand::Rng::with_seed(at));
            let mut user = User {
                sessions: engine_on(disk.clone(), &tool),
                disk,
                tool,
                answer,
                asked: 0,
            };
            user.sessions.recover(Recovery::TakeUp, || false).unwrap();
            let log = user.gets_an_answer();
            check_log(&log, &what);
            check_deeds(&user, &what);
            asked += user.asked;
            if is_whole {
                break;
            }
            at += 1;
        }
        assert!(at > 30, "the turn took {at} operations only");
        // Between each start of a tool and its result there is a moment of doubt.
        assert!(
            asked >= CALLS.len() || effect != Effect::Write,
            "{asked} questions"
        );
    }
}

/// Lets the turn go on until the disk does nothing more; whether it came to its end. It looks at the
/// `disk` itself: its own reads would be operations too, and each run would die at another step.
fn runs_until_dead(sessions: Sessions, fs: &FaultFs, disk: &SimDisk, at: u64) -> bool {
    let store = FileStore::new(Arc::new(disk.clone()), PathBuf::from("/workspace"));
    let all = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    let key = SourceId::parse("c-1").unwrap();
    let is_dead = || fs.operations() >= at;
    let deadline = Instant::now() + PATIENCE;
    let accepted = sessions
        .create(&keyed_draft("helper", &key))
        .and_then(|view| {
            sessions.submit(&view.id, keyed("do it", "k-1"))?;
            Ok(view.id)
        });
    let mut is_whole = false;
    if let Ok(id) = accepted {
        loop {
            let is_idle = sessions.show(&id).map_or(true, |view| !view.working);
            if is_idle && is_dead() {
                break;
            }
            let log = store.records(&id, Seq(1), all).unwrap_or_default();
            is_whole = log.iter().any(|record| is_turn_end(&record.event));
            if is_whole && !is_dead() {
                break;
            }
            assert!(Instant::now() < deadline, "neither dead nor done");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sessions.stop(Duration::ZERO);
    is_whole && !is_dead()
}

#[test]
fn after_a_power_cut_while_tools_run_each_is_run_again_or_asked_about() {
    for effect in [Effect::Read, Effect::Idempotent, Effect::Write] {
        let disk = SimDisk::new();
        let tool = deeds(effect, &disk);
        let mut user = User {
            sessions: engine_on(disk.clone(), &tool),
            disk,
            tool: Arc::clone(&tool),
            answer: Decision::Skip,
            asked: 0,
        };
        check_log(&user.gets_an_answer(), "without a cut");
        assert_eq!(tool.count(), CALLS.len());
        // Two for each run: before the deed, and after it.
        let cuts = std::mem::take(&mut *tool.cuts.lock().unwrap());
        assert_eq!(cuts.len(), 2 * CALLS.len());
        for (at, disk) in cuts.into_iter().enumerate() {
            let again = deeds(effect, &disk);
            let mut user = User {
                sessions: engine_on(disk.clone(), &again),
                disk,
                tool: Arc::clone(&again),
                answer: Decision::Skip,
                asked: 0,
            };
            user.sessions.recover(Recovery::TakeUp, || false).unwrap();
            let log = user.gets_an_answer();
            let what = format!("{effect:?}, cut {at}");
            check_log(&log, &what);
            // The calls before it have their results; of those that read all had begun.
            let before = match effect {
                Effect::Read => 0,
                Effect::Idempotent | Effect::Write => at / 2,
            };
            let (asked, runs) = match effect {
                Effect::Write => (1, CALLS.len() - before - 1),
                Effect::Read | Effect::Idempotent => (0, CALLS.len() - before),
            };
            assert_eq!(user.asked, asked, "{what}");
            match effect {
                // A result that was written before another's cut may have survived it.
                Effect::Read => assert!((1..=runs).contains(&again.count()), "{what}"),
                Effect::Idempotent | Effect::Write => assert_eq!(again.count(), runs, "{what}"),
            }
        }
    }
}
