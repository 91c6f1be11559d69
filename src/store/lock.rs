//! One server for each workspace.
//!
//! The lock is the system's (`flock`), so it ends with the process whatever happens. The text in the
//! file tells others whom to ask; it counts only while the lock is held.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::base::fs::{RealFs, create_private_dirs, replace_file};
use crate::base::text::{self, TextError};

/// Held as long as it lives.
#[derive(Debug)]
pub struct WorkspaceLock {
    file: File,
    path: PathBuf,
}

/// Who holds a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process.
    pub pid: u32,
    /// Where it listens; a process that does not serve has none.
    pub address: Option<SocketAddr>,
    /// Who started it; known once it has an address.
    pub starter: Starter,
}

/// Who started a server: what a client has started, a client may start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Starter {
    /// A person or a service manager, who would be surprised to find another one running.
    #[default]
    Person,
    /// A client that found none.
    Client,
}

/// The line in the lock of a server that a client started.
const BY_CLIENT: &str = "started_by: client";

/// Why a workspace cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process is at work in it.
    #[error("{} is in use by {}", workspace.display(), describe(holder.as_ref()))]
    Held {
        /// The workspace.
        workspace: PathBuf,
        /// Who; `None` if it has only just begun.
        holder: Option<LockHolder>,
    },
    /// The system refused.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl WorkspaceLock {
    /// Locks a workspace, whose folder is made if it is missing.
    ///
    /// Errors: [`LockError::Held`] if another process has it.
    pub fn acquire(workspace: &Path) -> Result<WorkspaceLock, LockError> {
        let path = lock_path(workspace);
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let file = open_or_create(workspace, &path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    workspace: workspace.to_owned(),
                    holder: read_text(&file).ok().and_then(|text| parse(&text)),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // What a killed process left must not be mixed with ours.
        file.set_len(0).map_err(failed)?;
        let lock = WorkspaceLock { file, path };
        lock.write("")?;
        Ok(lock)
    }

    /// Tells others where this process listens, and who started it.
    pub fn set_address(&self, address: &SocketAddr, starter: Starter) -> Result<(), LockError> {
        let by = match starter {
            Starter::Person => String::new(),
            Starter::Client => format!("{BY_CLIENT}\n"),
        };
        self.write(&format!("address: {address}\n{by}"))
    }

    fn write(&self, more: &str) -> Result<(), LockError> {
        let text = format!("pid: {}\n{more}", std::process::id());
        self.replace_text(&text).map_err(|source| LockError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// First written, then cut: whoever reads in between finds whole lines at the beginning.
    fn replace_text(&self, text: &str) -> io::Result<()> {
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for WorkspaceLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of the same name.
        if let Err(error) = self.replace_text("") {
            log::debug!("{}: not cleared: {error}", self.path.display());
        }
    }
}

/// Who holds the workspace now; `None` if nobody does.
pub fn read_holder(workspace: &Path) -> Option<LockHolder> {
    let file = File::open(lock_path(workspace)).ok()?;
    let holder = parse(&read_text(&file).ok()?)?;
    // Trying a free lock takes it for a moment, which a server that starts now would trip over: so
    // it is tried only where it is most likely taken.
    if !is_alive(holder.pid) {
        return None;
    }
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder),
        // Nobody has it; this process gives it back by closing the file.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Who held the workspace last, if it ended without giving it back: it was killed, or crashed. For
/// those who found that nobody holds it now.
pub fn read_crashed(workspace: &Path) -> Option<LockHolder> {
    let file = File::open(lock_path(workspace)).ok()?;
    parse(&read_text(&file).ok()?)
}

/// The random identifier of a workspace, kept in its file `id` and made at the first call, which is
/// for the holder of the lock, or where no server runs.
pub fn workspace_hash(workspace: &Path) -> io::Result<String> {
    let path = workspace.join("id");
    if let Some(hash) = read_hash(&path)? {
        return Ok(hash);
    }
    let hash = format!("{:016x}", fastrand::u64(..));
    create_private_dirs(workspace)?;
    replace_file(&RealFs, &path, format!("{hash}\n").as_bytes())?;
    Ok(hash)
}

/// As [`workspace_hash`], of a workspace that may have none yet.
pub fn known_hash(workspace: &Path) -> Option<String> {
    read_hash(&workspace.join("id")).ok().flatten()
}

fn read_hash(path: &Path) -> io::Result<Option<String>> {
    const BYTES_MAX: usize = 64;
    match text::read(path, BYTES_MAX) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| is_hash(text))),
        Err(TextError::Io(error)) => Err(error),
        // Made anew.
        Err(_) => Ok(None),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn lock_path(workspace: &Path) -> PathBuf {
    workspace.join("lock")
}

fn open_or_create(workspace: &Path, path: &Path) -> io::Result<File> {
    create_private_dirs(workspace)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // It will be emptied: not what a link of that name leads to.
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    options.mode(0o600).custom_flags(no_link).open(path)
}

fn read_text(file: &File) -> io::Result<String> {
    const BYTES_MAX: u64 = 1 << 10;
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Option<LockHolder> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim())
    };
    Some(LockHolder {
        pid: value("pid:")?.parse().ok()?,
        address: value("address:").and_then(|address| address.parse().ok()),
        starter: if text.lines().any(|line| line == BY_CLIENT) {
            Starter::Client
        } else {
            Starter::Person
        },
    })
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // Any other refusal comes from a process that exists.
    test_kill_process(pid) != Err(Errno::SRCH)
}

fn describe(holder: Option<&LockHolder>) -> String {
    match holder {
        Some(LockHolder {
            pid,
            address: Some(address),
            ..
        }) => format!("the server at {address} (process {pid})"),
        Some(LockHolder { pid, .. }) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
