//! The engine in this process, with an agent of a test's own: its tools, its policy, its model.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duragent::base::clock::{Clock, SystemClock};
use duragent::base::fs::RealFs;
use duragent::domain::event::{OnDisconnect, ToolOutput};
use duragent::domain::ids::AgentName;
use duragent::domain::prices::Prices;
use duragent::domain::redact::Redactor;
use duragent::domain::spec::{AgentSpec, LimitsSpec, ModelChoice, Provider};
use duragent::engine::{Agent, Agents, EngineSettings, Lifetimes, Parts, Sessions, WorkdirRules};
use duragent::llm::Models;
use duragent::llm::providers::{ProviderSettings, Providers};
use duragent::policy::{Policy, ProposedCall, RememberError, Verdict};
use duragent::store::SessionStore;
use duragent::store::file::FileStore;
use duragent::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolSpec, Toolbox};

use super::fake_model::FakeModel;

/// What a test decides of its one agent, `helper`, and of the engine.
#[derive(Clone)]
pub struct Setup {
    pub on_disconnect: OnDisconnect,
    pub tools: Toolbox,
    pub policy: Arc<dyn Policy>,
    pub max_active: usize,
    pub stop_was_clean: bool,
    pub lifetimes: Lifetimes,
    pub ttl_hours: Option<u64>,
    pub clock: Arc<dyn Clock>,
    pub redactor: Arc<Redactor>,
    pub limits: LimitsSpec,
    pub prices: Prices,
    /// Changes what its file would say, last of all.
    pub adapt: fn(&mut AgentSpec),
    /// What was loaded since.
    pub reloaded: Arc<Reloads>,
}

/// What the agent has become since the start.
#[derive(Debug, Clone, Copy, Default)]
pub enum Reloaded {
    #[default]
    AsItWas,
    Gone,
    /// It waits so long for an answer.
    Waits(Option<Duration>),
}

/// The agent as it is by now, and how often the engine has asked for it.
#[derive(Debug, Default)]
pub struct Reloads {
    now: Mutex<Reloaded>,
    asked: AtomicUsize,
}

impl Reloads {
    pub fn set(&self, reloaded: Reloaded) {
        *self.now.lock().unwrap() = reloaded;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn apply(&self, mut agent: Agent) -> Option<Agent> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match *self.now.lock().unwrap() {
            Reloaded::AsItWas => {}
            Reloaded::Gone => return None,
            Reloaded::Waits(timeout) => {
                Arc::make_mut(&mut agent.spec).session.approval_timeout = timeout;
            }
        }
        Some(agent)
    }
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            on_disconnect: OnDisconnect::Pause,
            tools: Toolbox::default(),
            policy: Arc::new(AllowAll),
            max_active: 16,
            stop_was_clean: true,
            lifetimes: Lifetimes::default(),
            ttl_hours: None,
            clock: Arc::new(SystemClock),
            redactor: Arc::default(),
            limits: LimitsSpec::default(),
            prices: Prices::default(),
            adapt: |_| {},
            reloaded: Arc::default(),
        }
    }
}

/// An engine on the files of a folder.
pub fn start(folder: &Path, model: &FakeModel, setup: &Setup) -> Sessions {
    let store = FileStore::new(Arc::new(RealFs), folder.to_owned());
    start_with(store, providers(), &model.url(), setup)
}

/// An engine on any store, with any models.
pub fn start_with(
    store: impl SessionStore + 'static,
    models: Arc<dyn Models>,
    model_url: &str,
    setup: &Setup,
) -> Sessions {
    let mut spec = AgentSpec::new(
        AgentName::parse("helper").unwrap(),
        ModelChoice {
            provider: Provider::OPENAI,
            name: "gpt-test".to_owned(),
            base_url: Some(model_url.to_owned()),
            settings: Default::default(),
        },
    );
    spec.session.on_disconnect = setup.on_disconnect;
    spec.session.ttl_hours = setup.ttl_hours;
    spec.limits = setup.limits;
    // Many a script asks for the same call again and again.
    spec.session.loop_guard = false;
    (setup.adapt)(&mut spec);
    let agent = Agent::new(
        Arc::new(spec),
        setup.tools.clone(),
        Arc::clone(&setup.policy),
    );
    Sessions::start(Parts {
        store: Arc::new(store),
        agents: Arc::new(OneAgent(agent, Arc::clone(&setup.reloaded))),
        models,
        clock: Arc::clone(&setup.clock),
        redactor: Arc::clone(&setup.redactor),
        settings: EngineSettings {
            max_active: setup.max_active,
            reply_bytes: 8 << 20,
            min_free_bytes: 0,
            previous_stop_was_clean: setup.stop_was_clean,
            lifetimes: setup.lifetimes,
            workdirs: WorkdirRules::default(),
            prices: setup.prices.clone(),
            grant_key: duragent::engine::GrantKey::new("for tests"),
        },
    })
    .unwrap()
}

/// The real providers, without keys, quick to try again.
pub fn providers() -> Arc<dyn Models> {
    Arc::new(Providers::new(ProviderSettings {
        first_retry_delay: Duration::from_millis(10),
        keys: HashMap::new(),
        ..ProviderSettings::default()
    }))
}

#[derive(Debug)]
struct OneAgent(Agent, Arc<Reloads>);

impl Agents for OneAgent {
    fn get(&self, name: &str) -> Option<Agent> {
        (name == "helper").then(|| self.1.apply(self.0.clone()))?
    }
}

/// Asks nobody.
#[derive(Debug)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn judge(&self, _: &ProposedCall<'_>) -> Verdict {
        Verdict::Allow
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_start(&self, _: &ProposedCall<'_>) {}

    fn note_question(&self, _: &ProposedCall<'_>) {}
}

/// A tool that answers what `then` makes of its arguments.
#[derive(Debug)]
pub struct Says {
    spec: ToolSpec,
    then: fn(&str) -> ToolOutput,
}

impl Says {
    /// One that changes nothing.
    pub fn reads(name: &str, then: fn(&str) -> ToolOutput) -> Arc<Says> {
        Says::new(name, then, Effect::Read)
    }

    fn new(name: &str, then: fn(&str) -> ToolOutput, effect: Effect) -> Arc<Says> {
        Arc::new(Says {
            spec: ToolSpec {
                name: name.to_owned(),
                kind: ToolKind::Builtin,
                description: "for tests".to_owned(),
                parameters: serde_json::json!({"type": "object"}),
                effect,
            },
            then,
        })
    }
}

/// A tool that answers what `then` makes of its arguments, and that may run once only.
pub fn tool(name: &str, then: fn(&str) -> ToolOutput) -> Toolbox {
    Toolbox::default().with(Says::new(name, then, Effect::Write))
}

impl Tool for Says {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        (self.then)(run.arguments).into()
    }
}

/// Says what it was given.
pub fn repeats(arguments: &str) -> ToolOutput {
    ToolOutput {
        success: true,
        content: format!("got {arguments}"),
    }
}

/// A policy without rules: every call is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskAlways;

impl Policy for AskAlways {
    fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict {
        Verdict::Ask {
            command: proposed.command(),
            commands: proposed.commands(),
            is_exact: false,
            session_rules: Vec::new(),
        }
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_start(&self, _: &ProposedCall<'_>) {}

    fn note_question(&self, _: &ProposedCall<'_>) {}
}
