//! The built program as a child process, with a workspace of its own.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::http::Connection;
use crate::support::process::Process;

/// The binary under measurement.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_duragent");

const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts to connect: often enough to measure by, and not a whole processor.
const TRY_EVERY: Duration = Duration::from_micros(50);

/// A folder with a configuration and one agent, `bench`.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    /// The agent's model is asked at that port of this machine; with no port it echoes.
    pub fn new(provider_port: Option<u16>) -> anyhow::Result<Workspace> {
        // On the disk of the build, since a temporary folder may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::write(
            folder.path().join("duragent.yaml"),
            "workspace: .duragent\n",
        )?;
        let workspace = Workspace { folder };
        workspace.add_agent("bench", provider_port)?;
        Ok(workspace)
    }

    /// Adds an agent, before a server is started.
    pub fn add_agent(&self, name: &str, provider_port: Option<u16>) -> anyhow::Result<()> {
        let agent = self.folder.path().join(".duragent/agents").join(name);
        fs::create_dir_all(&agent)?;
        Ok(fs::write(
            agent.join("agent.yaml"),
            agent_yaml(name, provider_port),
        )?)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("duragent.yaml")
    }
}

fn agent_yaml(name: &str, provider_port: Option<u16>) -> String {
    let model = match provider_port {
        // A server of one's own: it speaks OpenAI's dialect, and needs no key.
        Some(port) => {
            format!("provider: vllm\n    name: bench\n    base_url: http://127.0.0.1:{port}")
        }
        None => "provider: echo\n    name: bench".to_owned(),
    };
    format!(
        "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: {name}\n\
         spec:\n  model:\n    {model}\n  session:\n    on_disconnect: continue\n"
    )
}

/// A server that answers. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    began_at: Instant,
    started_in: Duration,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub fn start(workspace: &Workspace) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--quiet", "--config"])
            .arg(workspace.config())
            .arg("--port")
            .arg(port.to_string())
            .env("XDG_STATE_HOME", workspace.config().with_file_name("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let began_at = Instant::now();
        let child = command.spawn().context(PROGRAM)?;
        let mut server = Server {
            child,
            port,
            began_at,
            started_in: Duration::ZERO,
        };
        server.wait_until_ready()?;
        server.started_in = began_at.elapsed();
        Ok(server)
    }

    /// The moment of `exec`.
    pub fn began_at(&self) -> Instant {
        self.began_at
    }

    /// From `exec` to the first 200 of `/readyz`.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Ends it as a crash does, and waits for its end.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        loop {
            match Connection::open(self.port) {
                Ok(mut connection) => {
                    let answer = connection.request("GET", "/readyz", "")?;
                    ensure!(answer.status == 200, "not ready: {}", answer.body);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    ensure!(
                        self.began_at.elapsed() < START_LIMIT,
                        "the server does not start"
                    );
                    thread::sleep(TRY_EVERY);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was killed has no number any more.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let asked = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .map(|pid| kill_process(pid, Signal::TERM));
        if !matches!(asked, Some(Ok(()))) {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
