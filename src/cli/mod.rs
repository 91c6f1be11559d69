//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. A failure is one line on standard
//! error, `duragent: …`, and a `hint: …` when one is known. Only this folder and `terminal` write
//! to the terminal.

pub mod args;

mod absent;
mod agent;
mod ask;
mod attach;
mod chat;
mod completions;
mod doctor;
mod error;
mod gateway;
mod init;
mod models;
mod new_workspace;
mod output;
mod policy;
mod running;
mod serve;
mod server;
mod session;
mod session_names;
mod session_table;
mod settings;
mod source;
mod torture;
mod trust;
mod validate;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;

use crate::base::tls;
use crate::cli::args::{Command, Global, Invocation};
use crate::cli::error::{CliError, CliResult};
use crate::cli::settings::client_settings;

/// Does what the command line says; its first item is the program's name.
pub fn run(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Invocation::try_parse_from(line) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match carry_out(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_output() => ExitCode::SUCCESS,
        Err(failure) => {
            output::tell(failure.lines().trim_end());
            failure.exit_code()
        }
    }
}

fn carry_out(cli: Invocation) -> CliResult {
    let Invocation { global, command } = cli;
    if !matches!(command, Command::Serve(_) | Command::ServeFaulty(_)) {
        start_logging(&global, default_level(&command));
    }
    if let Some(file) = &global.cacert {
        tls::trust_also(file).map_err(|error| {
            CliError::usage(format!("--cacert names {}, which {error}", file.display()))
        })?;
    }
    match command {
        Command::Serve(args) => serve::run(args, &global),
        Command::Chat(args) => chat::run(&args, &global),
        Command::Attach(args) => attach::run(&args, &client_settings(&global)?),
        Command::Session(command) => session::run(&command, &client_settings(&global)?),
        Command::Agent(command) => agent::run(&command, &global),
        Command::Gateway(command) => gateway::run(&command, &client_settings(&global)?),
        Command::Policy(command) => policy::run(&command, &client_settings(&global)?),
        Command::Init(args) => init::run(&args, &global),
        Command::Validate(args) => validate::run(&args, &global),
        Command::Models(args) => models::run(&args, &global),
        Command::Doctor(args) => doctor::run(&args, &global),
        Command::Completions(args) => completions::run(&args),
        Command::Torture(args) => torture::run(&args),
        Command::ServeFaulty(args) => torture::run_faulty(&args, &global),
        Command::Upgrade(_) => absent::upgrade(),
        Command::Login(_) => absent::login(),
    }
}

/// What a torture breaks on purpose is not worth a line each.
fn default_level(command: &Command) -> LevelFilter {
    match command {
        Command::Torture(_) => LevelFilter::Off,
        _ => LevelFilter::Warn,
    }
}

/// The server starts its own, by its configuration.
fn start_logging(global: &Global, default: LevelFilter) {
    let level = global.log_level().unwrap_or(default);
    env_logger::Builder::new()
        .filter_module("duragent", level)
        .format(|out, record| writeln!(out, "duragent: {}", record.args()))
        .init();
}

/// Help, the version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    // A closed output leaves nobody to tell.
    drop(match text.strip_prefix("error: ") {
        Some(wrong) => write!(io::stderr().lock(), "duragent: {wrong}"),
        None if error.use_stderr() => write!(io::stderr().lock(), "{text}"),
        None => write!(io::stdout().lock(), "{text}"),
    });
    ExitCode::from(code)
}
