//! Lists of sessions, for people and for programs.

use std::time::{Duration, SystemTime};

use crate::cli::error::CliResult;
use crate::cli::output;
use crate::domain::time::Timestamp;
use crate::terminal::clean::one_line;
use crate::terminal::table::table;
use crate::wire::SessionBody;

const AGENT_WIDTH: usize = 30;
const TITLE_WIDTH: usize = 40;

/// Prints a list of sessions.
pub(super) fn print(sessions: &[SessionBody], as_json: bool) -> CliResult {
    if as_json {
        output::print_json(&sessions)?;
    } else {
        let now = Timestamp::from(SystemTime::now());
        output::print(&session_table(sessions, now))?;
    }
    Ok(())
}

fn session_table(sessions: &[SessionBody], now: Timestamp) -> String {
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
pub(super) fn age(since: Duration) -> String {
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
