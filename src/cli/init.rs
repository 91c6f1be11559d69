//! `duragent init`: a workspace with a first agent; `duragent agent create`: one more.
//!
//! Invariant: nothing that exists is overwritten or changed, so it can be run again at any time.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::base::fs::create_private_dirs;
use crate::cli::args::{AgentCreateArgs, Global, InitArgs, ModelArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::settings::{ClientSettings, is_interactive, locate, names_workspace, settings_in};
use crate::cli::{output, trust};
use crate::config::lookup;
use crate::domain::ids::AgentName;
use crate::domain::providers::KNOWN;
use crate::domain::spec::Provider;
use crate::workspace::offers;

const DEFAULT_NAME: &str = "my-assistant";
const AGENT_FILE: &str = "agent.yaml";
const PROMPT: &str = "You are a helpful assistant. Be concise and actionable.\n";
const CONFIG: &str = include_str!("init/duragent.yaml");

/// Writes what is missing, and says what that was.
///
/// Errors: the current folder is one that no command would look for a workspace in.
pub(super) fn run(args: &InitArgs, global: &Global) -> CliResult {
    let named = args.path.as_deref().filter(|path| *path != Path::new("."));
    let place = named.unwrap_or(Path::new(""));
    if named.is_some() {
        fs::create_dir_all(place).with_context(|| format!("cannot create {}", place.display()))?;
    }
    check_place(place, global)?;
    let settings = &settings_in(place, global)?;
    let agents_dir = &settings.agents_dir;
    if args.agent_name.is_none() && has_agents(agents_dir) {
        return say("there are agents already; nothing to do\n", settings);
    }
    let name = match &args.agent_name {
        Some(name) => name.clone(),
        None => default_name(asks(&args.model))?,
    };
    let folder = agents_dir.join(name.as_str());
    if folder.join(AGENT_FILE).exists() {
        return say(&format!("{} exists already\n", folder.display()), settings);
    }
    let choice = choose(&args.model)?;
    write_agent(&name, &choice, settings)?;
    write_new(&settings.config_file(), CONFIG, settings)?;
    say(&next_steps(place, &name, &choice), settings)
}

/// `duragent agent create`: one more agent.
pub(super) fn create(args: &AgentCreateArgs, settings: &ClientSettings) -> CliResult {
    let folder = settings.agents_dir.join(args.name.as_str());
    if folder.exists() {
        return Err(CliError::new(format!(
            "{} exists already",
            folder.display()
        )));
    }
    let choice = choose(&args.model)?;
    write_agent(&args.name, &choice, settings)?;
    say(&next_steps(Path::new(""), &args.name, &choice), settings)
}

/// Says what was done, unless only what goes wrong is to be said.
fn say(text: &str, settings: &ClientSettings) -> CliResult {
    if !settings.is_quiet {
        output::print(text)?;
    }
    Ok(())
}

/// Writes the files of an agent. Its folder is its owner's own, and trusted, unless there was one.
fn write_agent(name: &AgentName, choice: &ChosenModel, settings: &ClientSettings) -> CliResult {
    let folder = settings.agents_dir.join(name.as_str());
    let is_own = !folder.exists();
    write_new(&folder.join("SYSTEM_PROMPT.md"), PROMPT, settings)?;
    // Last of the agent's files: it is what makes the folder an agent.
    let text = agent_yaml(name, choice);
    write_new(&folder.join(AGENT_FILE), &text, settings)?;
    if is_own {
        trust::trust_own(settings, name.as_str());
    }
    Ok(())
}

/// Refuses a folder whose workspace others could change, and tells of one above that is used no
/// longer from here.
fn check_place(folder: &Path, global: &Global) -> CliResult {
    if names_workspace(global) {
        return Ok(());
    }
    let here = env::current_dir().context("there is no current folder")?;
    let here = here.join(folder);
    if !lookup::is_ours(&here) {
        let why = "another account owns it or can write it, so no workspace in it would be used";
        return Err(CliError::new(format!("{}: {why}", here.display()))
            .hint("make a folder of your own, or name a workspace with --workspace"));
    }
    let above = locate(global);
    let is_here = folder == Path::new("");
    let folder = above.origin.folder();
    if is_here && !global.quiet && above.missing.is_none() && folder != Path::new("") {
        let note = "note: until now, commands here used the workspace of";
        output::print(&format!("{note} {}\n", folder.display()))?;
    }
    Ok(())
}

/// Whether there is somebody to be asked.
fn asks(args: &ModelArgs) -> bool {
    !args.no_interactive && is_interactive()
}

/// A model and who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ChosenModel {
    provider: Provider,
    model: String,
    why: String,
}

/// A model that the provider has; nothing for one whose models come and go.
fn default_model(provider: &Provider) -> &'static str {
    match provider.as_str() {
        "openrouter" => "anthropic/claude-sonnet-4",
        "anthropic" => "claude-sonnet-4-20250514",
        "openai" => "gpt-4o-mini",
        "ollama" => "llama3.2",
        "echo" => "echo",
        _ => "",
    }
}

fn choose(args: &ModelArgs) -> Result<ChosenModel, CliError> {
    let is_asking = asks(args);
    let mut choice = match args.provider.clone() {
        Some(provider) => named_choice(provider),
        None => found_choice(),
    };
    if is_asking && args.provider.is_none() {
        let question = format!("provider ({})", choice.why);
        let answer = ask(&question, choice.provider.as_str())?;
        if answer != choice.provider.as_str() {
            let provider = Provider::parse(&answer.to_lowercase());
            let known = provider.filter(|provider| provider.known().is_some());
            choice = named_choice(known.ok_or_else(|| {
                let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
                CliError::usage(format!("there is no provider {answer}"))
                    .hint(format!("there are: {}", names.join(", ")))
            })?);
        }
    }
    if let Some(model) = &args.model {
        choice.model.clone_from(model);
    } else if is_asking {
        choice.model = ask("model", &choice.model)?;
    }
    if choice.model.is_empty() {
        let message = format!("which of the models of {}?", choice.provider);
        return Err(CliError::usage(message).hint("name it with --model"));
    }
    Ok(choice)
}

fn named_choice(provider: Provider) -> ChosenModel {
    let installed = if provider == Provider::OLLAMA {
        ollama_model()
    } else {
        None
    };
    ChosenModel {
        model: installed.unwrap_or_else(|| default_model(&provider).to_owned()),
        provider,
        why: "as asked for".to_owned(),
    }
}

/// The provider whose key is there, else a local Ollama, else the built-in model.
fn found_choice() -> ChosenModel {
    let with_key = [Provider::OPENROUTER, Provider::ANTHROPIC, Provider::OPENAI]
        .into_iter()
        .find_map(|provider| Some((set_key(&provider)?, provider)));
    if let Some((key, provider)) = with_key {
        return ChosenModel {
            model: default_model(&provider).to_owned(),
            provider,
            why: format!("{key} is set"),
        };
    }
    match ollama_model() {
        Some(model) => ChosenModel {
            provider: Provider::OLLAMA,
            model,
            why: "Ollama answers on this machine".to_owned(),
        },
        None => ChosenModel {
            provider: Provider::ECHO,
            model: default_model(&Provider::ECHO).to_owned(),
            why: "no provider's key is set and no Ollama answers".to_owned(),
        },
    }
}

/// The variable that holds the provider's key.
fn set_key(provider: &Provider) -> Option<&'static str> {
    let mut variables = provider.known()?.key_variables.iter().copied();
    variables.find(|variable| is_set(variable))
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !value.trim().is_empty())
}

/// The first model that an Ollama on this machine has, if one answers quickly.
fn ollama_model() -> Option<String> {
    const LIMIT: Duration = Duration::from_millis(500);
    offers::of_ollama(LIMIT)
}

fn default_name(is_asking: bool) -> Result<AgentName, CliError> {
    let text = if is_asking {
        ask("name of the agent", DEFAULT_NAME)?
    } else {
        DEFAULT_NAME.to_owned()
    };
    AgentName::parse(&text)
        .map_err(|error| CliError::usage(error.to_string()).hint("use letters, digits, - and _"))
}

/// Asks for one line; an empty one is the default.
fn ask(question: &str, default: &str) -> Result<String, CliError> {
    output::print(&format!("{question} [{default}]: "))?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(CliError::new("nothing was written"));
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

fn agent_yaml(name: &AgentName, choice: &ChosenModel) -> String {
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
  # What it can do; it asks before whatever is not read-only. Remove the \"#\" of what you want:
  # tools:
  #   - {{type: builtin, name: file}}
  #   - {{type: builtin, name: bash}}
  #   - {{type: builtin, name: web}}
  # memory:
  #   backend: filesystem
",
        choice.provider.as_str()
    )
}

/// Writes a file that does not exist yet; one that does is left alone.
fn write_new(path: &Path, text: &str, settings: &ClientSettings) -> CliResult {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        create_private_dirs(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // Keys may come to stand in it.
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file: File = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.with_context(|| format!("cannot create {shown}"))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {shown}"))?;
    say(&format!("wrote {shown}\n"), settings)
}

fn next_steps(folder: &Path, name: &AgentName, choice: &ChosenModel) -> String {
    let (provider, model, why) = (choice.provider.as_str(), &choice.model, &choice.why);
    let mut text = format!("{name} uses {provider}/{model} ({why})\n");
    let known = choice.provider.known().filter(|known| known.needs_key);
    let missing = known.filter(|_| set_key(&choice.provider).is_none());
    if let Some(key) = missing.and_then(|known| known.key_variables.first()) {
        text.push_str(&format!("set its key first: export {key}=…\n"));
    }
    if folder != Path::new("") {
        text.push_str(&format!("go there: cd {}\n", folder.display()));
    }
    text.push_str(&format!("talk to it: duragent chat --agent {name}\n"));
    text
}
