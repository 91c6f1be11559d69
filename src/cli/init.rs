//! `duragent init`: a workspace with a first agent.
//!
//! Invariant: nothing that exists is overwritten or changed, so it can be run again at any time.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use ureq::Agent;

use crate::cli::args::{InitArgs, Provider};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::cli::settings::ClientSettings;
use crate::domain::ids::AgentName;

const DEFAULT_NAME: &str = "my-assistant";
const AGENT_FILE: &str = "agent.yaml";
const PROMPT: &str = "You are a helpful assistant. Be concise and actionable.\n";
const CONFIG: &str = include_str!("init/duragent.yaml");

/// Writes what is missing, and says what that was.
pub(super) fn run(args: &InitArgs, settings: &ClientSettings) -> Outcome {
    let is_asking = !args.no_interactive && io::stdin().is_terminal() && io::stdout().is_terminal();
    let agents_dir = &settings.agents_dir;
    if args.agent_name.is_none() && has_agents(agents_dir) {
        output::print("there are agents already; nothing to do\n")?;
        return Ok(());
    }
    let name = match &args.agent_name {
        Some(name) => name.clone(),
        None => default_name(is_asking)?,
    };
    let folder = agents_dir.join(name.as_str());
    if folder.join(AGENT_FILE).exists() {
        output::print(&format!("{} exists already\n", folder.display()))?;
        return Ok(());
    }
    let choice = choose(args, is_asking)?;
    write_new(&folder.join("SYSTEM_PROMPT.md"), PROMPT)?;
    // Last of the agent's files: it is what makes the folder an agent.
    write_new(&folder.join(AGENT_FILE), &agent_yaml(&name, &choice))?;
    write_new(settings.config_file(), CONFIG)?;
    output::print(&next_steps(&name, &choice))?;
    Ok(())
}

/// A model and who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    provider: Provider,
    model: String,
    why: String,
}

impl Provider {
    fn name(self) -> &'static str {
        match self {
            Provider::OpenRouter => "openrouter",
            Provider::Anthropic => "anthropic",
            Provider::OpenAi => "openai",
            Provider::Ollama => "ollama",
            Provider::Echo => "echo",
        }
    }

    fn default_model(self) -> &'static str {
        match self {
            Provider::OpenRouter => "anthropic/claude-sonnet-4",
            Provider::Anthropic => "claude-sonnet-4-20250514",
            Provider::OpenAi => "gpt-4o-mini",
            Provider::Ollama => "llama3.2",
            Provider::Echo => "echo",
        }
    }

    /// The environment variable that holds its key.
    fn key_variable(self) -> Option<&'static str> {
        match self {
            Provider::OpenRouter => Some("OPENROUTER_API_KEY"),
            Provider::Anthropic => Some("ANTHROPIC_API_KEY"),
            Provider::OpenAi => Some("OPENAI_API_KEY"),
            Provider::Ollama | Provider::Echo => None,
        }
    }
}

fn choose(args: &InitArgs, is_asking: bool) -> Result<Choice, Failure> {
    let mut choice = match args.provider {
        Some(provider) => named_choice(provider),
        None => found_choice(),
    };
    if is_asking && args.provider.is_none() {
        let question = format!("provider ({})", choice.why);
        let answer = ask(&question, choice.provider.name())?;
        if answer != choice.provider.name() {
            let provider = clap::ValueEnum::from_str(&answer, true);
            choice = named_choice(provider.map_err(|_| {
                Failure::usage(format!("there is no provider {answer}"))
                    .hint("openrouter, anthropic, openai, ollama or echo")
            })?);
        }
    }
    if let Some(model) = &args.model {
        choice.model.clone_from(model);
    } else if is_asking {
        choice.model = ask("model", &choice.model)?;
    }
    Ok(choice)
}

fn named_choice(provider: Provider) -> Choice {
    let installed = match provider {
        Provider::Ollama => ollama_model(),
        _ => None,
    };
    Choice {
        provider,
        model: installed.unwrap_or_else(|| provider.default_model().to_owned()),
        why: "as asked for".to_owned(),
    }
}

/// The provider whose key is there, else a local Ollama, else the built-in model.
fn found_choice() -> Choice {
    let with_key = [Provider::OpenRouter, Provider::Anthropic, Provider::OpenAi]
        .into_iter()
        .find_map(|provider| Some((provider, provider.key_variable().filter(|key| is_set(key))?)));
    if let Some((provider, key)) = with_key {
        return Choice {
            provider,
            model: provider.default_model().to_owned(),
            why: format!("{key} is set"),
        };
    }
    match ollama_model() {
        Some(model) => Choice {
            provider: Provider::Ollama,
            model,
            why: "Ollama answers on this machine".to_owned(),
        },
        None => Choice {
            provider: Provider::Echo,
            model: Provider::Echo.default_model().to_owned(),
            why: "no provider's key is set and no Ollama answers".to_owned(),
        },
    }
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !value.trim().is_empty())
}

/// `GET /api/tags` of Ollama.
#[derive(Deserialize)]
struct InstalledModels {
    #[serde(default)]
    models: Vec<InstalledModel>,
}

#[derive(Deserialize)]
struct InstalledModel {
    name: String,
}

/// The first model that an Ollama on this machine has, if one answers quickly.
fn ollama_model() -> Option<String> {
    const LIMIT: Duration = Duration::from_millis(500);
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(LIMIT))
        .build()
        .into();
    let host = env::var("OLLAMA_HOST").unwrap_or_default();
    let answer = agent.get(format!("{}/api/tags", ollama_url(&host))).call();
    let text = answer.ok()?.into_body().read_to_string().ok()?;
    let installed: InstalledModels = serde_json::from_str(&text).ok()?;
    Some(installed.models.into_iter().next()?.name)
}

/// What `OLLAMA_HOST` means: a host, a port or a URL, each with defaults for the rest.
fn ollama_url(host: &str) -> String {
    const DEFAULT_PORT: &str = "11434";
    let host = host.trim().trim_end_matches('/');
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (rest, DEFAULT_PORT),
    };
    let name = match name {
        "" | "0.0.0.0" => "127.0.0.1",
        name => name,
    };
    format!("{scheme}://{name}:{port}")
}

fn default_name(is_asking: bool) -> Result<AgentName, Failure> {
    let text = if is_asking {
        ask("name of the agent", DEFAULT_NAME)?
    } else {
        DEFAULT_NAME.to_owned()
    };
    AgentName::parse(&text)
        .map_err(|error| Failure::usage(error.to_string()).hint("use letters, digits, - and _"))
}

/// Asks for one line; an empty one is the default.
fn ask(question: &str, default: &str) -> Result<String, Failure> {
    output::print(&format!("{question} [{default}]: "))?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(Failure::new("nothing was written"));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

fn has_agents(agents_dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(agents_dir) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.path().join(AGENT_FILE).exists())
}

fn agent_yaml(name: &AgentName, choice: &Choice) -> String {
    // A JSON text is a YAML text, whatever a model is called.
    let model = serde_json::Value::from(choice.model.as_str());
    format!(
        "apiVersion: duragent/v1alpha1
kind: Agent
metadata:
  name: {name}
spec:
  model:
    provider: {}
    name: {model}
  system_prompt: ./SYSTEM_PROMPT.md
  session:
    on_disconnect: pause
",
        choice.provider.name()
    )
}

/// Writes a file that does not exist yet; one that does is left alone.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file: File = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.with_context(|| format!("cannot create {shown}"))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {shown}"))?;
    output::print(&format!("wrote {shown}\n"))?;
    Ok(())
}

fn next_steps(name: &AgentName, choice: &Choice) -> String {
    let (provider, model, why) = (choice.provider.name(), &choice.model, &choice.why);
    let mut text = format!("{name} uses {provider}/{model} ({why})\n");
    let missing = choice.provider.key_variable().filter(|key| !is_set(key));
    if let Some(key) = missing {
        text.push_str(&format!("set its key first: export {key}=…\n"));
    }
    text.push_str(&format!("talk to it: duragent chat --agent {name}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_is_found_where_its_variable_says() {
        for (host, url) in [
            ("", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            (":1", "http://127.0.0.1:1"),
            ("gpu-box", "http://gpu-box:11434"),
            ("https://gpu-box/", "https://gpu-box:11434"),
            ("http://gpu-box:80", "http://gpu-box:80"),
        ] {
            assert_eq!(ollama_url(host), url, "{host:?}");
        }
    }
}
