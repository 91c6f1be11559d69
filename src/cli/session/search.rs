//! `duragent session search`: messages by their words.

use std::time::SystemTime;

use crate::cli::args::SessionSearchArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::session_table::age;
use crate::cli::settings::ClientSettings;
use crate::cli::source::SessionSource;
use crate::domain::search::{FoundMessage, SINCE_RULE, since};
use crate::domain::time::Timestamp;
use crate::terminal::clean::one_line;

const NAME_WIDTH: usize = 40;

/// Prints the messages that fit best.
pub(super) fn run(args: &SessionSearchArgs, settings: &ClientSettings) -> CliResult {
    let now = Timestamp::from(SystemTime::now());
    let since = args.since.as_deref().map(|text| {
        since(text, now).ok_or_else(|| CliError::usage(format!("--since must be {SINCE_RULE}")))
    });
    let since = since.transpose()?;
    let text = args.words.join(" ");
    let place = SessionSource::find(&args.server, settings)?;
    let found = place.search(&text, args.agent.as_deref(), since, args.limit)?;
    if args.output.is_json() {
        return Ok(output::print_json(&found)?);
    }
    if found.is_empty() {
        output::tell("no message fits");
    }
    let shown: Vec<String> = found.iter().map(|one| shown(one, now)).collect();
    Ok(output::print(&shown.join("\n"))?)
}

fn shown(one: &FoundMessage, now: Timestamp) -> String {
    let who = match (&*one.role, &one.sender_name) {
        ("assistant", _) => &one.agent,
        (_, Some(name)) => name,
        (_, None) => "you",
    };
    let title = one
        .title
        .as_deref()
        .map(|title| one_line(title, NAME_WIDTH));
    let title = title.map(|title| format!("  {title}"));
    format!(
        "{} [{}]  {}  {}{}\n    {}\n",
        one.session_id,
        one.seq,
        age(now.since(one.created_at)),
        one_line(who, NAME_WIDTH),
        title.unwrap_or_default(),
        one_line(&one.snippet, usize::MAX),
    )
}
