//! Who holds a socket: a program that this process started, however far removed, or another one.
//!
//! A program that leaves its parent is left to this process (`adopt`), so that each descendant's
//! parents lead here. What was started by another service on its behalf is none.
//!
//! Processes come and go while they are looked at. Only what was *seen* to hold the socket counts,
//! so whoever slips through is held for nobody, never for another one.

use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Pid, getpid};

use crate::base::child::{own, session};
use crate::base::order;

/// Who holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A descendant of this process, or this process itself if it [adopts](super::adopt).
    Descendant {
        /// For whom the child runs that it descends from, while that runs.
        runs_for: Option<Arc<str>>,
    },
    /// Others alone.
    Other,
    /// Nobody who can be looked into.
    Unseen {
        /// Whether a descendant cannot be, and so may be the one: one that became another account,
        /// as `sudo` does, or that hides.
        may_descend: bool,
    },
}

/// How often what was born meanwhile is looked for.
const ROUNDS: usize = 3;
/// More than any line of parents takes that is not made to be long.
const STEPS_MAX: usize = 1000;

/// Finds who holds the socket with that number. Costs some milliseconds: all processes are looked at.
pub fn holder_of(inode: NonZeroU32) -> Holder {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let mut is_any_hidden = false;
    for _ in 0..ROUNDS {
        match look(&link) {
            Holder::Unseen { may_descend } => is_any_hidden |= may_descend,
            seen @ (Holder::Descendant { .. } | Holder::Other) => return seen,
        }
    }
    Holder::Unseen {
        may_descend: is_any_hidden,
    }
}

fn look(link: &Path) -> Holder {
    let Some(this) = this_process() else {
        return Holder::Unseen { may_descend: true };
    };
    let mut others = Vec::new();
    let mut may_descend = false;
    for pid in processes() {
        let runs_for = match descent(pid, this) {
            Some(Descent::Ours(runs_for)) => runs_for,
            Some(Descent::Other) => {
                others.push(pid);
                continue;
            }
            // Of one that is gone nothing is left to hold.
            None => continue,
        };
        for task in tasks(pid) {
            if holds(&task, link) {
                return Holder::Descendant { runs_for };
            }
            may_descend |= is_hidden(&task);
        }
    }
    // The youngest first: clients live shorter than services. Its number may have become another's
    // since it was looked at.
    let is_other = |pid: &Pid| {
        holds(&process_folder(*pid), link) && descent(*pid, this) == Some(Descent::Other)
    };
    if others.iter().rev().any(is_other) {
        Holder::Other
    } else {
        Holder::Unseen { may_descend }
    }
}

/// This process's number in `/proc`, which may be that of an outer namespace of numbers.
fn this_process() -> Option<Pid> {
    Pid::from_raw(fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()?)
}

fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<Pid> = numbers.filter_map(Pid::from_raw).collect();
    order::sort_by_key(&mut pids, |pid| pid.as_raw_pid());
    pids
}

fn process_folder(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", pid.as_raw_pid()))
}

/// The threads of a process: each may have files of its own, also after the first one has ended.
fn tasks(pid: Pid) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(process_folder(pid).join("task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.path())
}

fn holds(task: &Path, link: &Path) -> bool {
    let files = fs::read_dir(task.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .map(|file| fs::read_link(file.path()))
        .any(|target| target.is_ok_and(|target| target == link))
}

/// Whether it is not for us to see what a thread has open.
fn is_hidden(task: &Path) -> bool {
    let files = fs::read_dir(task.join("fd"));
    files.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Descent {
    /// For whom the child runs that it descends from.
    Ours(Option<Arc<str>>),
    Other,
}

/// Goes from parent to parent; `None` for a process that is gone.
fn descent(pid: Pid, this: Pid) -> Option<Descent> {
    let mut child = pid;
    let mut parent = parent_of(child)?;
    for _ in 0..STEPS_MAX {
        let Some(known_parent) = parent.filter(|_| child != this) else {
            return Some(if child == this && (pid != this || own::adopts()) {
                Descent::Ours(None)
            } else {
                Descent::Other
            });
        };
        // Our list has the numbers of our own namespace.
        if this == getpid()
            && let Some(runs_for) = own::runs_for(child)
        {
            return Some(Descent::Ours(Some(runs_for)));
        }
        let grandparent = parent_of(known_parent);
        // If that still is its parent, it is the one that was just asked for its own. Else it has
        // ended, its number may be another's, and what it left has a new parent.
        match (grandparent, parent_of(child)) {
            (Some(grandparent), Some(again)) if again == parent => {
                (child, parent) = (known_parent, grandparent);
            }
            _ => (child, parent) = (pid, parent_of(pid)?),
        }
    }
    // Whoever is behind so many, or never stands still, has something to hide.
    Some(Descent::Ours(None))
}

/// The parent, if it has one here; `None` for a process that is gone.
fn parent_of(pid: Pid) -> Option<Option<Pid>> {
    let stat = fs::read_to_string(process_folder(pid).join("stat")).ok()?;
    Some(Pid::from_raw(session::fields(&stat)?.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child::own::Starting;
    use std::io::{BufRead as _, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    /// A connection of this process's own, which is held by `script` too once that has said so.
    fn held_by(script: &str, runs_for: &str) -> Holder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&client).unwrap().st_ino).unwrap();
        let starting = Starting::begin();
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(client)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let own = starting.started(&child, runs_for);
        let mut said = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        let holder = holder_of(NonZeroU32::new(inode).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(own);
        holder
    }

    #[test]
    fn a_descendant_is_known_with_what_it_runs_for() {
        let runs_for = Some(Arc::from("ana"));
        for script in [
            "echo; exec sleep 5",
            "exec 3<&0; (echo; exec sleep 5) & exec 0<&- 3<&-; wait",
            "setsid sh -c 'echo; exec sleep 5'",
        ] {
            let expected = Holder::Descendant {
                runs_for: runs_for.clone(),
            };
            assert_eq!(held_by(script, "ana"), expected, "{script}");
        }
    }

    #[test]
    fn the_parents_of_this_process_are_none_of_its_descendants() {
        let this = getpid();
        // It adopts nobody.
        assert_eq!(descent(this, this), Some(Descent::Other));
        let parent = parent_of(this).unwrap().unwrap();
        assert_eq!(descent(parent, this), Some(Descent::Other));
        assert_eq!(descent(Pid::INIT, this), Some(Descent::Other));
        assert_eq!(this_process(), Some(this));
    }

    #[test]
    fn what_is_gone_descends_from_nobody() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        child.wait().unwrap();
        assert_eq!(descent(pid, getpid()), None);
        let holder = holder_of(NonZeroU32::MAX);
        assert!(matches!(holder, Holder::Unseen { .. }), "{holder:?}");
    }
}
