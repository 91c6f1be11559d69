//! `duragent validate`: is what a user wrote what the server expects?

use crate::cli::args::ValidateArgs;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::config::ConfigSource;
use crate::runtime;

/// Prints every problem of a file or an agent's folder, one line each. `config` describes
/// providers that agents may name.
pub(super) fn run(args: &ValidateArgs, config: &ConfigSource) -> Outcome {
    let shown = args.path.display();
    if !args.path.exists() {
        return Err(Failure::usage(format!("{shown} does not exist")));
    }
    let problems = runtime::validate_with(&args.path, config);
    if problems.is_empty() {
        output::print(&format!("{shown} is valid\n"))?;
        return Ok(());
    }
    output::print(&(problems.join("\n") + "\n"))?;
    let count = problems.len();
    let word = if count == 1 { "problem" } else { "problems" };
    Err(Failure::usage(format!("{shown} has {count} {word}")))
}
