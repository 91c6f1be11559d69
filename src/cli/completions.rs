//! `duragent completions`: what a shell needs to complete this command.

use clap::CommandFactory;

use crate::cli::args::{CompletionsArgs, Invocation};
use crate::cli::error::CliResult;
use crate::cli::output;

/// Prints the script for one shell.
pub(super) fn run(args: &CompletionsArgs) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Invocation::command(),
        "duragent",
        &mut script,
    );
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(())
}
