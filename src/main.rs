//! The `duragent` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    duragent::cli::run(std::env::args_os())
}
