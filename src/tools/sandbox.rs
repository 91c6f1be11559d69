//! What programs are locked into: nothing, bubblewrap, or a Docker container.
//!
//! A sandbox makes of a job a child that is ready to be started. One that cannot, says so: nothing
//! ever runs with less than what was asked for.

mod bubblewrap;
mod census;
mod docker;
mod trust;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tools::process::Prepared;

/// The most processes and threads of one run.
const TASKS_MAX: u64 = 512;

/// The word in `duragent.yaml` for none.
pub const TRUST: &str = "trust";

/// Locks programs in.
pub trait Sandbox: Send + Sync + Debug {
    /// The word for it in `duragent.yaml`.
    fn name(&self) -> &'static str;

    /// What a model should know of the place where its commands run, in a sentence or two.
    fn remark(&self) -> &str;

    /// Makes the child that does a job.
    ///
    /// Errors: it cannot be locked in.
    fn prepare(&self, job: &Job) -> Result<Prepared, SandboxError>;
}

/// A program that is to be run.
#[derive(Debug)]
pub struct Job {
    /// A path, or a name to be looked for in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The variables among them that say for whom it runs.
    pub identity: Vec<(&'static str, OsString)>,
    /// Where it runs: the agent's own folder to write in.
    pub work: PathBuf,
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
    /// Folders that they may write in, beside the agent's own.
    pub writable: Vec<PathBuf>,
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
pub fn of(mut settings: SandboxSettings) -> Arc<dyn Sandbox> {
    // What can be written may lead to what is hidden by another name.
    let real = settings
        .hidden
        .iter()
        .filter_map(|path| path.canonicalize().ok());
    settings.hidden.extend(real.collect::<Vec<_>>());
    settings.hidden.sort();
    settings.hidden.dedup();
    match settings.mode {
        Mode::Trust => Arc::new(trust::Trust),
        Mode::Bubblewrap => Arc::new(bubblewrap::Bubblewrap::new(settings)),
        Mode::Docker => Arc::new(docker::Docker::new(settings)),
    }
}
