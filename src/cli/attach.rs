//! `duragent attach`: go on with a session.

use std::io::{self, BufRead, IsTerminal};

use crate::cli::args::AttachArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::tell;
use crate::cli::settings::ClientSettings;
use crate::cli::source::SessionSource;
use crate::cli::{chat, server, session_names, session_table};
use crate::client::ApiClient;
use crate::client::Attaching;
use crate::domain::ids::SessionId;
use crate::terminal::clean::one_line;
use crate::terminal::watch;
use crate::wire::SessionBody;
use crate::workspace::sessions::SessionFilter;

/// Lists what can be attached to, or attaches.
pub(super) fn run(args: &AttachArgs, settings: &ClientSettings) -> CliResult {
    let (named, server_args) = &args.place.told_apart(args.session.as_deref())?;
    if args.list {
        if let Some(session) = named {
            let why = format!("`--list` cannot be used with the session {session}");
            return Err(CliError::usage(why));
        }
        let mut sessions = SessionSource::find(server_args, settings)?
            .list(&SessionFilter::default(), usize::MAX)?;
        sessions.retain(session_names::is_attachable);
        return session_table::print(&sessions, args.output.is_json());
    }
    let client = server::connect(server_args, settings)?;
    let id = match named {
        Some(text) => session_names::find(&client, text)?,
        None => only_one(session_names::attachable(&client)?)?,
    };
    let agent = check(&client, &id)?.agent;
    let attaching = Attaching {
        history: args.history.into(),
        is_readonly: args.readonly,
        detaches_others: args.detach_others,
    };
    if args.readonly {
        client.refuse_older("it does not let anybody look on")?;
        tell(&format!("{id}   looking on, Ctrl+C leaves"));
        return Ok(watch::run(client, id, attaching)?);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CliError::usage("attach needs a terminal")
            .hint("a program sends one message with: duragent chat --session ID"));
    }
    let client = chat::with_key(client, &agent, server_args, settings)?;
    let generation = chat::note_older(&client)?;
    let comes_back = chat::back_to(&id, server_args);
    chat::talk(client, generation, id, attaching, settings, &comes_back)
}

/// A session that does not exist is said before the screen is taken over.
fn check(client: &ApiClient, id: &SessionId) -> Result<SessionBody, CliError> {
    match client.session(id) {
        Ok(session) => Ok(session),
        Err(error) if error.status() == Some(404) => {
            Err(CliError::new(format!("there is no session {id}"))
                .hint("duragent attach --list shows what there is"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The only session, or the one that the user chooses.
fn only_one(mut sessions: Vec<SessionBody>) -> Result<SessionId, CliError> {
    match sessions.len() {
        0 => {
            Err(CliError::new("there is no session to attach to")
                .hint("begin one with: duragent chat"))
        }
        1 => Ok(sessions.remove(0).session_id),
        _ if io::stdin().is_terminal() => choose(&sessions),
        count => Err(CliError::usage(format!("there are {count} sessions"))
            .hint("name one; duragent attach --list shows them")),
    }
}

fn choose(sessions: &[SessionBody]) -> Result<SessionId, CliError> {
    /// What fits on a screen; older ones can be named.
    const OFFERED_MAX: usize = 20;
    const TITLE_WIDTH: usize = 50;
    let offered = &sessions[..sessions.len().min(OFFERED_MAX)];
    for (place, session) in offered.iter().enumerate() {
        let title = one_line(session.title.as_deref().unwrap_or_default(), TITLE_WIDTH);
        let agent = one_line(&session.agent, TITLE_WIDTH);
        let (number, id, status) = (place + 1, &session.session_id, session.status);
        tell(&format!("{number:3}  {id}  {agent}  {status}  {title}"));
    }
    tell("which one? (number)");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    chosen(offered, &answer)
        .ok_or_else(|| CliError::usage("no session was chosen").hint("duragent attach ID"))
}

fn chosen(offered: &[SessionBody], answer: &str) -> Option<SessionId> {
    let number: usize = answer.trim().parse().ok()?;
    let session = offered.get(number.checked_sub(1)?)?;
    Some(session.session_id.clone())
}
