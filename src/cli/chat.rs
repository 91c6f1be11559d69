//! `duragent chat`: talk to an agent, or let a program do so.

use std::env;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::cli::args::{ChatArgs, Global, ServerArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::new_workspace::settings_or_new;
use crate::cli::output::tell;
use crate::cli::settings::{ClientSettings, is_interactive};
use crate::cli::{ask, running, server, session_names, trust};
use crate::client::{ApiClient, Attaching, ServerGeneration, hint_of};
use crate::domain::ids::SessionId;
use crate::terminal::chat::{self, Left};
use crate::terminal::clean::{clean, one_line};
use crate::terminal::older::WHAT_IS_MISSING;
use crate::terminal::oneshot::{self, OneShotOutcome};
use crate::terminal::question;
use crate::wire::{AgentBody, AgentListBody, BrokenAgentBody};

/// What is shown of a session that `chat --session` goes on with.
const HISTORY: usize = 20;
const NAME_WIDTH: usize = 64;
/// The longest sentence above a conversation.
const SENTENCE_WIDTH: usize = 300;

/// Opens a session and talks in it.
pub(super) fn run(args: &ChatArgs, global: &Global) -> CliResult {
    let (session, server) = &args.place.told_apart(args.session.as_deref())?;
    if let (Some(agent), Some(session)) = (&args.agent, session) {
        let why = format!("`--agent {agent}` cannot be used with the session {session}");
        return Err(CliError::usage(why).hint(
            "a session has its agent; a server whose name has no `.`, `:` or `/` is named by --server",
        ));
    }
    // Before a server is started for nothing.
    let piped = match is_interactive() {
        true if !args.files.is_empty() => {
            return Err(
                CliError::usage("`--file` goes with a message that is piped in")
                    .hint("in a conversation write @PATH"),
            );
        }
        true => None,
        false => Some(read_message(!args.files.is_empty())?),
    };
    let settings = &settings_or_new(global, server)?;
    if server.server.is_none() {
        trust::offer(settings)?;
    }
    let client = server::connect(server, settings)?;
    let (client, id) = match session {
        Some(text) => {
            let id = session_names::find(&client, text)?;
            (client, id)
        }
        None => {
            let agent = chosen(&client, args.agent.as_deref())?;
            let client = with_key(client, &agent, server, settings)?;
            let id = create(&client, &agent)?;
            (client, id)
        }
    };
    let generation = note_older(&client)?;
    let comes_back = back_to(&id, server);
    match piped {
        Some(text) => one_message(&client, generation, &id, &text, &args.files, &comes_back),
        None => {
            let attaching = Attaching::after(HISTORY);
            talk(client, generation, id, attaching, settings, &comes_back)
        }
    }
}

/// The command that comes back to a session.
pub(super) fn back_to(id: &SessionId, server: &ServerArgs) -> String {
    let place = server.server.as_ref();
    let place = place.map_or(String::new(), |url| format!(" -s {url}"));
    format!("duragent attach {id}{place}")
}

/// Says it where the server is one of before, once.
pub(super) fn note_older(client: &ApiClient) -> Result<ServerGeneration, CliError> {
    let generation = client.generation()?;
    if generation == ServerGeneration::Older {
        tell(&format!("note: {WHAT_IS_MISSING}"));
    }
    Ok(generation)
}

/// Holds a conversation until the user leaves, and says how to come back: by the command `comes_back`.
pub(super) fn talk(
    client: ApiClient,
    generation: ServerGeneration,
    id: SessionId,
    attaching: Attaching,
    settings: &ClientSettings,
    comes_back: &str,
) -> CliResult {
    tell(&format!("{id}   /help, Ctrl+D leaves"));
    if let Some(said) = not_counted(&client, &id) {
        tell(&one_line(&said, SENTENCE_WIDTH));
    }
    let typed_before = settings.chat_history();
    match chat::run(client, generation, id, attaching, typed_before.as_deref())? {
        Left::Detached => tell(&format!("detached; come back with: {comes_back}")),
        Left::Ended => {}
    }
    Ok(())
}

/// What does not count of the session's agent. Whoever may not know it is not told.
fn not_counted(client: &ApiClient, id: &SessionId) -> Option<String> {
    let agent = client.session(id).ok()?.agent;
    let agents = client.agents().ok()?.agents;
    agents
        .into_iter()
        .find(|one| one.name == agent)?
        .not_counted
}

fn chosen(client: &ApiClient, agent: Option<&str>) -> Result<String, CliError> {
    match agent {
        Some(agent) => Ok(agent.to_owned()),
        None => only_agent(client.agents()?),
    }
}

fn create(client: &ApiClient, agent: &str) -> Result<SessionId, CliError> {
    match client.create_session(agent) {
        Ok(created) => Ok(created.session_id),
        Err(error) if error.status() == Some(404) => Err(missing(agent, &client.agents()?.agents)),
        Err(error) => Err(error.into()),
    }
}

/// The client, of a server that was started again where that gives the agent's model its key.
pub(super) fn with_key(
    client: ApiClient,
    agent: &str,
    server: &ServerArgs,
    settings: &ClientSettings,
) -> Result<ApiClient, CliError> {
    if server.server.is_none() && lacks_key(&client, agent, settings)? {
        server::connect(server, settings)
    } else {
        Ok(client)
    }
}

/// Whether the server was stopped because the agent's model needs a key that is set here, and was
/// not where the server was started: it keeps the variables that it was born with.
fn lacks_key(client: &ApiClient, agent: &str, settings: &ClientSettings) -> Result<bool, CliError> {
    let agents = client.agents()?.agents.into_iter();
    let missing = agents
        .filter(|one| one.name == agent)
        .find_map(|one| one.missing_key);
    let is_set = |name: &String| env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let Some(variable) = missing.filter(is_set).filter(|_| is_interactive()) else {
        // Where nobody can be asked, the turn's failure says it.
        return Ok(false);
    };
    let variable = one_line(&variable, NAME_WIDTH);
    let lacks = format!("The server was started without {variable}, which is set here");
    if !server::is_started_by_client(settings) {
        tell(&format!("{lacks}: start it again where it is set"));
        return Ok(false);
    }
    let is_wanted = ask::yes_or_no(&format!("{lacks}. Restart it?"))?;
    if is_wanted {
        running::stop_own(&settings.workspace)?;
    }
    Ok(is_wanted)
}

fn only_agent(list: AgentListBody) -> Result<String, CliError> {
    let mut agents = list.agents;
    match (agents.pop(), agents.len()) {
        (Some(agent), 0) => Ok(agent.name),
        (None, _) if !list.broken.is_empty() => {
            let named = list.broken.iter().map(broken);
            Err(CliError::new(named.collect::<Vec<_>>().join("; ")))
        }
        (None, _) => {
            Err(CliError::new("there is no agent yet").hint("make one with: duragent init"))
        }
        (Some(last), _) => {
            agents.push(last);
            let hint = format!("choose one with --agent: {}", names(&agents));
            Err(CliError::usage("there is more than one agent").hint(hint))
        }
    }
}

fn missing(agent: &str, agents: &[AgentBody]) -> CliError {
    let failure = CliError::new(format!("there is no agent {agent}"));
    if agents.is_empty() {
        return failure.hint("make one with: duragent init");
    }
    failure.hint(format!("there are: {}", names(agents)))
}

/// An agent that cannot be used, with its mistakes.
pub(super) fn broken(agent: &BrokenAgentBody) -> String {
    let name = one_line(&agent.name, NAME_WIDTH);
    format!("agent {name} cannot be used: {}", agent.errors.join("; "))
}

fn names(agents: &[AgentBody]) -> String {
    let names: Vec<String> = agents
        .iter()
        .map(|agent| one_line(&agent.name, NAME_WIDTH))
        .collect();
    names.join(", ")
}

/// All of standard input, as one message; it needs no words where files go with it.
fn read_message(has_files: bool) -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() && !has_files {
        return Err(CliError::usage("standard input holds no message"));
    }
    Ok(text.to_owned())
}

fn one_message(
    client: &ApiClient,
    generation: ServerGeneration,
    id: &SessionId,
    text: &str,
    files: &[PathBuf],
    comes_back: &str,
) -> CliResult {
    log::info!("session {id}");
    match oneshot::send(
        client,
        generation,
        id,
        text,
        files,
        &mut io::stdout().lock(),
    )? {
        OneShotOutcome::Complete => Ok(()),
        OneShotOutcome::Cancelled => Err(CliError::new("the reply was cancelled")),
        OneShotOutcome::Failed(failure) => Err(match hint_of(&failure) {
            Some(hint) => CliError::new(failure.message.clone()).hint(hint),
            None => CliError::new(failure.message),
        }),
        OneShotOutcome::NeedsApproval(asked) => Err(needs_approval(&question::in_words(&asked))
            .hint(format!("answer it with: {comes_back}"))),
    }
}

/// A failure is told in one line: what has more of them comes before it.
fn needs_approval(what: &str) -> CliError {
    if what.contains('\n') {
        tell(&clean(&format!("The agent wants to run{what}")));
        return CliError::new("the agent waits for an approval");
    }
    CliError::new(format!("the agent waits for an approval of{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(names: &[&str]) -> Vec<AgentBody> {
        let agent = |name: &&str| AgentBody {
            name: (*name).to_owned(),
            description: None,
            version: None,
            missing_key: None,
            not_counted: None,
            remarks: Vec::new(),
        };
        names.iter().map(agent).collect()
    }

    fn list(names: &[&str], broken: &[&str]) -> AgentListBody {
        let broken = broken.iter().map(|name| BrokenAgentBody {
            name: (*name).to_owned(),
            errors: vec!["a.yaml:1:1: no".to_owned()],
        });
        AgentListBody {
            agents: agents(names),
            broken: broken.collect(),
        }
    }

    #[test]
    fn the_only_agent_is_taken_and_several_are_listed() {
        assert_eq!(only_agent(list(&["a"], &["c"])).unwrap(), "a");
        let several = only_agent(list(&["a", "b"], &[])).unwrap_err().lines();
        assert!(several.contains("a, b"), "{several}");
        let none = only_agent(list(&[], &[])).unwrap_err().lines();
        assert!(none.contains("duragent init"), "{none}");
        let broken = only_agent(list(&[], &["c"])).unwrap_err().lines();
        assert!(
            broken.contains("agent c cannot be used: a.yaml:1:1: no"),
            "{broken}"
        );
    }
}
