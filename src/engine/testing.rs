//! An engine in memory for the unit tests of its parts: a disk that forgets what was not synced, a
//! model that says what a test has it say, a clock that stands still, and sessions whose worker is
//! the test itself, so that it can stop between any two steps.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::base::clock::{Clock, FakeClock};
use crate::base::fs::{Fs, Open, SimDisk, create_dirs};
use crate::base::lock::lock;
use crate::domain::event::{Event, OnDisconnect, ToolOutput};
use crate::domain::ids::{AgentName, Seq, SessionId};
use crate::domain::principal::Principal;
use crate::domain::spec::{AgentSpec, ModelChoice, ModelSpec, Provider};
use crate::engine::agent::{Agent, Agents};
use crate::engine::open::ageing::Lifetimes;
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::engine::Engine;
use crate::engine::sessions::parts::{EngineSettings, Parts};
use crate::engine::sessions::requests::SessionDraft;
use crate::engine::turn::worker::Worker;
use crate::engine::watch::live::{RunningWorker, Work};
use crate::engine::workdir::WorkdirRules;
use crate::llm::{Cancel, LlmError, Model, ModelReply, Models, RawToolCall, Request, Sink};
use crate::policy::{Policy, ProposedCall, RememberError, Verdict};
use crate::store::file::FileStore;
use crate::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolSpec, Toolbox};

/// What an engine is made of; a test changes what it is about.
pub(super) struct BenchPlan {
    /// On what the sessions lie; the disk of the [`Bench`] unless a test wraps it.
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) agents: Vec<Agent>,
    pub(super) lifetimes: Lifetimes,
}

/// An engine, and what is around it.
pub(crate) struct Bench {
    pub(crate) sessions: Sessions,
    pub(super) disk: SimDisk,
    pub(crate) model: Arc<Script>,
}

impl Bench {
    /// An engine whose one agent is `ada`.
    pub(crate) fn new() -> Bench {
        Bench::with(|_| {})
    }

    /// The same, where a person is asked before `date` runs.
    pub(crate) fn asking() -> Bench {
        Bench::with(|plan| {
            let ada = &mut plan.agents[0];
            ada.policy = Arc::new(AskAlways);
            ada.tools = Does::tool(Effect::Write, |_| ToolOutput {
                success: true,
                content: "today".to_owned(),
            });
        })
    }

    /// The same, changed by `adapt`.
    pub(super) fn with(adapt: impl FnOnce(&mut BenchPlan)) -> Bench {
        let disk = SimDisk::new();
        let mut plan = BenchPlan {
            fs: Arc::new(disk.clone()),
            clock: Arc::new(FakeClock::at(noon())),
            agents: vec![agent("ada")],
            lifetimes: Lifetimes::default(),
        };
        adapt(&mut plan);
        let model = Arc::new(Script::default());
        let agents = plan.agents.into_iter();
        let named = agents.map(|agent| (agent.spec.name.as_str().to_owned(), agent));
        let sessions = Sessions::start(Parts {
            store: Arc::new(FileStore::new(plan.fs, PathBuf::from("/workspace"))),
            agents: Arc::new(Cast(named.collect())),
            models: Arc::clone(&model) as Arc<_>,
            clock: plan.clock,
            redactor: Arc::default(),
            settings: EngineSettings {
                max_active: 4,
                reply_bytes: 8 << 20,
                min_free_bytes: 0,
                previous_stop_was_clean: true,
                lifetimes: plan.lifetimes,
                workdirs: WorkdirRules::default(),
                prices: Default::default(),
                grant_key: crate::engine::grants::GrantKey::new("for tests"),
            },
        });
        Bench {
            sessions: sessions.unwrap(),
            disk,
            model,
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.sessions.engine
    }

    /// A new session of `ada` that goes on without clients, and in whose log `events` come after
    /// the first. Nobody works for it.
    pub(super) fn session(&self, events: impl IntoIterator<Item = Event>) -> Arc<Session> {
        let id = self.new_session();
        let session = self.engine().open.get(&id).unwrap();
        for event in events {
            session.decide(|_| Ok((vec![event], ()))).unwrap();
        }
        session
    }

    /// A new session of `ada`.
    pub(crate) fn new_session(&self) -> SessionId {
        let draft = SessionDraft::new("ada", Principal::Owner);
        self.sessions.create(&draft).unwrap().id
    }

    /// Has nothing more be written in a session, as after a write that failed.
    pub(crate) fn make_read_only(&self, id: &SessionId) {
        let session = self.engine().open.get(id).unwrap();
        let mut live = session.live();
        live.is_read_only = true;
        live.break_off("in a test");
    }

    /// Puts events into the log of a session for which nobody works.
    pub(crate) fn append(&self, id: &SessionId, events: Vec<Event>) {
        let session = self.engine().open.get(id).unwrap();
        session.decide(|_| Ok((events, ()))).unwrap();
    }

    /// A session of `ada` as Duragent 0.5 left it: a message without an answer.
    pub(super) fn session_of_0_5(&self) -> SessionId {
        let id = SessionId::mint(1, 5);
        let folder = PathBuf::from("/workspace/sessions").join(id.as_str());
        create_dirs(&self.disk, &folder).unwrap();
        let log = folder.join("events.jsonl");
        let mut log = self.disk.open(&log, Open::CreateNew).unwrap();
        let lines = [
            r#"{"seq":0,"timestamp":"2024-10-04T12:00:00Z","type":"session_start","agent":"ada"}"#,
            r#"{"seq":1,"timestamp":"2024-10-04T12:00:01Z","type":"user_message","content":"hi"}"#,
        ];
        log.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        id
    }

    /// A worker for a session, on no thread of its own.
    pub(super) fn worker<'a>(&'a self, session: &'a Arc<Session>) -> Worker<'a> {
        const GENERATION: u64 = 1_000;
        session.live().work = Work::RunningWorker(RunningWorker::new(GENERATION));
        Worker::new(&self.engine().worker_parts, session, GENERATION)
    }

    /// The events of a session after its first.
    pub(super) fn events(&self, id: &SessionId) -> Vec<Event> {
        let records = self.sessions.events(id, Seq(1), 1_000).unwrap();
        records.into_iter().map(|record| record.event).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

/// Noon of some day: no test comes near the end of a day or an hour by itself.
pub(crate) fn noon() -> SystemTime {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    SystemTime::UNIX_EPOCH + 20_000 * DAY + DAY / 2
}

/// An agent without tools, that may do everything.
pub(super) fn agent(name: &str) -> Agent {
    let model = ModelChoice {
        provider: Provider::ECHO,
        name: "script".to_owned(),
        base_url: None,
        settings: Default::default(),
    };
    let mut spec = AgentSpec::new(AgentName::parse(name).unwrap(), model);
    spec.session.on_disconnect = OnDisconnect::Continue;
    // Most stories ask for the same call again and again.
    spec.session.loop_guard = false;
    Agent::new(Arc::new(spec), Toolbox::default(), Arc::new(AllowAll))
}

#[derive(Debug)]
struct Cast(HashMap<String, Agent>);

impl Agents for Cast {
    fn get(&self, name: &str) -> Option<Agent> {
        self.0.get(name).cloned()
    }
}

#[derive(Debug)]
struct AllowAll;

impl Policy for AllowAll {
    fn judge(&self, _: &ProposedCall<'_>) -> Verdict {
        Verdict::Allow
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_question(&self, _: &ProposedCall<'_>) {}

    fn note_start(&self, _: &ProposedCall<'_>) {}
}

#[derive(Debug)]
struct AskAlways;

impl Policy for AskAlways {
    fn judge(&self, _: &ProposedCall<'_>) -> Verdict {
        Verdict::Ask {
            command: "date".to_owned(),
            commands: vec!["date".to_owned()],
            is_exact: false,
            session_rules: Vec::new(),
        }
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_question(&self, _: &ProposedCall<'_>) {}

    fn note_start(&self, _: &ProposedCall<'_>) {}
}

/// Arguments with which the tool of a test may run once only, whatever its effect is otherwise.
pub(super) const WRITES: &str = "{\"writes\": true}";

/// A tool `date` that does what a test says.
pub(super) struct Does {
    spec: ToolSpec,
    deed: Box<dyn Fn(&Run<'_>) -> RunResult + Send + Sync>,
}

impl Does {
    /// One of that effect.
    pub(super) fn tool<R: Into<RunResult>>(
        effect: Effect,
        deed: impl Fn(&Run<'_>) -> R + Send + Sync + 'static,
    ) -> Toolbox {
        let spec = ToolSpec {
            name: "date".to_owned(),
            kind: ToolKind::Builtin,
            description: "for tests".to_owned(),
            parameters: serde_json::json!({"type": "object"}),
            effect,
        };
        Toolbox::default().with(Arc::new(Does {
            spec,
            deed: Box::new(move |run| deed(run).into()),
        }))
    }
}

impl Tool for Does {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self, arguments: &str) -> Effect {
        match arguments {
            WRITES => Effect::Write,
            _ => self.spec.effect,
        }
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        (self.deed)(run)
    }
}

/// What the model says to one call.
pub(super) type Line =
    Box<dyn FnOnce(&Request, &mut dyn Sink) -> Result<ModelReply, LlmError> + Send + Sync>;

/// What the model says, call by call; `ok` when nothing is left. Cloning it shares it.
#[derive(Clone, Default)]
pub(crate) struct Script {
    lines: Arc<Mutex<VecDeque<Line>>>,
}

impl Script {
    /// Adds what it says next.
    pub(crate) fn then(
        &self,
        line: impl FnOnce(&Request, &mut dyn Sink) -> Result<ModelReply, LlmError>
        + Send
        + Sync
        + 'static,
    ) {
        lock(&self.lines).push_back(Box::new(line));
    }
}

/// Says a text, which is a whole reply.
pub(crate) fn says(sink: &mut dyn Sink, text: &str) -> Result<ModelReply, LlmError> {
    sink.text(text);
    sink.flush()?;
    Ok(reply(&[]))
}

/// A reply that asks the tool `date` under these ids.
pub(crate) fn reply(ids: &[&str]) -> ModelReply {
    let calls = ids.iter().map(|id| RawToolCall {
        id: (*id).to_owned(),
        name: "date".to_owned(),
        arguments: "{}".to_owned(),
    });
    ModelReply {
        model: "echo/script".to_owned(),
        tool_calls: calls.collect(),
        usage: None,
        finish_reason: crate::domain::event::FinishReason::Stop,
        provider_data: None,
        is_cut: false,
        cut_calls: Vec::new(),
        from_text: false,
    }
}

impl Models for Script {
    fn model(&self, _: &ModelSpec) -> Box<dyn Model> {
        Box::new(self.clone())
    }
}

impl Model for Script {
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError> {
        let next = lock(&self.lines).pop_front();
        match next {
            Some(line) => line(request, sink),
            None => says(sink, "ok"),
        }
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        Arc::new(Nothing)
    }
}

/// A line of a test ends by itself.
struct Nothing;

impl Cancel for Nothing {
    fn cancel(&self) {}
}
