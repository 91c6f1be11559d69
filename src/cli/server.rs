//! Finds the server of a workspace, and starts one where there is none.
//!
//! Invariants:
//! - two clients that start servers at the same time end up on one: only one server gets the
//!   workspace's lock, the other exits, and both clients then read the address in the lock file;
//! - the lock says where the server is, at each request: nothing is sent to an address whose server
//!   has gone, where another program may listen by now;
//! - no server is started for files that ask for more than this account has agreed to.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::OFlags;

use crate::base::fs::create_private_dirs;
use crate::base::lock::lock;
use crate::cli::args::ServerArgs;
use crate::cli::ask;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::tell;
use crate::cli::settings::{ClientSettings, is_interactive};
use crate::client::{ApiClient, Locate, NoServer, ServerGeneration};
use crate::workspace::consent;
use crate::workspace::holder::{self, LockHolder, Starter, url_of};

/// A server that is not ready by then is not going to be.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often another process is looked at; nothing tells when it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For so long a server may have the lock without having written its name into it.
const UNSEEN_LIMIT: Duration = Duration::from_millis(300);
/// One look; a server of this machine answers at once.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// The named server, or the workspace's, which is started when it does not run.
pub(super) fn connect(args: &ServerArgs, settings: &ClientSettings) -> Result<ApiClient, CliError> {
    if let Some(url) = &args.server {
        return named(url, args);
    }
    settings.check_found()?;
    let is_missing = || holder::current(&settings.workspace).is_none();
    let is_found = !is_missing()
        && match wait_until_ready(settings, None) {
            // It was about to end, of itself or because it was told to.
            Err(_) if is_missing() => false,
            ready => ready.map(|_| true)?,
        };
    if !is_found {
        refuse_beside_older(settings)?;
        agree(settings)?;
        tell(&start(settings)?);
    }
    Ok(own_server(args, settings))
}

/// The named server, or the workspace's if it runs.
pub(super) fn connect_running(
    args: &ServerArgs,
    settings: &ClientSettings,
) -> Result<Option<ApiClient>, CliError> {
    if let Some(url) = &args.server {
        return named(url, args).map(Some);
    }
    settings.check_found()?;
    if holder::current(&settings.workspace).is_none() {
        return Ok(None);
    }
    wait_until_ready(settings, None)?;
    Ok(Some(own_server(args, settings)))
}

/// Refuses to start a server where one of version 0.5 listens at the workspace's own port: such a one takes no
/// lock, so it may be at work on the same files.
fn refuse_beside_older(settings: &ClientSettings) -> CliResult {
    let server = &settings.config.server;
    let url = url_of(SocketAddr::new(server.host, server.port));
    let client = ApiClient::new(&url, None);
    if server.port == 0 || !client.is_alive(LOOK_LIMIT) || client.agents().is_err() {
        return Ok(());
    }
    match client.generation() {
        Ok(ServerGeneration::Older) => {
            let why = format!("a server of an older version is at {url}, perhaps for these files");
            let hint = format!(
                "talk to it with `-s {url}`, or stop it with `duragent serve stop -p {}`; if it is not this \
                 workspace's, set another `server.port`",
                server.port
            );
            Err(CliError::new(why).hint(hint))
        }
        Ok(ServerGeneration::Current) | Err(_) => Ok(()),
    }
}

/// Asks whether a server may be started, where the workspace's files make it do more than answer
/// and this account has not served it so before.
///
/// Errors: the user said no, or there is nobody to ask.
fn agree(settings: &ClientSettings) -> CliResult {
    let claims = consent::claims(&settings.config);
    if consent::is_agreed(&settings.config, &claims) {
        return Ok(());
    }
    let sentence = consent::sentence(&claims);
    let hint = "look at its files; whoever starts it with `duragent serve` agrees to that";
    if is_interactive() && ask::yes_or_no(&format!("{sentence}. Start?"))? {
        return Ok(());
    }
    Err(CliError::new(format!("{sentence}, and was not started")).hint(hint))
}

/// The workspace's server, wherever it is at the time.
fn own_server(args: &ServerArgs, settings: &ClientSettings) -> ApiClient {
    let token = args.token.clone().or_else(|| settings.token.clone());
    let seen = LastSeen {
        last: holder::current(&settings.workspace),
        ..LastSeen::default()
    };
    let server = OwnServer {
        settings: settings.clone(),
        seen: Mutex::new(seen),
    };
    ApiClient::of(Arc::new(server), token)
}

/// The server of a workspace, found by the workspace's lock.
struct OwnServer {
    settings: ClientSettings,
    /// Held while one is started: of two threads that miss it, one starts it.
    seen: Mutex<LastSeen>,
}

#[derive(Default)]
struct LastSeen {
    /// The server that was there last.
    last: Option<LockHolder>,
    started_at: Option<Instant>,
    news: Option<String>,
}

impl Locate for OwnServer {
    fn locate(&self) -> Result<String, NoServer> {
        let mut seen = lock(&self.seen);
        match holder::current(&self.settings.workspace) {
            Some(holder) => {
                let address = holder.address;
                seen.last = Some(holder);
                address.map(url_of).ok_or_else(is_starting)
            }
            // One that was stopped was stopped by somebody.
            None if has_crashed(&self.settings, &seen) => self.start_again(&mut seen),
            None => Err(is_gone()),
        }
    }

    fn wake(&self) {
        let mut seen = lock(&self.seen);
        let was_by_client = seen.last.as_ref().is_some_and(is_by_client);
        if holder::current(&self.settings.workspace).is_none() && was_by_client {
            // The request that follows says what is wrong.
            drop(self.start_again(&mut seen));
        }
    }

    fn news(&self) -> Option<String> {
        lock(&self.seen).news.take()
    }
}

impl OwnServer {
    fn start_again(&self, seen: &mut LastSeen) -> Result<String, NoServer> {
        seen.started_at = Some(Instant::now());
        let settings = &self.settings;
        // An agent may have written in the files since: what the new one would read is judged.
        let is_agreed = settings
            .config_now()
            .is_ok_and(|config| consent::is_agreed(&config, &consent::claims(&config)));
        let started = is_agreed.then(|| start(settings));
        match started {
            Some(Ok(news)) => seen.news = Some(format!("(the server had gone: {news})")),
            Some(Err(failure)) => {
                log::debug!("{}", failure.lines());
                return Err(is_gone());
            }
            None => return Err(is_gone()),
        }
        seen.last = holder::current(&settings.workspace);
        let address = seen.last.as_ref().and_then(|holder| holder.address);
        address.map(url_of).ok_or_else(is_starting)
    }
}

/// Whether the server that was there last ended without an order to, and may be started again.
fn has_crashed(settings: &ClientSettings, seen: &LastSeen) -> bool {
    /// One that dies sooner would die again.
    const LIVES_AT_LEAST: Duration = Duration::from_secs(5);
    let started_at = seen.started_at;
    if started_at.is_some_and(|started| started.elapsed() < LIVES_AT_LEAST) {
        return false;
    }
    let crashed = holder::crashed(&settings.workspace);
    let pid = |holder: &LockHolder| holder.pid;
    crashed.as_ref().is_some_and(is_by_client)
        && crashed.as_ref().map(pid) == seen.last.as_ref().map(pid)
}

fn is_by_client(holder: &LockHolder) -> bool {
    holder.starter == Starter::Client
}

fn is_starting() -> NoServer {
    NoServer {
        message: "the server of this workspace is just starting".to_owned(),
        hint: "try again".to_owned(),
    }
}

fn is_gone() -> NoServer {
    NoServer {
        message: "the server of this workspace has gone".to_owned(),
        hint: "start it in another terminal, with: duragent serve".to_owned(),
    }
}

/// A client started the server that runs: a person's server is not a client's to end.
pub(super) fn is_started_by_client(settings: &ClientSettings) -> bool {
    holder::current(&settings.workspace).is_some_and(|holder| is_by_client(&holder))
}

/// The workspace's own token is for its own server: it is not sent anywhere else.
fn named(url: &str, args: &ServerArgs) -> Result<ApiClient, CliError> {
    Ok(ApiClient::new(&address_of(url)?, args.token.clone()))
}

/// Completes the address that a user typed for a server to a URL without a `/` at its end.
///
/// Errors: it is none of HTTP.
pub(super) fn address_of(url: &str) -> Result<String, CliError> {
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    if !is_http {
        return Err(CliError::usage(format!("{url} is not an http address")));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Starts a server, on any port if another program has the configured one; returns what a user
/// should know of it.
fn start(settings: &ClientSettings) -> Result<String, CliError> {
    let child = Started::spawn(settings)?;
    let pid = child.child.id();
    let url = wait_until_ready(settings, Some(child))?;
    // Another client's server may have been quicker, and then it is that one's.
    let holder = holder::current(&settings.workspace);
    let is_own = holder.is_some_and(|holder| holder.pid == pid);
    Ok(format!(
        "{} a server at {url} (log: {}; stop it with: duragent serve stop)",
        if is_own { "started" } else { "found" },
        settings.serve_log().display()
    ))
}

/// Waits for whoever holds the workspace's lock, be it `child` or a server that was quicker; returns
/// where it is.
fn wait_until_ready(
    settings: &ClientSettings,
    mut child: Option<Started>,
) -> Result<String, CliError> {
    let deadline = Instant::now() + START_LIMIT;
    let mut seen_at = Instant::now();
    loop {
        let holder = holder::current(&settings.workspace);
        if let Some(address) = holder.as_ref().and_then(|holder| holder.address) {
            let url = url_of(address);
            if ApiClient::new(&url, None).is_ready(LOOK_LIMIT) {
                return Ok(url);
            }
        }
        let is_running = match &mut child {
            Some(child) => child.is_running()?,
            None => false,
        };
        if is_running || holder.is_some() {
            seen_at = Instant::now();
        } else if seen_at.elapsed() > UNSEEN_LIMIT {
            return Err(did_not_start(settings, child.as_ref()));
        }
        if Instant::now() > deadline {
            return Err(not_ready(settings, holder.as_ref()));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn did_not_start(settings: &ClientSettings, child: Option<&Started>) -> CliError {
    let Some(child) = child else {
        return CliError::new("the server of this workspace has just stopped")
            .hint("try again, and a new one is started");
    };
    let log = settings.serve_log();
    let (why, hint) = last_words(&child.log_tail(&log));
    let hint = hint.unwrap_or_else(|| format!("all it said is in {}", log.display()));
    CliError::new(format!("the server did not start: {why}")).hint(hint)
}

/// Why a server ended, and what can be done about it, by the end of its log.
fn last_words(tail: &str) -> (String, Option<String>) {
    let mut lines = tail
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let last = lines.next().unwrap_or("it said nothing");
    let (why, hint) = match last.strip_prefix("hint: ") {
        Some(hint) => (lines.next().unwrap_or(last), Some(hint.to_owned())),
        None => (last, None),
    };
    let why = why.strip_prefix("duragent: ").unwrap_or(why);
    (why.to_owned(), hint)
}

fn not_ready(settings: &ClientSettings, holder: Option<&LockHolder>) -> CliError {
    let who = holder.map_or_else(
        || "the server".to_owned(),
        |holder| format!("the server (pid {})", holder.pid),
    );
    let seconds = START_LIMIT.as_secs();
    CliError::new(format!("{who} is not ready after {seconds} seconds"))
        .hint(format!("see {}", settings.serve_log().display()))
}

/// A server that was started here. It lives on when this is dropped.
struct Started {
    child: Child,
    /// How long its log was before.
    log_start: u64,
}

impl Started {
    fn spawn(settings: &ClientSettings) -> anyhow::Result<Started> {
        let log_path = settings.serve_log();
        let log = open_log(&settings.workspace, &log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--detached", "--workspace"]);
        command.arg(&settings.workspace);
        if let Some(config) = settings.origin.file() {
            command.arg("--config").arg(config);
        }
        if let Some(folder) = &settings.named_agents_dir {
            command.arg("--agents-dir").arg(folder);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the server's log")?)
            .stderr(log)
            .spawn()
            .context("cannot start a server")?;
        Ok(Started { child, log_start })
    }

    fn is_running(&mut self) -> anyhow::Result<bool> {
        let status = self.child.try_wait().context("cannot watch the server")?;
        Ok(status.is_none())
    }

    /// The end of what it wrote.
    fn log_tail(&self, log: &Path) -> String {
        const TAIL_BYTES: u64 = 4096;
        let read = || -> std::io::Result<String> {
            let mut file = File::open(log)?;
            let length = file.metadata()?.len();
            let start = self.log_start.max(length.saturating_sub(TAIL_BYTES));
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }
}

fn open_log(workspace: &Path, log: &Path) -> std::io::Result<File> {
    create_private_dirs(workspace)?;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // A workspace from elsewhere may hold a link of that name, or a pipe.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (precious, log) = (
            folder.path().join("precious"),
            folder.path().join("serve.log"),
        );
        std::fs::write(&precious, "mine\n").unwrap();
        std::os::unix::fs::symlink(&precious, &log).unwrap();
        assert!(open_log(folder.path(), &log).is_err());
        std::fs::remove_file(&log).unwrap();
        assert!(open_log(folder.path(), &log).is_ok());
    }

    #[test]
    fn a_server_that_did_not_start_is_quoted_with_its_hint() {
        for (tail, why, hint) in [
            ("", "it said nothing", None),
            ("x\nduragent: no port\n", "no port", None),
            (
                "duragent: no port\nhint: take another\n",
                "no port",
                Some("take another"),
            ),
            ("a log line\n\n", "a log line", None),
        ] {
            let expected = (why.to_owned(), hint.map(str::to_owned));
            assert_eq!(last_words(tail), expected, "{tail:?}");
        }
    }
}
