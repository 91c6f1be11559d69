//! What an agent is, once its files were read and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::event::OnDisconnect;
use crate::domain::ids::AgentName;

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
    /// `spec.session`.
    pub session: SessionSpec,
}

/// Which model an agent uses, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The first choice.
    pub main: ModelChoice,
    /// Tried in order when the one before them fails for good.
    pub fallbacks: Vec<ModelChoice>,
    /// `spec.model.temperature`.
    pub temperature: Option<f64>,
    /// `spec.model.max_output_tokens`.
    pub max_output_tokens: Option<u64>,
    /// `spec.model.max_input_tokens`.
    pub max_input_tokens: Option<u64>,
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// Whose interface it speaks.
    pub provider: Provider,
    /// The provider's name for it.
    pub name: String,
    /// Where the provider answers, instead of its usual address.
    pub base_url: Option<String>,
}

impl ModelChoice {
    /// `provider/name`, as the log and the API write it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenRouter.
    OpenRouter,
    /// OpenAI, or any server that speaks its interface.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// A local Ollama.
    Ollama,
    /// Built in: streams the user's words back.
    Echo,
}

impl Provider {
    /// All of them.
    pub const ALL: [Provider; 5] = [
        Provider::OpenRouter,
        Provider::OpenAi,
        Provider::Anthropic,
        Provider::Ollama,
        Provider::Echo,
    ];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::OpenRouter => "openrouter",
            Provider::OpenAi => "openai",
            Provider::Anthropic => "anthropic",
            Provider::Ollama => "ollama",
            Provider::Echo => "echo",
        }
    }

    /// The provider of that word.
    pub fn parse(text: &str) -> Option<Provider> {
        Provider::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// The variable that holds its key, for those that need one.
    pub fn key_variable(self) -> Option<&'static str> {
        match self {
            Provider::OpenRouter => Some("OPENROUTER_API_KEY"),
            Provider::OpenAi => Some("OPENAI_API_KEY"),
            Provider::Anthropic => Some("ANTHROPIC_API_KEY"),
            Provider::Ollama | Provider::Echo => None,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The texts that make up the system prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompts {
    /// Who the agent is.
    pub soul: Option<String>,
    /// What it does.
    pub system_prompt: Option<String>,
    /// Its rules.
    pub instructions: Option<String>,
}

/// How an agent's sessions behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// What happens to a turn when the last client leaves.
    pub on_disconnect: OnDisconnect,
    /// How many rounds of tools a turn may take.
    pub max_tool_iterations: u32,
    /// How long a whole reply may take.
    pub llm_timeout: Duration,
    /// How long a session may lie idle; `None` takes the server's rule.
    pub ttl_hours: Option<u64>,
    /// How much history goes to the model; 0 for no limit.
    pub max_history_tokens: u64,
}

impl Default for SessionSpec {
    fn default() -> SessionSpec {
        SessionSpec {
            on_disconnect: OnDisconnect::Pause,
            max_tool_iterations: 10,
            llm_timeout: Duration::from_secs(300),
            ttl_hours: None,
            max_history_tokens: 20_000,
        }
    }
}
