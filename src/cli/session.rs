//! `duragent session`: one file for each of its longer commands.

mod check;
mod export;
mod import;
mod search;
mod show;
mod story;

use crate::cli::args::{SessionCommand, SessionListArgs, SessionNameArgs};
use crate::cli::error::CliResult;
use crate::cli::output::tell;
use crate::cli::session_table;
use crate::cli::settings::ClientSettings;
use crate::cli::source::SessionSource;
use crate::domain::event::Status;
use crate::workspace::sessions::SessionFilter;

/// Looks at sessions.
pub(super) fn run(command: &SessionCommand, settings: &ClientSettings) -> CliResult {
    match command {
        SessionCommand::List(args) => list(args, settings),
        SessionCommand::Search(args) => search::run(args, settings),
        SessionCommand::Show(args) => show::run(args, settings),
        SessionCommand::Export(args) => export::run(args, settings),
        SessionCommand::End(args) => end(args, settings),
        SessionCommand::Delete(args) => delete(args, settings),
        SessionCommand::Check(args) => check::run(args, settings),
        SessionCommand::Import(args) => import::run(args, settings),
    }
}

fn list(args: &SessionListArgs, settings: &ClientSettings) -> CliResult {
    let filter = SessionFilter {
        agent: args.agent.clone(),
        status: args.status.map(Status::from),
        ..SessionFilter::default()
    };
    let sessions = SessionSource::find(&args.server, settings)?.list(&filter, args.limit)?;
    session_table::print(&sessions, args.output.is_json())
}

fn end(args: &SessionNameArgs, settings: &ClientSettings) -> CliResult {
    let place = SessionSource::find(&args.server, settings)?;
    let id = place.named(&args.session)?;
    place.end(&id)?;
    tell(&format!("ended {id}"));
    Ok(())
}

fn delete(args: &SessionNameArgs, settings: &ClientSettings) -> CliResult {
    let place = SessionSource::find(&args.server, settings)?;
    let id = place.named(&args.session)?;
    place.delete(&id)?;
    tell(&format!("deleted {id}"));
    Ok(())
}
