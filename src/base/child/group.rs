//! A child and its process group.

use std::io;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::own::{Own, Starting};
use super::session;

/// A child and its process group. Dropping it kills both.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    pub(super) pid: Pid,
    /// `None` when the child was waited for.
    own: Option<Own>,
}

impl Group {
    pub(super) fn start(command: &mut Command, for_whom: &str) -> io::Result<Group> {
        let starting = Starting::begin();
        let child = command.spawn()?;
        Ok(Group {
            pid: Pid::from_child(&child),
            own: Some(starting.started(&child, for_whom)),
            child,
        })
    }

    /// Whether the child has ended; it stays a zombie, so that its number stays its own.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Kills whatever is left of the group. Not after the wait: the number could be that of
    /// another group then.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks all of the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.pid, signal) {
            log::debug!("process group {:?}: {error}", self.pid);
        }
    }

    /// Kills all of its session, and waits for the child.
    pub(super) fn end_early(&mut self) -> io::Result<ExitStatus> {
        // Most of it at once, before it can make more.
        self.kill();
        session::kill(self.pid);
        self.end()
    }

    /// Kills whatever is left of the group, and waits for the child.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        let status = self.child.wait()?;
        self.own = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.own.is_some()
            && let Err(error) = self.end()
        {
            log::warn!("a child could not be waited for: {error}");
        }
    }
}
