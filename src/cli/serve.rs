//! `duragent serve`, and what else is done with the workspace's server.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, setsid};
use serde::Serialize;

use crate::cli::args::{Global, ServeAction, ServeArgs};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::new_workspace::make_workspace;
use crate::cli::output::{self, tell};
use crate::cli::{settings, trust};
use crate::client::Client;
use crate::config::ConfigError;
use crate::runtime;
use crate::runtime::options::ServeOptions;
use crate::runtime::workspace::{self, Holder, Starter, url_of};

/// Runs the server until it is stopped, or does something with the one that runs.
pub(super) fn run(args: ServeArgs, global: &Global) -> Outcome {
    match args.action {
        Some(ServeAction::Stop) => stop(&settings::workspace(global)?),
        Some(ServeAction::Status { json }) => status(&settings::workspace(global)?, json),
        None => serve(args, global),
    }
}

fn serve(args: ServeArgs, global: &Global) -> Outcome {
    let located = settings::locate(global);
    // Whoever names the agents says where they are: a workspace beside them may be made.
    let is_named = args.agents_dir.is_some() || agents_are_named();
    if let Some(missing) = located.missing.as_ref().filter(|_| !is_named) {
        if !settings::is_interactive() {
            return Err(settings::no_workspace(missing));
        }
        make_workspace(missing, global)?;
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
        starter: match args.detached {
            true => Starter::Client,
            false => Starter::Person,
        },
        agents_dir: args.agents_dir,
        log_level: global.log_level(),
        resume: args.resume.into(),
    })
    .map_err(serve_failure)
}

fn agents_are_named() -> bool {
    std::env::var_os("DURAGENT_AGENTS_DIR").is_some_and(|value| !value.is_empty())
}

/// A configuration that is wrong is wrong usage.
fn serve_failure(error: anyhow::Error) -> Failure {
    match error.downcast::<ConfigError>() {
        Ok(error) => Failure::usage(error.to_string()),
        Err(error) => {
            let hint = hint(&error);
            let failure = Failure::from(error);
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

/// Asks the server to stop, and waits until it has.
pub(super) fn stop(folder: &Path) -> Outcome {
    /// A server drains for 10 seconds by default, and longer where it was told to.
    const STOP_LIMIT: Duration = Duration::from_secs(60);
    let holder = workspace::holder(folder).ok_or_else(|| none_runs(folder))?;
    terminate(&holder)?;
    let deadline = Instant::now() + STOP_LIMIT;
    while workspace::holder(folder).is_some_and(|now| now.pid == holder.pid) {
        if Instant::now() > deadline {
            let pid = holder.pid;
            return Err(Failure::new(format!(
                "the server (pid {pid}) has not stopped yet"
            )));
        }
        // Nothing tells when a process that is no child has gone.
        thread::sleep(Duration::from_millis(20));
    }
    tell(&format!("stopped the server (pid {})", holder.pid));
    Ok(())
}

/// A signal, and not a request: it needs no token, and works while the server is starting.
fn terminate(holder: &Holder) -> Outcome {
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new("the workspace's lock names no process"))?;
    kill_process(pid, Signal::TERM)
        .with_context(|| format!("cannot stop the server (pid {})", holder.pid))?;
    Ok(())
}

/// What `serve status --json` prints.
#[derive(Debug, Serialize)]
struct ServerStatus {
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

fn status(folder: &Path, json: bool) -> Outcome {
    let status = look(folder);
    if json {
        output::print_json(&status)?;
    } else if let Some(pid) = status.pid {
        let place = status.url.as_deref().unwrap_or("no address yet");
        let version = status.version.as_deref().unwrap_or("unknown version");
        let state = if status.ready { "ready" } else { "not ready" };
        output::print(&format!("{place}  {state}  {version}  pid {pid}\n"))?;
    }
    if status.running {
        return Ok(());
    }
    Err(none_runs(folder))
}

fn look(folder: &Path) -> ServerStatus {
    const LOOK_LIMIT: Duration = Duration::from_secs(2);
    let holder = workspace::holder(folder);
    let url = holder
        .as_ref()
        .and_then(|holder| holder.address)
        .map(url_of);
    let client = url.as_deref().map(|url| Client::new(url, None));
    let version = |client: &Client| {
        let answer = client.version().ok()?;
        Some(answer.get("version")?.as_str()?.to_owned())
    };
    let ready = client
        .as_ref()
        .is_some_and(|client| client.is_ready(LOOK_LIMIT));
    ServerStatus {
        running: holder.is_some(),
        pid: holder.map(|holder| holder.pid),
        // One that does not get ready would not tell its version either.
        version: client.filter(|_| ready).as_ref().and_then(version),
        url,
        ready,
    }
}

fn none_runs(folder: &Path) -> Failure {
    Failure::new(format!("no server runs for {}", folder.display()))
        .hint("start one with: duragent serve")
}
