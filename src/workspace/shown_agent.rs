//! An agent as its files describe it now: what clients may see of it, and what its model is sent.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;
use crate::domain::context_summary::SUMMARY_PROMPT;
use crate::domain::prompt;
use crate::domain::providers::Dialect;
use crate::domain::sight::Sight;
use crate::domain::spec::{ModelChoice, ModelSpec};
use crate::domain::window::tokens_of_bytes;
use crate::engine::turn::prompt as told;
use crate::engine::{self, Agents as _};
use crate::llm;
use crate::llm::settings::ProviderSettings;
use crate::llm::unsent::unsent;
use crate::wire::{AgentBody, AgentListBody, BrokenAgentBody};
use crate::workspace::loaded::{loaded_agents, read_agents};
use crate::workspace::providers;
use crate::workspace::remarks;
use crate::workspace::trust::{self, Surveyor, Workspace};

/// The agents as their files describe them now, for when no server can be asked.
pub fn list(config: &Config) -> AgentListBody {
    let place = Workspace::of(config);
    let (trust, _) = trust::of_workspace(&place);
    let directory = read_agents(config, &trust);
    let directory = Arc::new(directory);
    let made = loaded_agents(config, Arc::clone(&directory), Arc::clone(&trust)).ok();
    let surveyor = Surveyor::new(&place, trust);
    let agents = directory.list();
    let agents = agents.iter().map(|agent| AgentBody {
        name: agent.name.to_string(),
        description: agent.description.clone(),
        version: agent.version.clone(),
        missing_key: None,
        not_counted: surveyor.agent(&agent.home).said(),
        remarks: made
            .iter()
            .filter_map(|made| remarks::long_prompt(&made.make(Arc::clone(agent))))
            .collect(),
    });
    let broken = directory.broken().into_iter().map(|one| BrokenAgentBody {
        name: one.name,
        errors: one.mistakes,
    });
    AgentListBody {
        agents: agents.collect(),
        broken: broken.collect(),
    }
}

/// All that a model is sent before the conversation: nothing else goes to a provider unseen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentPrompt {
    /// The agent.
    pub agent: String,
    /// The model, as `provider/name`.
    pub model: String,
    /// The parts of the system prompt in order, and the tools as the last one.
    pub parts: Vec<SentPart>,
    /// The sum of the parts.
    pub tokens: u64,
    /// The system prompt, byte for byte.
    pub system: String,
    /// The tools, in the form of the model's provider.
    pub tools: Value,
    /// What the model is told instead that summarises long conversations, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<&'static str>,
}

/// A part of what a model is sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentPart {
    /// Its file or section, such as `SOUL.md`; `tools` for the definitions of the tools.
    pub name: String,
    /// An estimate: four bytes each.
    pub tokens: u64,
    /// The text; of the tools, what stands in the request.
    pub text: String,
}

/// How a model of an agent is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownModel {
    /// The model, as `provider/name`.
    pub model: String,
    /// Whom it is asked of; not of what is built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The interface, in the word of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'static str>,
    /// Where its key is looked for: the name of a variable, or words for a file or a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it takes, in the words of files.
    pub sees: Vec<&'static str>,
    /// Which of its settings are not sent, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_sent: Vec<String>,
    /// Why it cannot be asked, or is asked without its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An agent as its files describe it now.
#[derive(Debug)]
pub struct ShownAgent {
    agent: crate::engine::Agent,
    /// Its models in the order in which they are asked.
    models: Vec<ShownModel>,
    /// The one that its model speaks.
    dialect: Dialect,
}

impl ShownAgent {
    /// Reads the agent of that name; `None` if there is none. What is wrong with its files is told
    /// too, a line each.
    ///
    /// Errors: a setting that cannot be used.
    pub fn read(config: &Config, name: &str) -> anyhow::Result<(Option<ShownAgent>, Vec<String>)> {
        let (trust, problems) = trust::of_workspace(&Workspace::of(config));
        for problem in problems {
            log::warn!("{problem}");
        }
        let directory = Arc::new(read_agents(config, &trust));
        let home = config.agents_dir.join(name);
        let problems = directory.problems();
        let problems = problems.iter().filter(|one| {
            // Of the directives and skills for all agents too.
            one.file.starts_with(&home) || !one.file.starts_with(&config.agents_dir)
        });
        let problems = problems.map(ToString::to_string).collect();
        let agent = loaded_agents(config, directory, trust)?.get(name);
        let settings = providers::settings(config, |name| std::env::var(name).ok()).0;
        let shown = agent.map(|agent| ShownAgent {
            models: models(&agent.spec.model, &settings),
            dialect: settings.dialect(&agent.spec.model.main),
            agent,
        });
        Ok((shown, problems))
    }

    /// The spec without what the API keeps to itself, as `GET /api/v1/agents/{name}` shows it; and, for whoever
    /// has the files, how its models are asked.
    pub fn json(&self) -> Value {
        let mut shown = self.agent.spec.public_json();
        shown["models"] = json!(self.models);
        shown
    }

    /// The prompt of a session that would begin now: directives name the day.
    pub fn prompt(&self) -> SentPrompt {
        let spec = &self.agent.spec;
        let parts = told::parts(spec, SystemTime::now().into());
        let system = prompt::joined(&parts);
        let definitions = told::definitions(spec, &self.agent.tools);
        let tools = llm::tools_as_sent(self.dialect, &definitions);
        let mut parts: Vec<SentPart> = parts
            .into_iter()
            .map(|part| SentPart::of(part.name, part.text))
            .collect();
        if !definitions.is_empty() {
            parts.push(SentPart::of("tools".to_owned(), tools.to_string()));
        }
        SentPrompt {
            agent: spec.name.to_string(),
            model: spec.model.main.label(),
            tokens: parts.iter().map(|part| part.tokens).sum(),
            parts,
            system,
            tools,
            summary: engine::can_summarise(spec).then_some(SUMMARY_PROMPT),
        }
    }
}

fn models(spec: &ModelSpec, settings: &ProviderSettings) -> Vec<ShownModel> {
    let choices = std::iter::once(&spec.main).chain(&spec.fallbacks);
    choices
        .map(|choice| ShownModel::of(choice, settings))
        .collect()
}

impl ShownModel {
    fn of(choice: &ModelChoice, settings: &ProviderSettings) -> ShownModel {
        let (way, note) = match settings.way(choice) {
            Ok(way) => (Some(way), None),
            Err(why) => (None, Some(why)),
        };
        let withheld = way.as_ref().and_then(|way| way.withheld.clone());
        ShownModel {
            model: choice.label(),
            dialect: way.as_ref().map(|way| way.dialect),
            host: way.as_ref().and_then(|way| way.host.clone()),
            key: way.and_then(|way| way.key),
            sees: Sight::of(choice).input.words(),
            not_sent: unsent(settings, choice),
            note: note.or(withheld),
        }
    }
}

impl SentPart {
    fn of(name: String, text: String) -> SentPart {
        SentPart {
            name,
            tokens: tokens_of_bytes(text.len()),
            text,
        }
    }
}
