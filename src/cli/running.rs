//! What is done with a server that runs: `duragent serve stop`, `status` and `reload-agents`.
//!
//! The workspace's own server is found by the workspace's lock and stopped by a signal, so that neither needs
//! a token. One that is named by a port or an address is only asked, as any client asks; when it is the
//! workspace's own all the same, it is treated as that.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::cli::args::{Global, RunningArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::{self, tell};
use crate::cli::server::address_of;
use crate::cli::settings;
use crate::client::{ApiClient, ServerGeneration};
use crate::config::ServerConfig;
use crate::terminal::clean::clean;
use crate::wire::ReloadBody;
use crate::workspace::holder::{self, LockHolder, url_of};

/// A server drains for 10 seconds by default, and longer where it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Nothing tells when a process that is no child has gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// A server that somebody means.
enum Meant {
    /// The one of the workspace, if it runs.
    Own(PathBuf),
    /// The one at an address.
    At(String),
}

impl Meant {
    /// Errors: no server is named, and there is no workspace.
    fn find(args: &RunningArgs, global: &Global) -> Result<Meant, CliError> {
        let own = settings::workspace(global);
        let Some(url) = named(args)? else {
            return own.map(Meant::Own);
        };
        let asked = url.replace("//localhost:", "//127.0.0.1:");
        let is_at = |holder: LockHolder| holder.address.map(url_of).as_deref() == Some(&*asked);
        Ok(match own {
            Ok(folder) if holder::current(&folder).is_some_and(is_at) => Meant::Own(folder),
            _ => Meant::At(url),
        })
    }
}

/// The address that is named, without a `/` at its end.
fn named(args: &RunningArgs) -> Result<Option<String>, CliError> {
    if let Some(url) = &args.server.server {
        return address_of(url).map(Some);
    }
    let Some(port) = args.port else {
        return Ok(None);
    };
    let host = args.host.as_deref().unwrap_or("127.0.0.1");
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let url = if bare_v6 {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    };
    Ok(Some(url))
}

// --- stop ---

/// Asks a server to stop, and waits until it has.
pub(super) fn stop(args: &RunningArgs, global: &Global) -> CliResult {
    match Meant::find(args, global)? {
        Meant::Own(folder) => stop_own(&folder),
        Meant::At(url) => stop_at(&url, args),
    }
}

/// As [`stop`], of the server of a workspace.
pub(super) fn stop_own(folder: &Path) -> CliResult {
    let holder = holder::current(folder).ok_or_else(|| none_runs(folder))?;
    terminate(&holder)?;
    let has_gone = || holder::current(folder).is_none_or(|now| now.pid != holder.pid);
    if !comes_true(has_gone) {
        let pid = holder.pid;
        return Err(CliError::new(format!(
            "the server (pid {pid}) has not stopped yet"
        )));
    }
    tell(&format!("stopped the server (pid {})", holder.pid));
    Ok(())
}

/// A signal, and not a request: it needs no token, and works while the server is starting.
fn terminate(holder: &LockHolder) -> CliResult {
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| CliError::new("the workspace's lock names no process"))?;
    kill_process(pid, Signal::TERM)
        .with_context(|| format!("cannot stop the server (pid {})", holder.pid))?;
    Ok(())
}

fn stop_at(url: &str, args: &RunningArgs) -> CliResult {
    // Another program may listen there, and is shown no token.
    let stranger = ApiClient::new(url, None);
    if !stranger.is_alive(LOOK_LIMIT) {
        return Err(none_answers(url));
    }
    ApiClient::new(url, args.server.token.clone())
        .shutdown()
        .with_context(|| format!("the server at {url} does not stop"))?;
    if !comes_true(|| !stranger.is_alive(LOOK_LIMIT)) {
        return Err(CliError::new(format!(
            "the server at {url} has not stopped yet"
        )));
    }
    tell(&format!("stopped the server at {url}"));
    Ok(())
}

fn comes_true(is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + STOP_LIMIT;
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}

// --- status ---

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
    /// Whether it came before this program, and tells no version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    older: bool,
}

/// Says how a server does. Fails where there is none.
pub(super) fn status(args: &RunningArgs, global: &Global, as_json: bool) -> CliResult {
    let meant = Meant::find(args, global)?;
    let status = match &meant {
        Meant::Own(folder) => status_of(folder),
        Meant::At(url) => status_at(url),
    };
    if as_json {
        output::print_json(&status)?;
    } else if status.running {
        output::print(&clean(&status.line()))?;
    }
    match (status.running, &meant) {
        (true, _) => Ok(()),
        (false, Meant::Own(folder)) => Err(none_runs(folder)),
        (false, Meant::At(url)) => Err(none_answers(url)),
    }
}

fn status_of(folder: &Path) -> ServerStatus {
    let holder = holder::current(folder);
    let address = holder.as_ref().and_then(|holder| holder.address);
    let asked = address.map(|address| status_at(&url_of(address)));
    ServerStatus {
        running: holder.is_some(),
        pid: holder.map(|holder| holder.pid),
        url: address.map(url_of),
        ready: asked.as_ref().is_some_and(|asked| asked.ready),
        older: asked.as_ref().is_some_and(|asked| asked.older),
        version: asked.and_then(|asked| asked.version),
    }
}

fn status_at(url: &str) -> ServerStatus {
    let client = ApiClient::new(url, None);
    let running = client.is_alive(LOOK_LIMIT);
    let ready = running && client.is_ready(LOOK_LIMIT);
    let version = || Some(client.version().ok()?.version);
    ServerStatus {
        running,
        pid: None,
        // One that does not get ready would not tell its version either.
        version: ready.then(version).flatten(),
        older: running && matches!(client.generation(), Ok(ServerGeneration::Older)),
        url: Some(url.to_owned()),
        ready,
    }
}

impl ServerStatus {
    fn line(&self) -> String {
        let place = self.url.as_deref().unwrap_or("no address yet");
        let version = match (&self.version, self.older) {
            (Some(version), _) => version,
            (None, true) => "an older version",
            (None, false) => "unknown version",
        };
        let state = if self.ready { "ready" } else { "not ready" };
        let pid = self.pid.map_or(String::new(), |pid| format!("  pid {pid}"));
        format!("{place}  {state}  {version}{pid}\n")
    }
}

// --- reload-agents ---

/// Has a server read its agents again. Fails where a file has a mistake.
pub(super) fn reload_agents(args: &RunningArgs, global: &Global, as_json: bool) -> CliResult {
    let client = match Meant::find(args, global)? {
        Meant::At(url) => ApiClient::new(&url, args.server.token.clone()),
        Meant::Own(folder) => {
            let holder = holder::current(&folder).ok_or_else(|| none_runs(&folder))?;
            let starting = || CliError::new("the server of this workspace is just starting");
            let url = holder.address.map(url_of).ok_or_else(starting)?;
            let own = || admin_token(&settings::client_settings(global).ok()?.config.server);
            ApiClient::new(&url, args.server.token.clone().or_else(own))
        }
    };
    let reloaded = client
        .reload_agents()
        .context("the server does not read its agents again")?;
    if as_json {
        output::print_json(&reloaded)?;
    } else {
        output::print(&clean(&told(&reloaded)))?;
    }
    for error in &reloaded.errors {
        tell(&clean(&format!(
            "duragent: {}: {}",
            error.file, error.message
        )));
    }
    match reloaded.errors.len() {
        0 => Ok(()),
        count => Err(
            CliError::new(format!("{count} mistakes in the files of agents"))
                .hint("what has a mistake stays as it was last read; `duragent validate` shows it"),
        ),
    }
}

/// The token of those who may command a server.
pub(super) fn admin_token(server: &ServerConfig) -> Option<String> {
    let token = server.admin_token.as_ref().or(server.api_token.as_ref())?;
    Some(token.reveal().to_owned())
}

fn told(reloaded: &ReloadBody) -> String {
    let parts = [
        ("new", &reloaded.added),
        ("changed", &reloaded.changed),
        ("gone", &reloaded.removed),
    ];
    let named = parts.iter().filter(|(_, names)| !names.is_empty());
    let lines: String = named
        .map(|(word, names)| format!("{word}: {}\n", names.join(", ")))
        .collect();
    match lines.as_str() {
        "" => "the agents are as they were\n".to_owned(),
        _ => lines,
    }
}

fn none_runs(folder: &Path) -> CliError {
    CliError::new(format!("no server runs for {}", folder.display()))
        .hint("start one with: duragent serve")
}

fn none_answers(url: &str) -> CliError {
    CliError::new(format!("no server of Duragent answers at {url}"))
}
