//! What one round of a turn costs beside its syncs: a model that asks for a tool at once, the tool,
//! and the model again with its result. Both are in this process and take no time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use duragent::base::clock::SystemClock;
use duragent::domain::event::{FinishReason, OnDisconnect, ToolOutput};
use duragent::domain::ids::AgentName;
use duragent::domain::message::{Message, MessageText};
use duragent::domain::principal::Principal;
use duragent::domain::spec::{AgentSpec, ModelChoice, ModelSpec, Provider};
use duragent::engine::{
    Agent, Agents, EngineSettings, Flow, Lifetimes, NewMessage, Parts, SessionDraft, Sessions,
    Subscription, WorkdirRules,
};
use duragent::llm::{Cancel, LlmError, Model, ModelReply, Models, RawToolCall, Request, Sink};
use duragent::policy::{Policy, ProposedCall, RememberError, Verdict};
use duragent::store::file::FileStore;
use duragent::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolSpec, Toolbox};

use crate::support::report::{Report, Target, median};
use crate::support::timed_fs::TimedFs;

const ROUNDS: usize = 200;
const RUNS: usize = 5;

/// A round of the median turn.
struct Round {
    whole_ms: f64,
    syncs: f64,
    syncs_ms: f64,
}

/// Measures turns of many rounds, with a clock at the syncs.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..RUNS {
        rounds.push(turn()?);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.row(
        "a tool's round",
        of(|round| round.whole_ms),
        "ms",
        Target::None,
    );
    report.row(
        "a tool's round: syncs",
        of(|round| round.syncs),
        "",
        Target::None,
    );
    report.row(
        "a tool's round: above its syncs",
        of(|round| round.whole_ms - round.syncs_ms),
        "ms",
        Target::AtMost(2.0),
    );
    Ok(())
}

fn turn() -> anyhow::Result<Round> {
    // On the disk of the build, since a temporary folder may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let fs = TimedFs::default();
    let sessions = start(FileStore::new(
        Arc::new(fs.clone()),
        folder.path().join("state"),
    ))?;
    let id = sessions
        .create(&SessionDraft::new("bench", Principal::Owner))?
        .id;
    let message = NewMessage::new(Principal::Owner, MessageText::parse("work")?);
    let (syncs_before, syncs_took_before) = fs.syncs();
    let began = Instant::now();
    let (_, mut answer) = sessions.submit_and_follow(&id, message)?;
    read_to_the_end(&mut answer)?;
    let took = began.elapsed();
    let (syncs, syncs_took) = fs.syncs();
    let messages = sessions.messages(&id, 1_000, None)?;
    let last = messages.last().context("no answer")?;
    ensure!(last.content == format!("{ROUNDS} rounds"), "{last:?}");
    sessions.stop(Duration::ZERO);
    let ms = |time: Duration| time.as_secs_f64() * 1e3 / ROUNDS as f64;
    Ok(Round {
        whole_ms: ms(took),
        syncs: (syncs - syncs_before) as f64 / ROUNDS as f64,
        syncs_ms: ms(syncs_took - syncs_took_before),
    })
}

fn read_to_the_end(answer: &mut Subscription) -> anyhow::Result<()> {
    let mut items = Vec::new();
    loop {
        match answer.pull(&mut items)? {
            Flow::Over | Flow::Cut(_) => return Ok(()),
            Flow::More => {}
            Flow::Open => answer.wake().recv_timeout(Duration::from_secs(60))?,
        }
    }
}

fn start(store: FileStore) -> anyhow::Result<Sessions> {
    let name = AgentName::parse("bench").context("a name")?;
    let choice = ModelChoice {
        provider: Provider::ECHO,
        name: "bench".to_owned(),
        base_url: None,
        settings: Default::default(),
    };
    let mut spec = AgentSpec::new(name, choice);
    spec.session.on_disconnect = OnDisconnect::Continue;
    spec.session.max_tool_iterations = 1_000;
    let tool = Ready(ToolSpec {
        name: "look".to_owned(),
        kind: ToolKind::Builtin,
        description: "looks".to_owned(),
        parameters: serde_json::json!({"type": "object"}),
        effect: Effect::Write,
    });
    let tools = Toolbox::default().with(Arc::new(tool));
    let agent = Agent::new(Arc::new(spec), tools, Arc::new(Allows));
    Ok(Sessions::start(Parts {
        store: Arc::new(store),
        agents: Arc::new(One(agent)),
        models: Arc::new(Asks),
        clock: Arc::new(SystemClock),
        redactor: Arc::default(),
        settings: EngineSettings {
            max_active: 16,
            reply_bytes: 8 << 20,
            min_free_bytes: 0,
            previous_stop_was_clean: true,
            lifetimes: Lifetimes::default(),
            workdirs: WorkdirRules::default(),
            prices: Default::default(),
            grant_key: Default::default(),
        },
    })?)
}

#[derive(Debug)]
struct One(Agent);

impl Agents for One {
    fn get(&self, _: &str) -> Option<Agent> {
        Some(self.0.clone())
    }
}

#[derive(Debug)]
struct Allows;

impl Policy for Allows {
    fn judge(&self, _: &ProposedCall<'_>) -> Verdict {
        Verdict::Allow
    }

    fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
        Ok(())
    }

    fn note_start(&self, _: &ProposedCall<'_>) {}

    fn note_question(&self, _: &ProposedCall<'_>) {}
}

/// A tool that has its answer ready.
#[derive(Debug)]
struct Ready(ToolSpec);

impl Tool for Ready {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn run(&self, _: &Run<'_>) -> RunResult {
        RunResult::Done(ToolOutput {
            success: true,
            content: "nothing new".to_owned(),
        })
    }
}

/// A model that asks for the tool so many times, then says how often it did.
#[derive(Debug)]
struct Asks;

impl Models for Asks {
    fn model(&self, _: &ModelSpec) -> Box<dyn Model> {
        Box::new(Asks)
    }
}

impl Model for Asks {
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError> {
        let results = request.messages.iter();
        let rounds = results.filter(|message| matches!(message, Message::Tool { .. }));
        let rounds = rounds.count();
        let is_over = rounds >= ROUNDS;
        if is_over {
            sink.text(&format!("{rounds} rounds"));
            sink.flush()?;
        }
        let call = RawToolCall {
            id: String::new(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        };
        Ok(ModelReply {
            model: "bench/bench".to_owned(),
            tool_calls: (!is_over).then_some(call).into_iter().collect(),
            usage: None,
            finish_reason: if is_over {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            },
            provider_data: None,
            is_cut: false,
            cut_calls: Vec::new(),
            from_text: false,
        })
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        Arc::new(Nothing)
    }
}

#[derive(Debug)]
struct Nothing;

impl Cancel for Nothing {
    fn cancel(&self) {}
}
