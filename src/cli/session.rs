//! `duragent session`, and how sessions are listed and named on the command line.

mod check;
mod export;
mod import;
pub(super) mod place;
mod show;
mod story;

use std::time::{Duration, SystemTime};

use crate::cli::args::{SessionCommand, SessionListArgs, SessionNameArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, tell};
use crate::cli::session::place::Place;
use crate::cli::settings::ClientSettings;
use crate::client::Client;
use crate::client::wire::Session;
use crate::domain::event::Status;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::terminal::clean::one_line;
use crate::terminal::table::table;
use crate::workspace::sessions::Filter;

const AGENT_WIDTH: usize = 30;
const TITLE_WIDTH: usize = 40;
/// Whoever has more sessions than this names the one that is meant in full.
const SEARCHED_MAX: usize = 10_000;

/// Looks at sessions.
pub(super) fn run(command: &SessionCommand, settings: &ClientSettings) -> Outcome {
    match command {
        SessionCommand::List(args) => list(args, settings),
        SessionCommand::Show(args) => show::run(args, settings),
        SessionCommand::Export(args) => export::run(args, settings),
        SessionCommand::End(args) => end(args, settings),
        SessionCommand::Delete(args) => delete(args, settings),
        SessionCommand::Check(args) => check::run(args, settings),
        SessionCommand::Import(args) => import::run(args, settings),
    }
}

fn list(args: &SessionListArgs, settings: &ClientSettings) -> Outcome {
    let filter = Filter {
        agent: args.agent.as_deref(),
        status: args.status.map(Status::from),
    };
    let sessions = Place::find(&args.server, settings)?.list(filter, args.limit)?;
    print(&sessions, args.output.is_json())
}

fn end(args: &SessionNameArgs, settings: &ClientSettings) -> Outcome {
    let place = Place::find(&args.server, settings)?;
    let id = place.named(&args.session)?;
    place.end(&id)?;
    tell(&format!("ended {id}"));
    Ok(())
}

fn delete(args: &SessionNameArgs, settings: &ClientSettings) -> Outcome {
    let place = Place::find(&args.server, settings)?;
    let id = place.named(&args.session)?;
    place.delete(&id)?;
    tell(&format!("deleted {id}"));
    Ok(())
}

/// Prints a list of sessions.
pub(super) fn print(sessions: &[Session], as_json: bool) -> Outcome {
    if as_json {
        output::print_json(&sessions)?;
    } else {
        let now = Timestamp::from(SystemTime::now());
        output::print(&session_table(sessions, now))?;
    }
    Ok(())
}

/// Sessions that somebody can attach to, newest first.
pub(super) fn attachable(client: &Client) -> Result<Vec<Session>, Failure> {
    let mut sessions = client.sessions(&[], SEARCHED_MAX)?;
    sessions.retain(is_attachable);
    Ok(sessions)
}

/// Whether a session is not over.
pub(super) fn is_attachable(session: &Session) -> bool {
    session.status != Status::Completed
}

/// The session that `text` names: its id, or the beginning or the end of the id of only one that
/// is not over, with or without the prefix that all have.
pub(super) fn find(client: &Client, text: &str) -> Result<SessionId, Failure> {
    if let Ok(id) = SessionId::parse(text) {
        return Ok(id);
    }
    let sessions = attachable(client)?.into_iter();
    pick(sessions.map(|session| session.session_id), text)
        .map_err(|failure| failure.hint("duragent attach --list shows what there is"))
}

/// The only one of `ids` that `text` names, by its beginning or its end.
fn pick(ids: impl Iterator<Item = SessionId>, text: &str) -> Result<SessionId, Failure> {
    let mut found: Vec<SessionId> = ids.filter(|id| is_named(id, text)).collect();
    match (found.pop(), found.len()) {
        (Some(id), 0) => Ok(id),
        (Some(_), others) => Err(Failure::usage(format!(
            "{} sessions are called {text}…",
            others + 1
        ))),
        (None, _) => Err(Failure::new(format!("there is no session {text}"))),
    }
}

/// Whether `text` is the beginning or the end of an id. Ids of one time begin alike, so that their
/// ends are shorter names; two letters are none.
fn is_named(id: &SessionId, text: &str) -> bool {
    const CHARS_MIN: usize = 4;
    let digits = &id.as_str()[SessionId::PREFIX.len()..];
    let typed = text.strip_prefix(SessionId::PREFIX).unwrap_or(text);
    let typed = typed.to_ascii_uppercase();
    typed.len() >= CHARS_MIN && (digits.starts_with(&typed) || digits.ends_with(&typed))
}

fn session_table(sessions: &[Session], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            vec![
                session.session_id.to_string(),
                one_line(&session.agent, AGENT_WIDTH),
                session.status.to_string(),
                age(now.since(session.updated_at)),
                session.message_count.to_string(),
                one_line(session.title.as_deref().unwrap_or_default(), TITLE_WIDTH),
            ]
        })
        .collect();
    let heads = ["ID", "AGENT", "STATUS", "LAST USED", "MESSAGES", "TITLE"];
    table(&heads, &rows)
}

/// How long ago, in the largest unit that fits.
fn age(since: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match since.as_secs() {
        seconds if seconds < MINUTE => format!("{seconds} s ago"),
        seconds if seconds < HOUR => format!("{} min ago", seconds / MINUTE),
        seconds if seconds < DAY => format!("{} h ago", seconds / HOUR),
        seconds => format!("{} d ago", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_the_beginning_or_the_end_of_its_id() {
        let id = SessionId::parse("session_01J0000000000000000000ABCD").unwrap();
        for (text, expected) in [
            ("session_01J0", true),
            ("01J00", true),
            ("01j00", true),
            ("ABCD", true),
            ("abcd", true),
            ("BCD", false),
            ("session_", false),
            ("", false),
            ("ABCE", false),
        ] {
            assert_eq!(is_named(&id, text), expected, "{text:?}");
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }
}
