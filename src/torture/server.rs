//! The process that is killed: this very program, serving a workspace of its own.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::ApiClient;
use crate::store::lock::read_holder;
use crate::torture::plan::Disk;

/// How often something is looked at that tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(2);
/// A server that is not ready by then never will be.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The folder that servers are run in.
#[derive(Debug, Clone)]
pub(super) struct ServerFolder(pub(super) PathBuf);

impl ServerFolder {
    /// Writes the configuration and the two agents.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::write(self.config(), CONFIG)?;
        for (name, mode) in [("continues", "continue"), ("pauses", "pause")] {
            let folder = self.state().join("agents").join(name);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("agent.yaml"), agent_yaml(name, mode))?;
        }
        Ok(())
    }

    /// `.duragent/`.
    pub(super) fn state(&self) -> PathBuf {
        self.0.join(".duragent")
    }

    /// The output of all servers, one after the other.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("server.log")
    }

    fn config(&self) -> PathBuf {
        self.0.join("duragent.yaml")
    }
}

/// Comments on quiet streams come often, so that a stream that hangs is told from one that waits.
const CONFIG: &str = "server:
  keep_alive_interval_seconds: 1
  shutdown_grace_seconds: 2
";

fn agent_yaml(name: &str, mode: &str) -> String {
    format!(
        "apiVersion: duragent/v1alpha1
kind: Agent
metadata:
  name: {name}
spec:
  model:
    provider: echo
    name: echo
  session:
    on_disconnect: {mode}
"
    )
}

/// A server that runs; it is killed when it is dropped.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    exec_at: Instant,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server and waits until it is ready.
    pub(super) fn start(
        program: &Path,
        workspace: &ServerFolder,
        disk: Disk,
    ) -> anyhow::Result<ServerProcess> {
        let exec_at = Instant::now();
        let mut command = command(program, workspace, disk)?;
        let child = command.spawn().context("cannot start the server")?;
        let mut server = ServerProcess {
            child,
            exec_at,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        server.address = server.wait_until_ready(workspace)?;
        Ok(server)
    }

    pub(super) fn exec_at(&self) -> Instant {
        self.exec_at
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `SIGKILL`; returns when the process is gone.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// `SIGTERM`; `None` when it does not end for long.
    pub(super) fn stop(mut self) -> io::Result<Option<ExitStatus>> {
        /// Its grace, and time for its threads on a machine that is busy.
        const STOP_LIMIT: Duration = Duration::from_secs(30);
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(GLANCE);
        }
        Ok(None)
    }

    /// How the process ended, if it did by itself.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Its open files, where the system tells: of a server, which is not dumpable, root alone.
    pub(super) fn open_files(&self) -> Option<usize> {
        self.count("fd")
    }

    /// Its threads, where the system tells.
    pub(super) fn threads(&self) -> Option<usize> {
        self.count("task")
    }

    fn count(&self, name: &str) -> Option<usize> {
        let folder = format!("/proc/{}/{name}", self.child.id());
        Some(fs::read_dir(folder).ok()?.count())
    }

    fn wait_until_ready(&mut self, workspace: &ServerFolder) -> anyhow::Result<SocketAddr> {
        let deadline = self.exec_at + START_LIMIT;
        let state = workspace.state();
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                bail!("the server ended at its start, with {status}");
            }
            let holder = read_holder(&state).filter(|holder| holder.pid == self.child.id());
            let address = holder.and_then(|holder| holder.address);
            if let Some(address) = address.filter(|address| is_ready(*address)) {
                return Ok(address);
            }
            thread::sleep(GLANCE);
        }
        bail!("the server is not ready after {START_LIMIT:?}")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It has ended already, unless something failed here.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn is_ready(address: SocketAddr) -> bool {
    const READY_LIMIT: Duration = Duration::from_secs(5);
    ApiClient::new(&format!("http://{address}"), None).is_ready(READY_LIMIT)
}

/// The server sees no variable of the user's, and no Ctrl-C of the user's terminal.
fn command(program: &Path, workspace: &ServerFolder, disk: Disk) -> anyhow::Result<Command> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(workspace.log())
        .context("cannot open the server's log")?;
    let mut command = Command::new(program);
    command.args(["--config", "duragent.yaml"]);
    match disk {
        Disk::Sound => command.arg("serve"),
        Disk::Faulty { seed, one_in } => command
            .arg("serve-faulty")
            .args(["--seed", &seed.to_string()])
            .args(["--one-in", &one_in.to_string()]),
    };
    if matches!(disk, Disk::Sound) {
        // Its crashes are a loop by any measure, and nothing may wait for the end of that.
        command.args(["--port", "0", "--resume", "always"]);
    }
    command
        .current_dir(&workspace.0)
        .env_clear()
        // Each life of the server knows the sessions of the one before it as its own.
        .env("XDG_STATE_HOME", workspace.0.join("state"))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the server's log")?)
        .stderr(log);
    Ok(command)
}
