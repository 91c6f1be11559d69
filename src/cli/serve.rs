//! `duragent serve`: the server itself. What is done with one that runs is in `running`.

use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::Context;
use rustix::process::setsid;

use crate::cli::args::{Global, ServeAction, ServeArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::new_workspace::make_workspace;
use crate::cli::{running, settings, trust};
use crate::config::ConfigError;
use crate::runtime;
use crate::runtime::options::ServeOptions;
use crate::workspace::holder::Starter;

/// Runs the server until it is stopped, or does something with the one that runs.
pub(super) fn run(args: ServeArgs, global: &Global) -> CliResult {
    match args.action {
        Some(ServeAction::Stop(server)) => running::stop(&server, global),
        Some(ServeAction::Status { server, output }) => {
            running::status(&server, global, output.is_json())
        }
        Some(ServeAction::ReloadAgents { server, output }) => {
            running::reload_agents(&server, global, output.is_json())
        }
        None => serve(args, global),
    }
}

fn serve(args: ServeArgs, global: &Global) -> CliResult {
    let located = settings::locate(global);
    if let Some(missing) = located.missing.filter(|_| !agents_are_named()) {
        if !settings::is_interactive() {
            return Err(settings::no_workspace(&missing));
        }
        make_workspace(&missing, global)?;
    }
    if args.detached {
        // So that closing the terminal, or Ctrl+C in it, does not reach this process.
        setsid().context("cannot leave the terminal")?;
    } else {
        // Whoever needs the settings says what is wrong with them.
        if let Ok(settings) = settings::client_settings(global) {
            trust::offer(&settings)?;
        }
    }
    runtime::serve::serve(&ServeOptions {
        origin: settings::locate(global).origin,
        workspace: global.workspace.clone(),
        host: args.host,
        port: args.port,
        starter: if args.detached {
            Starter::Client
        } else {
            Starter::Person
        },
        agents_dir: global.agents_dir.clone(),
        ends_after: args
            .ephemeral
            .map(|seconds| Duration::from_secs(seconds.into())),
        log_level: global.log_level(),
        resume: args.resume.into(),
    })
    .map_err(serve_failure)
}

fn agents_are_named() -> bool {
    std::env::var_os("DURAGENT_AGENTS_DIR").is_some_and(|value| !value.is_empty())
}

/// A configuration that is wrong is wrong usage.
fn serve_failure(error: anyhow::Error) -> CliError {
    match error.downcast::<ConfigError>() {
        Ok(error) => CliError::usage(error.to_string()),
        Err(error) => {
            let hint = hint(&error);
            let failure = CliError::from(error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
    }
}

/// What helps where the system refuses what a server needs.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())?;
    match cause.kind() {
        ErrorKind::AddrInUse => Some(
            "another program listens there: name another port (`--port`, `server.port`), or 0 for \
             any free one; `ss -ltnp` says who it is",
        ),
        ErrorKind::AddrNotAvailable => {
            Some("this machine has no such address; `ip address` lists those it has")
        }
        _ => None,
    }
}
