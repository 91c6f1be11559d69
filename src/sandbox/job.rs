//! A program that is to be run, and the trait that makes a locked-in child of it.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::base::child::Prepared;
use crate::base::shown::shown_by_name;

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
    /// As much of that environment as it is told where it is locked in.
    pub told: Vec<(OsString, OsString)>,
    /// The agent's own folder to write in.
    pub work: PathBuf,
    /// The session's folder, where it has one: may be written in as what `sandbox.writable` names.
    pub workdir: Option<PathBuf>,
    /// Where it starts: in one of these, or in a folder that it sees.
    pub cwd: PathBuf,
    /// Further files and folders that it must see.
    pub readable: Vec<PathBuf>,
}

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The program that makes the sandbox is not there.
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
