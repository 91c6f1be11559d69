//! `duragent completions`: what a shell needs to complete this command.

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionsArgs};
use crate::cli::failure::Outcome;
use crate::cli::output;

/// Prints the script for one shell.
pub(super) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "duragent", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(())
}
