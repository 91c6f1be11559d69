//! `duragent chat`: talk to an agent, or let a program do so.

use std::io::{self, IsTerminal, Read};

use crate::cli::args::ChatArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::tell;
use crate::cli::settings::ClientSettings;
use crate::cli::{server, session};
use crate::client::Client;
use crate::client::stream::Attaching;
use crate::client::wire::AgentInfo;
use crate::domain::ids::SessionId;
use crate::terminal::chat::{self, Left};
use crate::terminal::clean::one_line;
use crate::terminal::oneshot::{self, Answer};
use crate::terminal::question;

/// What is shown of a session that `chat --session` goes on with.
const HISTORY: usize = 20;

/// Opens a session and talks in it.
pub(super) fn run(args: &ChatArgs, settings: &ClientSettings) -> Outcome {
    let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    // Before a server is started for nothing.
    let piped = if is_interactive {
        None
    } else {
        Some(read_message()?)
    };
    let client = server::connect(&args.server, settings)?;
    let id = match &args.session {
        Some(text) => session::find(&client, text)?,
        None => create(&client, args.agent.as_deref())?,
    };
    match piped {
        Some(text) => one_message(&client, &id, &text),
        None => talk(client, id, Attaching::after(HISTORY), settings),
    }
}

/// Holds a conversation until the user leaves, and says how to come back.
pub(super) fn talk(
    client: Client,
    id: SessionId,
    attaching: Attaching,
    settings: &ClientSettings,
) -> Outcome {
    tell(&format!("{id}   /help, Ctrl+D leaves"));
    let typed_before = settings.workspace.join("chat_history");
    match chat::run(client, id.clone(), attaching, &typed_before)? {
        Left::Detached => tell(&format!("detached; come back with: duragent attach {id}")),
        Left::Ended => {}
    }
    Ok(())
}

fn create(client: &Client, agent: Option<&str>) -> Result<SessionId, Failure> {
    let agent = match agent {
        Some(agent) => agent.to_owned(),
        None => only_agent(client.agents()?)?,
    };
    match client.create_session(&agent) {
        Ok(created) => Ok(created.session_id),
        Err(error) if error.status() == Some(404) => Err(missing(&agent, &client.agents()?)),
        Err(error) => Err(error.into()),
    }
}

fn only_agent(mut agents: Vec<AgentInfo>) -> Result<String, Failure> {
    match (agents.pop(), agents.len()) {
        (Some(agent), 0) => Ok(agent.name),
        (None, _) => {
            Err(Failure::new("there is no agent yet").hint("make one with: duragent init"))
        }
        (Some(last), _) => {
            agents.push(last);
            let hint = format!("choose one with --agent: {}", names(&agents));
            Err(Failure::usage("there is more than one agent").hint(hint))
        }
    }
}

fn missing(agent: &str, agents: &[AgentInfo]) -> Failure {
    let failure = Failure::new(format!("there is no agent {agent}"));
    if agents.is_empty() {
        return failure.hint("make one with: duragent init");
    }
    failure.hint(format!("there are: {}", names(agents)))
}

fn names(agents: &[AgentInfo]) -> String {
    const NAME_WIDTH: usize = 64;
    let names: Vec<String> = agents
        .iter()
        .map(|agent| one_line(&agent.name, NAME_WIDTH))
        .collect();
    names.join(", ")
}

/// All of standard input, as one message.
fn read_message() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() {
        return Err(Failure::usage("standard input holds no message"));
    }
    Ok(text.to_owned())
}

fn one_message(client: &Client, id: &SessionId, text: &str) -> Outcome {
    log::info!("session {id}");
    match oneshot::send(client, id, text, &mut io::stdout().lock())? {
        Answer::Complete => Ok(()),
        Answer::Cancelled => Err(Failure::new("the reply was cancelled")),
        Answer::Failed(message) => Err(Failure::new(message)),
        Answer::NeedsApproval(asked) => Err(Failure::new(format!(
            "the agent waits for an approval of{}",
            question::in_words(&asked)
        ))
        .hint(format!("answer it with: duragent attach {id}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(names: &[&str]) -> Vec<AgentInfo> {
        let agent = |name: &&str| AgentInfo {
            name: (*name).to_owned(),
            description: None,
            version: None,
        };
        names.iter().map(agent).collect()
    }

    #[test]
    fn the_only_agent_is_taken_and_several_are_listed() {
        assert_eq!(only_agent(agents(&["a"])).unwrap(), "a");
        let several = only_agent(agents(&["a", "b"])).unwrap_err().lines();
        assert!(several.contains("a, b"), "{several}");
        let none = only_agent(agents(&[])).unwrap_err().lines();
        assert!(none.contains("duragent init"), "{none}");
    }
}
