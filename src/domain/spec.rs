//! What an agent is, once its files were read and checked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::access::AccessSpec;
use crate::domain::event::OnDisconnect;
use crate::domain::hooks::Hooks;
use crate::domain::ids::AgentName;
use crate::domain::models;
use crate::domain::prices::Cost;
use crate::domain::secret::Secret;
use crate::domain::zone::Zone;

pub use crate::domain::providers::Provider;
use crate::domain::quirks::Quirks;

/// The `apiVersion` of an agent file.
pub const API_VERSION: &str = "duragent/v1alpha1";
/// The `kind` of an agent file.
pub const KIND: &str = "Agent";

/// A window of at most so many tokens is small.
const LEAN_WINDOW_TOKENS: u64 = 16 << 10;

/// An agent, ready to be run: its prompts are texts, not paths.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSpec {
    /// `metadata.name`, also the folder's.
    pub name: AgentName,
    /// `metadata.description`.
    pub description: Option<String>,
    /// `metadata.version`.
    pub version: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.model`.
    pub model: ModelSpec,
    /// Who it is, what it does and its rules: `spec.soul`, `.system_prompt`, `.instructions`.
    pub prompts: Prompts,
    /// The workspace's directives, then its own, each sorted by name.
    pub directives: Vec<Directive>,
    /// `spec.session`.
    pub session: SessionSpec,
    /// The agent's folder, as an absolute path: `{{agent.home}}`.
    pub home: PathBuf,
    /// `spec.memory`.
    pub memory: MemorySpec,
    /// `spec.limits`.
    pub limits: LimitsSpec,
    /// `spec.tools`, in the order of the file.
    pub tools: Vec<ToolRef>,
    /// `spec.skills_dir`, as an absolute path.
    pub skills_dir: PathBuf,
    /// The skills in it and those for all agents, sorted by name.
    pub skills: Vec<Skill>,
    /// `spec.access`.
    pub access: AccessSpec,
    /// `spec.hooks`.
    pub hooks: Hooks,
    /// `spec.tools_cwd`.
    pub tools_cwd: ToolsCwd,
    /// `spec.timezone`: what dates and times it is told are of. UTC, unless it is set.
    pub zone: Zone,
}

impl AgentSpec {
    /// An agent that only has what it must have; the rest is as when a file leaves it out.
    pub fn new(name: AgentName, model: ModelChoice) -> AgentSpec {
        AgentSpec {
            name,
            description: None,
            version: None,
            labels: BTreeMap::new(),
            model: ModelSpec {
                main: model,
                fallbacks: Vec::new(),
            },
            prompts: Prompts::default(),
            directives: Vec::new(),
            session: SessionSpec::default(),
            home: PathBuf::new(),
            memory: MemorySpec::default(),
            limits: LimitsSpec::default(),
            tools: Vec::new(),
            skills_dir: PathBuf::from("skills"),
            skills: Vec::new(),
            access: AccessSpec::default(),
            hooks: Hooks::default(),
            tools_cwd: ToolsCwd::default(),
            zone: Zone::default(),
        }
    }

    /// The prompt tells little of what the agent could do: because its file says so, or because the window of its
    /// model is small. What is known of the window without asking anybody counts, so that the prompt stays the
    /// same.
    pub fn has_lean_prompt(&self) -> bool {
        let settings = &self.model.main.settings;
        let window = || {
            let told = settings.max_input_tokens;
            told.or_else(|| models::known_context_tokens(&self.model.main.name))
        };
        match settings.prompt {
            Some(size) => size == PromptSize::Lean,
            None => window().is_some_and(|tokens| tokens <= LEAN_WINDOW_TOKENS),
        }
    }

    /// The folder in which its programs start.
    pub fn tools_folder(&self) -> PathBuf {
        match self.tools_cwd {
            ToolsCwd::Work => self.home.join(WORK_FOLDER),
            ToolsCwd::Agent => self.home.clone(),
        }
    }

    /// The agent has the builtin of that name because its file names it, or because it has
    /// something that the tool is for (skills, memory). A tool of another kind takes the name for
    /// itself.
    pub fn has_builtin(&self, name: &str) -> bool {
        match self.tools.iter().find(|tool| tool.name() == name) {
            Some(ToolRef::Builtin { .. }) => true,
            Some(ToolRef::Cli { .. } | ToolRef::Mcp { .. }) => false,
            None if name == "memory" => self.memory.enabled,
            None => name == "skill" && !self.skills.is_empty(),
        }
    }

    /// The agent as clients of the API see it: prompts and settings, but no addresses, commands,
    /// environment or lists of people, where secrets could hide.
    pub fn public_json(&self) -> Value {
        without_nulls(json!({
            "api_version": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": self.name,
                "description": self.description,
                "version": self.version,
                "labels": self.labels,
            },
            "spec": {
                "model": self.model.public_json(),
                "soul": self.prompts.soul,
                "system_prompt": self.prompts.system_prompt,
                "instructions": self.prompts.instructions,
                "directives": self.directives.iter().map(Directive::public_json).collect::<Vec<_>>(),
                "session": self.session.public_json(),
                "memory": self.memory.enabled.then(|| json!({
                    "backend": "filesystem",
                    "scope": self.memory.scope,
                })),
                "limits": self.limits,
                "tools": self.tools.iter().map(ToolRef::public_json).collect::<Vec<_>>(),
                "tools_cwd": (self.tools_cwd != ToolsCwd::default()).then_some(self.tools_cwd),
                "timezone": (self.zone != Zone::default()).then(|| self.zone.name()),
                "hooks": self.hooks.public_json(),
                "skills": self.skills.iter().map(Skill::public_json).collect::<Vec<_>>(),
                "access": {
                    "dm": { "policy": self.access.dm.policy },
                    "groups": { "policy": self.access.groups.policy },
                },
            },
        }))
    }
}

/// Leaves out what a file left out.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
        for value in map.values_mut() {
            *value = without_nulls(value.take());
        }
    }
    value
}

/// Which model an agent uses, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The first choice.
    pub main: ModelChoice,
    /// Tried in order when the one before them fails for good.
    pub fallbacks: Vec<ModelChoice>,
}

impl ModelSpec {
    fn public_json(&self) -> Value {
        let mut shown = self.main.public_json();
        shown["fallbacks"] = self
            .fallbacks
            .iter()
            .map(ModelChoice::public_json)
            .collect();
        shown
    }
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChoice {
    /// Who is asked.
    pub provider: Provider,
    /// The provider's name for it.
    pub name: String,
    /// Where the provider answers, instead of its usual address.
    pub base_url: Option<String>,
    /// How it is asked; of a fallback the agent's own settings, where it has none itself.
    pub settings: ModelSettings,
}

/// How a model is asked: what the agent's file says beside its name. What is not set is the provider's choice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelSettings {
    /// `temperature`, from 0 to 2.
    pub temperature: Option<f64>,
    /// `top_p`, from 0 to 1.
    pub top_p: Option<f64>,
    /// `seed`: the same answer again, as far as the provider can.
    pub seed: Option<u64>,
    /// `stop`: texts that end the reply.
    pub stop: Vec<String>,
    /// `max_output_tokens`: the longest reply.
    pub max_output_tokens: Option<u64>,
    /// `max_input_tokens`: what the model takes without its reply.
    pub max_input_tokens: Option<u64>,
    /// `reasoning`.
    pub reasoning: Option<ReasoningSettings>,
    /// `stream`; `false` asks for whole replies.
    pub stream: Option<bool>,
    /// `extra_body`: members that are put into the request last.
    pub extra_body: Map<String, Value>,
    /// `headers`, by their names in lower case; those of the owner's file count before them.
    pub headers: BTreeMap<String, Secret>,
    /// `input`: what the model takes beside text, where the provider's table does not know.
    pub input: Option<ModelInput>,
    /// `tool_text`: calls that are printed as text are calls.
    pub tool_text: Option<bool>,
    /// `prompt`.
    pub prompt: Option<PromptSize>,
}

/// How much a model is to think before it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReasoningSettings {
    /// `reasoning.effort`, in the provider's words.
    pub effort: Option<String>,
    /// `reasoning.max_tokens`.
    pub max_tokens: Option<u64>,
}

/// What a model takes beside text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelInput {
    /// Pictures.
    pub image: bool,
    /// PDF documents.
    pub pdf: bool,
}

impl ModelInput {
    /// The words of files for all that it takes.
    pub fn words(self) -> Vec<&'static str> {
        let words = [("text", true), ("image", self.image), ("pdf", self.pdf)];
        let taken = words.into_iter().filter(|(_, is_taken)| *is_taken);
        taken.map(|(word, _)| word).collect()
    }
}

/// How much the system prompt tells of what the agent could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptSize {
    /// All of it.
    Full,
    /// Little, for small windows: the first sentences of descriptions, ten skills.
    Lean,
}

impl ModelSettings {
    /// These, and where something is not set in them, what `others` say.
    pub fn or(self, others: &ModelSettings) -> ModelSettings {
        let others = others.clone();
        ModelSettings {
            temperature: self.temperature.or(others.temperature),
            top_p: self.top_p.or(others.top_p),
            seed: self.seed.or(others.seed),
            stop: if self.stop.is_empty() {
                others.stop
            } else {
                self.stop
            },
            max_output_tokens: self.max_output_tokens.or(others.max_output_tokens),
            reasoning: self.reasoning.or(others.reasoning),
            stream: self.stream.or(others.stream),
            // What belongs to a provider or to a model alone.
            extra_body: self.extra_body,
            headers: self.headers,
            input: self.input,
            max_input_tokens: self.max_input_tokens,
            tool_text: self.tool_text,
            prompt: self.prompt,
        }
    }
}

impl ModelChoice {
    /// A model as its provider asks it, with nothing set.
    pub fn new(provider: Provider, name: impl Into<String>) -> ModelChoice {
        ModelChoice {
            provider,
            name: name.into(),
            base_url: None,
            settings: ModelSettings::default(),
        }
    }

    /// What was set, but no address, header or member of `extra_body`: secrets could hide in them.
    fn public_json(&self) -> Value {
        let settings = &self.settings;
        let reasoning = settings.reasoning.as_ref();
        json!({
            "provider": self.provider,
            "name": self.name,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
            "stop": (!settings.stop.is_empty()).then_some(&settings.stop),
            "max_output_tokens": settings.max_output_tokens,
            "max_input_tokens": settings.max_input_tokens,
            "reasoning": reasoning.map(|one| json!({"effort": one.effort, "max_tokens": one.max_tokens})),
            "stream": settings.stream,
            "input": settings.input.map(ModelInput::words),
            "tool_text": settings.tool_text,
            "prompt": settings.prompt,
        })
    }

    /// What it wants otherwise than others; `is_own` says whether it is asked at its provider's own address.
    pub fn quirks(&self, is_own: bool) -> Quirks {
        let effort = self.settings.reasoning.as_ref();
        let thinks = effort.and_then(|one| one.effort.as_deref()) != Some("none");
        let known = self.provider.known();
        let mut quirks = known.map_or(Quirks::PLAIN, |known| known.quirks);
        quirks.has_newer_limit &= is_own || !known.is_some_and(|known| known.is_imitated);
        quirks.with_model(&self.name, thinks)
    }

    /// `provider/name`, as the log and the API write it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }
}

/// The texts that make up the system prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompts {
    /// Who the agent is.
    pub soul: Option<String>,
    /// Its task.
    pub system_prompt: Option<String>,
    /// Its rules.
    pub instructions: Option<String>,
}

/// A text that is always in the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The name of its file.
    pub name: String,
    /// Its Markdown, as it goes into the prompt.
    pub text: String,
    /// Where it was read.
    pub file: PathBuf,
}

impl Directive {
    fn public_json(&self) -> Value {
        json!({"name": self.name, "text": self.text})
    }
}

/// The files that may make a folder a skill; the first one that is there does.
pub const SKILL_FILES: [&str; 2] = ["SKILL.md", "skill.md"];

/// Instructions for a task, of which the prompt has only the name and the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Its name: one line, not empty.
    pub name: String,
    /// Its purpose, and when to use it: all that the model knows of it before it reads it.
    pub description: String,
    /// Its folder, which holds one of [`SKILL_FILES`], as programs find it.
    pub folder: PathBuf,
    /// Where that folder really was when it was looked at, without links on the way.
    pub place: PathBuf,
    /// Files in it that have other names elsewhere (hard links) count only if whoever brings it is
    /// trusted: they may be anybody's.
    pub is_trusted: bool,
}

impl Skill {
    fn public_json(&self) -> Value {
        json!({"name": self.name, "description": self.description})
    }
}

/// How an agent's sessions behave.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSpec {
    /// A turn without clients goes on, or waits for one.
    pub on_disconnect: OnDisconnect,
    /// How many rounds of tools a turn may take.
    pub max_tool_iterations: u32,
    /// Whether a turn ends whose model makes the same calls again and again.
    pub loop_guard: bool,
    /// How long a whole reply may take.
    pub llm_timeout: Duration,
    /// How long a session may lie idle, 0 for ever; `None` takes the server's rule.
    pub ttl_hours: Option<u64>,
    /// After how long a question that nobody has answered is denied; `None` never.
    pub approval_timeout: Option<Duration>,
    /// How much history goes to the model; 0 for no limit.
    pub max_history_tokens: u64,
    /// How much of a tool's result goes to the model.
    pub tool_results: ToolResultSpec,
    /// What is too much for that is summarised, and not left out.
    pub summary: bool,
    /// Who writes summaries; without one the agent's model.
    pub summary_model: Option<Box<ModelChoice>>,
}

impl SessionSpec {
    fn public_json(&self) -> Value {
        json!({
            "on_disconnect": self.on_disconnect,
            "max_tool_iterations": self.max_tool_iterations,
            "loop_guard": if self.loop_guard { "on" } else { "off" },
            "llm_timeout_seconds": self.llm_timeout.as_secs(),
            "ttl_hours": self.ttl_hours,
            "approval_timeout_seconds": self.approval_timeout.map(|time| time.as_secs()),
            "context": { "max_history_tokens": self.max_history_tokens },
            "summary": (!self.summary).then_some("off"),
            "summary_model": self.summary_model.as_ref().map(|one| {
                json!({"provider": one.provider, "name": one.name})
            }),
        })
    }
}

/// How much of a tool's result goes to the model: `spec.session.context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResultSpec {
    /// The most of one result.
    pub max_tokens: u64,
    /// Which part of a longer one stays.
    pub truncation: Truncation,
    /// So many results at the start of the history are never masked.
    pub keep_first: u64,
    /// So many results at its end are never masked.
    pub keep_last: u64,
}

impl Default for ToolResultSpec {
    fn default() -> ToolResultSpec {
        ToolResultSpec {
            max_tokens: 8_000,
            truncation: Truncation::Head,
            keep_first: 2,
            keep_last: 5,
        }
    }
}

/// Which part of a text that is too long stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// Its beginning.
    #[default]
    Head,
    /// Its end.
    Tail,
    /// Some of both.
    Both,
}

impl Truncation {
    /// The words used in files.
    pub const WORDS: &[(&str, Truncation)] = &[
        ("head", Truncation::Head),
        ("tail", Truncation::Tail),
        ("both", Truncation::Both),
    ];
}

impl Default for SessionSpec {
    fn default() -> SessionSpec {
        SessionSpec {
            on_disconnect: OnDisconnect::Pause,
            max_tool_iterations: 10,
            loop_guard: true,
            llm_timeout: Duration::from_secs(300),
            ttl_hours: None,
            approval_timeout: None,
            max_history_tokens: models::HISTORY_TOKENS_MIN,
            tool_results: ToolResultSpec::default(),
            summary: true,
            summary_model: None,
        }
    }
}

/// `spec.memory`: notes that outlive a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemorySpec {
    /// The agent has the tool `memory`.
    pub enabled: bool,
    /// Whose memory and sessions a chat of a gateway sees.
    pub scope: MemoryScope,
}

/// Whose memory and sessions a chat of a gateway sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// The agent's.
    #[default]
    Agent,
    /// Only its own.
    Chat,
}

impl MemoryScope {
    /// The words used in files.
    pub const WORDS: &[(&str, MemoryScope)] =
        &[("agent", MemoryScope::Agent), ("chat", MemoryScope::Chat)];
}

/// How long a file may let replies be, in bytes: `limits.reply_bytes`, of the server and of an agent.
pub const REPLY_BYTES_RANGE: RangeInclusive<u64> = 1024..=1 << 30;

/// `spec.limits`: once its tokens, turns or money are used up, messages are refused and the model is not
/// asked until the next day or hour of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LimitsSpec {
    /// Tokens of its models in a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Turns begun in an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns_per_hour: Option<u64>,
    /// What its models cost in a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_day: Option<Cost>,
    /// Bytes of a reply, where that is less than the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_bytes: Option<u64>,
}

impl LimitsSpec {
    /// What is spent must be counted.
    pub fn counts_spending(&self) -> bool {
        self.tokens_per_day.is_some()
            || self.turns_per_hour.is_some()
            || self.cost_per_day.is_some()
    }
}

/// The folder in an agent's for what its programs write.
pub const WORK_FOLDER: &str = "work";

/// Where programs start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolsCwd {
    /// In the agent's folder for what they write.
    #[default]
    Work,
    /// In the agent's folder.
    Agent,
}

impl ToolsCwd {
    /// The words used in files.
    pub const WORDS: &[(&str, ToolsCwd)] = &[("work", ToolsCwd::Work), ("agent", ToolsCwd::Agent)];
}

/// The tools that Duragent has, or will have, under a name of their own.
pub const BUILTIN_TOOLS: [&str; 11] = [
    "bash",
    "file",
    "web",
    "session",
    "memory",
    "skill",
    "reload_tools",
    "send_file",
    "schedule",
    "background_process",
    "agent",
];

/// Every provider accepts it as the name of a tool: 1 to 64 letters, digits, `-` and `_` of ASCII.
pub fn is_tool_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A tool that an agent's file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolRef {
    /// One of ours.
    Builtin {
        /// Its name.
        name: String,
    },
    /// A command of the user's.
    Cli {
        /// Its name.
        name: String,
        /// What is run: words, or a script for the shell.
        command: String,
        /// Its first arguments, before those of the model.
        args: Vec<String>,
        /// What the model is told of it.
        description: Option<String>,
        /// A file with more of that, relative to the agent's folder.
        readme: Option<String>,
        /// What running it twice would mean.
        effect: ToolEffect,
        /// Variables of the server's environment that it is told beside the usual ones, secrets
        /// among them.
        env: Vec<String>,
    },
    /// A server that speaks the Model Context Protocol.
    Mcp {
        /// Its name.
        name: String,
        /// How it is reached; `None` while the agent's folder is not trusted with it: then it is
        /// known by its name alone, and never started.
        server: Option<McpServer>,
    },
}

impl ToolRef {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            ToolRef::Builtin { name } | ToolRef::Cli { name, .. } | ToolRef::Mcp { name, .. } => {
                name
            }
        }
    }

    fn public_json(&self) -> Value {
        match self {
            ToolRef::Builtin { name } => json!({"type": "builtin", "name": name}),
            ToolRef::Cli {
                name, description, ..
            } => without_nulls(json!({"type": "cli", "name": name, "description": description})),
            ToolRef::Mcp { name, .. } => json!({"type": "mcp", "name": name}),
        }
    }
}

/// Where a tool comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolKind {
    /// It is the shell.
    Bash,
    /// It is part of Duragent.
    Builtin,
    /// A command that an agent's file names.
    Cli,
    /// A command found beside the agent: nobody declared it.
    FoundCli,
}

/// How much harm a second run does. By this a call that a crash interrupted is run again or asked
/// about, and calls run beside one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolEffect {
    /// It changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// Twice is not as once.
    #[default]
    Write,
}

impl ToolEffect {
    /// The words used in files.
    pub const WORDS: &[(&str, ToolEffect)] = &[
        ("read", ToolEffect::Read),
        ("idempotent", ToolEffect::Idempotent),
        ("write", ToolEffect::Write),
    ];
}

/// How a server of the Model Context Protocol is reached. All of it may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpServer {
    /// A child process.
    Command {
        /// What is run.
        command: String,
        /// Its arguments.
        args: Vec<Secret>,
        /// Variables that it gets beside the usual ones.
        env: BTreeMap<String, Secret>,
    },
    /// A server elsewhere.
    Url(Secret),
}

#[cfg(test)]
mod tests;
