//! What programs are locked into: nothing, bubblewrap, or a Docker container.
//!
//! A sandbox makes of a job a child that is ready to be started. One that cannot, says so: nothing
//! ever runs with less than what was asked for.

mod bubblewrap;
mod census;
mod docker;
mod trust;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::child::Prepared;
use crate::base::order;
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

impl SandboxSettings {
    /// What can be written may lead to what is hidden by another name, where either is a link.
    fn hide_by_all_names(&mut self) {
        let real = self.hidden.iter();
        let real: Vec<PathBuf> = real.filter_map(|path| path.canonicalize().ok()).collect();
        let by_link = self.writable.iter().flat_map(|folder| {
            let real_folder = folder.canonicalize().ok();
            let inside = real.iter().filter_map(move |path| {
                let inner = path.strip_prefix(real_folder.as_ref()?).ok()?;
                Some(folder.join(inner))
            });
            inside.collect::<Vec<_>>()
        });
        let by_link: Vec<PathBuf> = by_link.collect();
        self.hidden.extend(real.into_iter().chain(by_link));
        order::sort(&mut self.hidden);
        self.hidden.dedup();
    }

    /// The folders between what may be written and what is hidden in it. Whoever could move one
    /// of them would uncover it; what is mounted cannot be moved.
    fn folders_between(&self) -> BTreeSet<&Path> {
        let hidden = self.hidden.iter().filter(|path| path.exists());
        order::set(hidden.flat_map(|path| self.folders_above(path)))
    }

    /// Those above a hidden path, up to what may be written.
    fn folders_above<'a>(&self, path: &'a Path) -> Vec<&'a Path> {
        let is_among = |folder: &Path, all: &[PathBuf]| all.iter().any(|it| it == folder);
        let mut between = Vec::new();
        for folder in path.ancestors().skip(1) {
            if is_among(folder, &self.hidden) {
                break;
            } else if is_among(folder, &self.writable) {
                return between;
            }
            between.push(folder);
        }
        Vec::new()
    }
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
    settings.hide_by_all_names();
    match settings.mode {
        Mode::Trust => Arc::new(trust::Trust),
        Mode::Bubblewrap => Arc::new(bubblewrap::Bubblewrap::new(settings)),
        Mode::Docker => Arc::new(docker::Docker::new(settings)),
    }
}
