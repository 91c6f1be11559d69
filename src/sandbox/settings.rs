//! How programs are locked in.

use std::path::PathBuf;

/// The most processes and threads of one run.
pub(super) const TASKS_MAX: u64 = 512;

/// The word in `duragent.yaml` for none.
pub const TRUST: &str = "trust";

/// How programs are locked in: `sandbox` of `duragent.yaml`.
#[derive(Debug, Clone, Default)]
pub struct SandboxSettings {
    /// By what.
    pub mode: Isolation,
    /// They reach the network; in bubblewrap this machine's own services too.
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

/// The lock of programs: `sandbox.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Nothing.
    #[default]
    Trust,
    /// bubblewrap.
    Bubblewrap,
    /// Docker.
    Docker,
}
