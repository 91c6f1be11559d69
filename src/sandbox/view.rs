//! What a run sees of the folders that `duragent.yaml` names: looked at anew for each run, because
//! what one program leaves in them is what the next one starts from.
//!
//! Invariants:
//! - a folder to write in was open, and was called by its real path, when the view was made;
//! - none lies below another: else the outer one could be written until the name of the inner one
//!   leads elsewhere;
//! - what is hidden in one of them is there by its real path: what is not there could be made, and
//!   a link be replaced.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::base::order;
use crate::base::text::leads_to;
use crate::sandbox::job::{Job, SandboxError};
use crate::sandbox::settings::SandboxSettings;

/// File systems of the kernel: to write there is to steer the machine.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The folders of one run.
#[derive(Debug)]
pub(super) struct View {
    /// What it may write in, beside its own.
    pub(super) writable: Vec<Opened>,
    /// What it must not see.
    pub(super) hidden: Vec<PathBuf>,
}

/// A file or folder that stays the same one, whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

impl View {
    /// Looks at the folders for a job.
    ///
    /// Errors: one of them cannot be shown as it should be.
    pub(super) fn of(settings: &SandboxSettings, job: &Job) -> Result<View, SandboxError> {
        let is_own = |path: &&PathBuf| path.starts_with(&job.work);
        let named: Vec<PathBuf> = [&settings.writable[..], job.workdir.as_slice()].concat();
        let outermost = outermost(&named);
        let writable = outermost.into_iter().filter(|path| !is_own(path));
        let writable: Vec<Opened> = writable
            .filter_map(|path| open_writable(path).transpose())
            .collect::<Result<_, _>>()?;
        let hidden = with_real_names(&settings.hidden);
        let view = View { writable, hidden };
        view.check_hidden()?;
        Ok(view)
    }

    /// Whether something lies in a folder that may be written.
    pub(super) fn is_in_writable(&self, path: &Path) -> bool {
        self.writable.iter().any(|it| path.starts_with(&it.path))
    }

    /// The folders between what may be written and what is hidden in it. Whoever could move one
    /// of them would uncover it; what is mounted cannot be moved.
    pub(super) fn folders_between(&self) -> BTreeSet<&Path> {
        let hidden = self.hidden.iter().filter(|path| path.exists());
        order::set(hidden.flat_map(|path| self.folders_above(path)))
    }

    /// Those above a hidden path, up to what may be written.
    fn folders_above<'a>(&self, path: &'a Path) -> Vec<&'a Path> {
        let mut between = Vec::new();
        for folder in path.ancestors().skip(1) {
            if self.hidden.iter().any(|it| it == folder) {
                break;
            } else if self.writable.iter().any(|it| it.path == folder) {
                return between;
            }
            between.push(folder);
        }
        Vec::new()
    }

    fn check_hidden(&self) -> Result<(), SandboxError> {
        for path in outermost(&self.hidden) {
            let folder = self.writable.iter().find(|it| path.starts_with(&it.path));
            if let Some(folder) = folder
                && fs::canonicalize(path).ok().as_ref() != Some(path)
            {
                let why = format!(
                    "holds {}, which no program may see, and which is a link or not there",
                    path.display()
                );
                return Err(refused(&folder.path, why));
            }
        }
        Ok(())
    }
}

impl Opened {
    /// Opens what a name stands for, if that is a file or folder itself.
    pub(super) fn open(path: &Path) -> io::Result<Opened> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Opened {
            path: path.to_owned(),
            fd,
        })
    }

    /// The name that the system has for what was opened: without links.
    fn real_path(&self) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// Those that lie below no other, sorted and each once.
pub(super) fn outermost(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let is_below = |path: &PathBuf| paths.iter().any(|it| it != path && path.starts_with(it));
    let mut found: Vec<&PathBuf> = paths.iter().filter(|path| !is_below(path)).collect();
    order::sort(&mut found);
    found.dedup();
    found
}

/// Opens a folder of `sandbox.writable`; `None` for what is not there.
///
/// Errors: it is none that may be written in.
pub fn writable(path: &Path) -> Result<Option<OwnedFd>, SandboxError> {
    Ok(open_writable(path)?.map(|opened| opened.fd))
}

fn open_writable(path: &Path) -> Result<Option<Opened>, SandboxError> {
    let failed = |error: io::Error| refused(path, format!("cannot be opened: {error}"));
    let opened = match Opened::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(refused(path, "is a link in a circle"));
        }
        opened => opened.map_err(failed)?,
    };
    let real = opened.real_path().map_err(failed)?;
    // Links are followed here only to say where they lead.
    let target = fs::canonicalize(path).unwrap_or_else(|_| real.clone());
    if real != path || target != path {
        let why = format!("is or lies below a link: name {}", target.display());
        return Err(refused(path, why));
    }
    match what_obeys(path) {
        None => Ok(Some(opened)),
        Some(why) => Err(refused(path, why)),
    }
}

/// Why nothing may be written in a folder at all.
fn what_obeys(path: &Path) -> Option<&'static str> {
    let home = env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    if KERNEL.iter().any(|kernel| path.starts_with(kernel)) {
        return Some("belongs to the kernel");
    }
    if path == Path::new("/") || home.is_some_and(|home| home.starts_with(path)) {
        return Some("holds the home folder, whose files other programs obey: name one in it");
    }
    None
}

fn refused(path: &Path, why: impl Into<String>) -> SandboxError {
    SandboxError::Folder {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// What is hidden by one name must not be seen by another.
fn with_real_names(paths: &[PathBuf]) -> Vec<PathBuf> {
    let real = paths.iter().map(|path| leads_to(path));
    let mut all: Vec<PathBuf> = paths.iter().cloned().chain(real).collect();
    order::sort(&mut all);
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_hidden_is_so_by_its_real_name_also_before_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let named = root.join("link/later");
        let all = with_real_names(std::slice::from_ref(&named));
        assert_eq!(all, [named, root.join("real/later")]);
        // Docker and bubblewrap would let a program make it.
        let view = View {
            writable: vec![Opened::open(&root.join("real")).unwrap()],
            hidden: all,
        };
        assert!(view.check_hidden().is_err());
    }
}
