//! `duragent session show`: what was said and done, and what goes on.

use std::thread;
use std::time::Duration;

use crate::cli::args::SessionShowArgs;
use crate::cli::error::CliResult;
use crate::cli::output;
use crate::cli::session::story::Story;
use crate::cli::settings::ClientSettings;
use crate::cli::source::SessionSource;
use crate::domain::event::{Event, Record};
use crate::domain::ids::Seq;

/// Prints a session; with `--follow` until it ends, or the command is ended.
pub(super) fn run(args: &SessionShowArgs, settings: &ClientSettings) -> CliResult {
    /// A follower holds nothing open on the server, and so counts as no client.
    const LOOK_EVERY: Duration = Duration::from_millis(300);
    let place = SessionSource::find(&args.name.server, settings)?;
    let id = place.named(&args.name.session)?;
    // A log that holds nothing would be shown as nothing.
    place.session(&id)?;
    let mut story = Story::new(settings.is_verbose);
    let mut is_over = false;
    let mut last = Seq::ZERO;
    loop {
        last = place.each_record(&id, last, |record| {
            is_over |= matches!(record.event, Event::SessionEnd { .. });
            print(record, args.output.is_json(), &mut story)
        })?;
        if is_over || !args.follow {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn print(record: &Record, as_json: bool, story: &mut Story) -> CliResult {
    let text = if as_json {
        serde_json::to_string(record)? + "\n"
    } else {
        story.tell(record)
    };
    Ok(output::print(&text)?)
}
