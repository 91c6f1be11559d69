//! Which children of this process are its own: those that it started, and waits for itself. All
//! others were left to it by programs that ended before theirs, and are only reaped.
//!
//! Invariants:
//! - a child is its own from before it exists until after it was waited for, so that nobody else
//!   ever waits for it: its number stays its own until then, which whoever kills relies on;
//! - what was adopted and has ended is reaped as soon as no child of its own is just being started,
//!   or waits to be waited for.
//!
//! The list belongs to the process, as the system's own list of its children does: two of them
//! would reap one another's.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};

use crate::base::lock::lock;
use crate::base::os;

static CHILDREN: Mutex<Children> = Mutex::new(Children {
    starting: 0,
    own: BTreeMap::new(),
    adopts: false,
});

struct Children {
    /// How many are just being started: their numbers are not known yet.
    starting: usize,
    /// By number, for whom they run.
    own: BTreeMap<i32, Arc<str>>,
    /// Whether others than its own may be there, and are to be reaped.
    adopts: bool,
}

impl Children {
    /// Reaps the adopted ones that have ended.
    fn reap(&self) {
        // The first one to be waited for may be of our own, and hide others until it was. Whoever
        // waits for it comes here again, as does whoever starts one.
        while self.adopts
            && self.starting == 0
            && let Ok(Some(pid)) = os::ended_child()
            && !self.own.contains_key(&pid.as_raw_pid())
        {
            if let Err(error) = waitid(WaitId::Pid(pid), ENDED) {
                log::warn!("process {pid:?} cannot be reaped: {error}");
                return;
            }
        }
    }
}

const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);

/// Makes this process the one that descendants without a parent are left to, whatever they did to
/// be nobody's, and the one that reaps them. For a process that starts children by this module
/// alone, and calls [`reap`] when one has ended.
///
/// Source: PR_SET_CHILD_SUBREAPER(2const).
pub fn adopt() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    lock(&CHILDREN).adopts = true;
    Ok(())
}

/// Reaps what was adopted and has ended. Does nothing before [`adopt`], and never waits.
pub fn reap() {
    lock(&CHILDREN).reap();
}

/// Whether this process [adopts](adopt), and so can tell who descends from it.
pub(super) fn adopts() -> bool {
    lock(&CHILDREN).adopts
}

/// A descendant is known to be there: this process adopts, and has a child, of its own or adopted,
/// that was not reaped.
pub fn has_any() -> bool {
    let no_child = rustix::io::Errno::CHILD.raw_os_error();
    let has_none = os::ended_child().is_err_and(|error| error.raw_os_error() == Some(no_child));
    adopts() && !has_none
}

/// For whom a child of this process's own runs; `None` for what is not its own, or not any more.
pub(super) fn runs_for(pid: Pid) -> Option<Arc<str>> {
    lock(&CHILDREN).own.get(&pid.as_raw_pid()).cloned()
}

/// Starts `command` with nothing blocked and waits for its end; what it printed.
///
/// Errors: it cannot be started.
pub fn output(command: &mut Command) -> io::Result<Output> {
    os::unblock_signals(command);
    let starting = Starting::begin();
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let _own = starting.started(&child, "");
    child.wait_with_output()
}

/// A child that is about to be started. Dropped without one, the start has failed.
#[derive(Debug)]
pub(super) struct Starting(());

impl Starting {
    /// To be called before the start.
    pub(super) fn begin() -> Starting {
        lock(&CHILDREN).starting += 1;
        Starting(())
    }

    /// The start has succeeded. What is returned is dropped after the child was waited for.
    pub(super) fn started(self, child: &Child, runs_for: &str) -> Own {
        let pid = Pid::from_child(child);
        let runs_for = Arc::from(runs_for);
        let mut children = lock(&CHILDREN);
        children.own.insert(pid.as_raw_pid(), Arc::clone(&runs_for));
        drop(children);
        Own { pid, runs_for }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut children = lock(&CHILDREN);
        children.starting -= 1;
        children.reap();
    }
}

/// A child of this process's own, until it was waited for.
#[derive(Debug)]
pub(super) struct Own {
    pid: Pid,
    runs_for: Arc<str>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut children = lock(&CHILDREN);
        let number = self.pid.as_raw_pid();
        // It was waited for: its number may be another's already.
        let known = children.own.get(&number);
        if known.is_some_and(|known| Arc::ptr_eq(known, &self.runs_for)) {
            children.own.remove(&number);
        }
        children.reap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_became_anothers_stays_that_ones() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let first = Starting::begin().started(&child, "first");
        child.wait().unwrap();
        let second = Starting::begin().started(&child, "second");
        drop(first);
        assert_eq!(runs_for(pid).as_deref(), Some("second"));
        drop(second);
        assert_eq!(runs_for(pid), None);
    }
}
