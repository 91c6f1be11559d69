//! `duragent policy`: what an agent may do, asked of its files.

use crate::cli::args::{PolicyCommand, PolicyTestArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::settings::ClientSettings;
use crate::terminal::clean::clean;
use crate::workspace::explain::{self, Explained, PolicyQuestion, PolicyQuestionError};

/// Asks a policy.
pub(super) fn run(command: &PolicyCommand, settings: &ClientSettings) -> CliResult {
    match command {
        PolicyCommand::Test(args) => test(args, settings),
    }
}

fn test(args: &PolicyTestArgs, settings: &ClientSettings) -> CliResult {
    settings.check_found()?;
    let explained = explain::explain(&PolicyQuestion {
        workspace: &settings.workspace,
        agents_dir: &settings.agents_dir,
        providers: &settings.providers,
        agent: &args.agent,
        call: &args.call,
        only_reads: args.effect == "read",
    })
    .map_err(|error| match error {
        PolicyQuestionError::NoCall => CliError::usage(error.to_string()),
        PolicyQuestionError::NoAgent(_) | PolicyQuestionError::Policy(_) => CliError::from(error),
    })?;
    if args.output.is_json() {
        output::print_json(&explained)?;
    } else {
        output::print(&clean(&text(&explained)))?;
    }
    Ok(())
}

/// The verdict, then each part and what decides of it.
fn text(explained: &Explained) -> String {
    let mut lines = format!("{}\n", explained.verdict);
    for part in &explained.parts {
        let place = match (&part.file, part.line) {
            (Some(file), Some(line)) => format!(" ({}:{line})", file.display()),
            _ => String::new(),
        };
        let indented = part.text.replace('\n', "\n          ");
        lines.push_str(&format!("  {:<6}  {indented}\n", part.verdict));
        lines.push_str(&format!("          {}{place}\n", part.reason));
        if let Some(missed) = &part.missed {
            let place = format!("{}:{}", missed.file.display(), missed.line);
            let reason = &missed.reason;
            lines.push_str(&format!(
                "          `{}` ({place}) does not count: {reason}\n",
                missed.pattern
            ));
        }
    }
    if let Some(remark) = &explained.remark {
        lines.push_str(&format!("note: {remark}\n"));
    }
    lines
}
