//! `duragent validate`: is what a user wrote what the server expects?

use crate::cli::args::{Global, ValidateArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{output, settings};
use crate::runtime::{self, Validated};
use crate::terminal::clean::clean;

/// Prints every problem of a file or an agent's folder, one line each.
pub(super) fn run(args: &ValidateArgs, global: &Global) -> Outcome {
    let shown = args.path.display();
    if !args.path.exists() {
        return Err(Failure::usage(format!("{shown} does not exist")));
    }
    let config = settings::client_settings(global).ok();
    let config = config.map(|settings| settings.config);
    let Validated {
        problems,
        not_counted,
    } = runtime::validate(&args.path, config.as_ref());
    if let Some(said) = not_counted {
        output::print(&clean(&format!("{said}\n")))?;
    }
    if problems.is_empty() {
        output::print(&format!("{shown} is valid\n"))?;
        return Ok(());
    }
    output::print(&(problems.join("\n") + "\n"))?;
    let count = problems.len();
    let word = if count == 1 { "problem" } else { "problems" };
    Err(Failure::usage(format!("{shown} has {count} {word}")))
}
