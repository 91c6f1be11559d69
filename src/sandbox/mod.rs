//! What programs are locked into: nothing, bubblewrap, or a Docker container.
//!
//! A sandbox makes of a job a child that is ready to be started. One that cannot, says so: nothing
//! ever runs with less than what was asked for.

mod bubblewrap;
mod census;
mod docker;
mod trust;
mod view;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::child::Prepared;
use crate::base::shown::shown_by_name;

/// The most processes and threads of one run.
const TASKS_MAX: u64 = 512;

/// The word in `duragent.yaml` for none.
pub const TRUST: &str = "trust";

/// Locks programs in.
pub trait Sandbox: Send + Sync {
    /// The word for it in `duragent.yaml`.
    fn name(&self) -> &'static str;

    /// What a model should know of the place where its commands run, in a sentence or two.
    fn remark(&self) -> &str;

    /// Makes the child that does a job.
    ///
    /// Errors: it cannot be locked in.
    fn prepare(&self, job: &Job) -> Result<Prepared, SandboxError>;
}

shown_by_name!(Sandbox);

/// A program that is to be run.
#[derive(Debug)]
pub struct Job {
    /// A path, or a name to be looked for in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment where nothing locks it in, and that of the program that locks it in.
    pub environment: Vec<(OsString, OsString)>,
    /// What it is told of that where it is locked in.
    pub told: Vec<(OsString, OsString)>,
    /// The agent's own folder to write in.
    pub work: PathBuf,
    /// Where it starts: there, or in a folder that it sees.
    pub cwd: PathBuf,
    /// What it must see beside that.
    pub readable: Vec<PathBuf>,
}

/// How programs are locked in: `sandbox` of `duragent.yaml`.
#[derive(Debug, Clone, Default)]
pub struct SandboxSettings {
    /// By what.
    pub mode: Mode,
    /// Whether they reach the network.
    pub network: bool,
    /// Folders that they may write in, beside the agent's own. One below another does not count.
    pub writable: Vec<PathBuf>,
    /// Variables that they are told beside the usual ones.
    pub env: Vec<String>,
    /// Folders and files that they must not see, wherever those are.
    pub hidden: Vec<PathBuf>,
    /// The most memory of one run.
    pub memory_bytes: u64,
    /// The most CPU time of a process.
    pub cpu_seconds: Option<u64>,
    /// The image of a container.
    pub image: String,
}

/// What locks programs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing.
    #[default]
    Trust,
    /// bubblewrap.
    Bubblewrap,
    /// Docker.
    Docker,
}

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// What makes the sandbox is not there.
    #[error("{program} is not installed, so nothing runs; the Debian package is `{package}`")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// A folder that is to be written in leads elsewhere, or uncovers what must not be seen.
    #[error("{} of `sandbox.writable` {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refuses what is needed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// The sandbox of these settings.
pub fn of(settings: SandboxSettings) -> Arc<dyn Sandbox> {
    match settings.mode {
        Mode::Trust => Arc::new(trust::Trust),
        Mode::Bubblewrap => Arc::new(bubblewrap::Bubblewrap::new(settings)),
        Mode::Docker => Arc::new(docker::Docker::new(settings)),
    }
}
