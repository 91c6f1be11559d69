//! Finds the server of a workspace, and starts one where there is none.
//!
//! Two clients that start servers at the same time end up on one: only one server gets the
//! workspace's lock, the other exits, and both clients then read the address in the lock file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::base::fs::create_private_dirs;
use crate::cli::args::ServerArgs;
use crate::cli::failure::Failure;
use crate::cli::output::tell;
use crate::cli::settings::ClientSettings;
use crate::client::Client;
use crate::runtime::workspace::{self, Holder};

/// A server that is not ready by then is not going to be.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often another process is looked at; nothing tells when it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For so long a server may have the lock without having written its name into it.
const UNSEEN_LIMIT: Duration = Duration::from_millis(300);
/// One look; a server of this machine answers at once.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// The named server, or the workspace's, which is started when it does not run.
pub(super) fn connect(args: &ServerArgs, settings: &ClientSettings) -> Result<Client, Failure> {
    if let Some(url) = &args.server {
        return named(url, args);
    }
    let token = token(args, settings);
    match workspace::holder(&settings.workspace) {
        Some(_) => wait_until_ready(settings, token, None),
        None => start(settings, token),
    }
}

/// The named server, or the workspace's if it runs.
pub(super) fn connect_running(
    args: &ServerArgs,
    settings: &ClientSettings,
) -> Result<Option<Client>, Failure> {
    if let Some(url) = &args.server {
        return named(url, args).map(Some);
    }
    if workspace::holder(&settings.workspace).is_none() {
        return Ok(None);
    }
    wait_until_ready(settings, token(args, settings), None).map(Some)
}

/// The address of a server as a URL; one that listens everywhere is reached on this machine.
pub(super) fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn token(args: &ServerArgs, settings: &ClientSettings) -> Option<String> {
    args.token.clone().or_else(|| settings.token.clone())
}

/// The workspace's own token is for its own server: it is not sent anywhere else.
fn named(url: &str, args: &ServerArgs) -> Result<Client, Failure> {
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    if !is_http {
        return Err(Failure::usage(format!("{url} is not an http address")));
    }
    Ok(Client::new(&url, args.token.clone()))
}

/// Starts a server, on any port if another program has the configured one.
fn start(settings: &ClientSettings, token: Option<String>) -> Result<Client, Failure> {
    let child = Started::spawn(settings)?;
    let pid = child.child.id();
    let client = wait_until_ready(settings, token, Some(child))?;
    // Another client's server may have been quicker, and then it is that one's.
    let holder = workspace::holder(&settings.workspace);
    if holder.is_some_and(|holder| holder.pid == pid) {
        tell(&format!(
            "started a server at {} (log: {}; stop it with: duragent serve stop)",
            client.base_url(),
            settings.serve_log().display()
        ));
    }
    Ok(client)
}

/// Waits for whoever holds the workspace's lock, be it `child` or a server that was quicker.
fn wait_until_ready(
    settings: &ClientSettings,
    token: Option<String>,
    mut child: Option<Started>,
) -> Result<Client, Failure> {
    let deadline = Instant::now() + START_LIMIT;
    let mut seen_at = Instant::now();
    loop {
        let holder = workspace::holder(&settings.workspace);
        if let Some(address) = holder.as_ref().and_then(|holder| holder.address) {
            let client = Client::new(&url_of(address), token.clone());
            if client.is_ready(LOOK_LIMIT) {
                return Ok(client);
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

fn did_not_start(settings: &ClientSettings, child: Option<&Started>) -> Failure {
    let Some(child) = child else {
        return Failure::new("the server of this workspace has just stopped")
            .hint("try again, and a new one is started");
    };
    let log = settings.serve_log();
    let tail = child.log_tail(&log);
    let why = tail.lines().last().unwrap_or("it said nothing").trim();
    let why = why.strip_prefix("duragent: ").unwrap_or(why);
    Failure::new(format!("the server did not start: {why}"))
        .hint(format!("all it said is in {}", log.display()))
}

fn not_ready(settings: &ClientSettings, holder: Option<&Holder>) -> Failure {
    let who = holder.map_or_else(
        || "the server".to_owned(),
        |holder| format!("the server (pid {})", holder.pid),
    );
    let seconds = START_LIMIT.as_secs();
    Failure::new(format!("{who} is not ready after {seconds} seconds"))
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
        if let Some(config) = &settings.config {
            command.arg("--config").arg(config);
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
        .open(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_here() {
        for (address, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(url_of(address.parse().unwrap()), url);
        }
    }
}
