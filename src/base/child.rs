//! One run of a child process: its output, its end, and what may end it early.
//!
//! Invariants:
//! - when [`run`] returns, the child was waited for, and its process group was killed; if it was
//!   ended early, all of its session was;
//! - nobody else waits for it, also where this process [adopts](adopt) those of others;
//! - memory does not grow with the output: `Capped` keeps its beginning and its end.
//!
//! All in the thread of the caller, which must stay: a child dies with the thread that started it.

mod capped;
mod descent;
mod own;
mod session;

use std::convert::Infallible;
use std::fmt::{self, Debug, Display};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, ioctl_fionread};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use crate::base::child::capped::Capped;
pub use crate::base::child::descent::{Holder, holder_of};
use crate::base::child::own::{Own, Starting};
pub use crate::base::child::own::{adopt, has_any, output, reap};
use crate::base::os::{self, ChildRules};
use crate::base::shown::shown_by_name;

/// How soon a cancellation is seen. Nothing wakes a thread that waits for descriptors when a
/// channel closes; so it looks, while a child runs.
const TICK: Duration = Duration::from_millis(20);
/// How long the end of the pipe may take to come, once the child and its group are dead. A process
/// that left the group may hold it open for ever.
const DRAIN: Duration = Duration::from_millis(100);
/// What is read at once: as much as a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// A child that is ready to be started. Its output and its input are set by [`run`].
#[derive(Debug)]
pub struct Prepared {
    /// What is started.
    pub command: Command,
    /// What binds it.
    pub rules: ChildRules,
    /// Who looks after it.
    pub warden: Box<dyn Warden>,
}

/// Looks after a child while it runs.
pub trait Warden {
    /// It was started.
    ///
    /// Errors: why it must not go on.
    fn started(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called several times a second; says why it must end, if it must.
    fn look(&mut self) -> Option<String> {
        None
    }

    /// The child and its group are dead, by themselves or not.
    fn ended(&mut self, end: &End) {
        let _nothing_to_clear_away = end;
    }
}

shown_by_name!(Warden);

/// Nobody looks after it.
#[derive(Debug)]
pub struct NoWarden;

impl Warden for NoWarden {}

/// What came of a run.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// What it printed, on both its outputs, in the order in which it came.
    pub output: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It was cancelled.
    Cancelled,
    /// Its time was up.
    TimedOut(Duration),
    /// Its warden said so.
    Stopped(String),
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(status) => write!(f, "{status}"),
            End::Cancelled => f.write_str("killed: it was cancelled"),
            End::TimedOut(limit) => {
                write!(f, "killed: it took more than {} seconds", limit.as_secs())
            }
            End::Stopped(reason) => write!(f, "killed: {reason}"),
        }
    }
}

/// Starts a child and waits for its end, at most `limit`, and no longer than until `cancel`
/// closes. `input` is its standard input; `for_whom` is what
/// [`holder_of`] says of it and its descendants meanwhile.
///
/// Errors: it cannot be started, or not be watched; it is not left running then.
pub fn run(
    prepared: Prepared,
    input: Stdio,
    limit: Duration,
    cancel: &Receiver<Infallible>,
    for_whom: &str,
) -> io::Result<Ended> {
    let Prepared {
        mut command,
        rules,
        mut warden,
    } = prepared;
    let (pipe_rx, pipe_tx) = io::pipe()?;
    ioctl_fionbio(&pipe_rx, true)?;
    os::bind_child(&mut command, rules);
    command
        .stdin(input)
        .stdout(pipe_tx.try_clone()?)
        .stderr(pipe_tx);
    let group = Group::start(&mut command, for_whom)?;
    // The command holds the writing ends of the pipe, whose last closing is its end.
    drop(command);
    warden.started()?;
    let mut watch = Watch {
        exit: pidfd_open(group.pid, PidfdFlags::empty()).ok(),
        group,
        pipe: Some(pipe_rx),
        output: Capped::default(),
        chunk: vec![0; CHUNK_BYTES],
    };
    let cause = watch.until_over(&mut *warden, limit, cancel)?;
    let end = watch.finish(cause)?;
    warden.ended(&end);
    watch.drain(DRAIN)?;
    Ok(Ended {
        end,
        output: watch.output.into_text(),
    })
}

/// A child and its process group. Dropping it kills both.
#[derive(Debug)]
struct Group {
    child: Child,
    pid: Pid,
    /// `None` when the child was waited for.
    own: Option<Own>,
}

impl Group {
    fn start(command: &mut Command, for_whom: &str) -> io::Result<Group> {
        let starting = Starting::begin();
        let child = command.spawn()?;
        Ok(Group {
            pid: Pid::from_child(&child),
            own: Some(starting.started(&child, for_whom)),
            child,
        })
    }

    /// Whether the child has ended; it stays a zombie, so that its number stays its own.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Kills whatever is left of the group. Not after the wait: the number could be that of
    /// another group then.
    fn kill(&self) {
        if let Err(error) = kill_process_group(self.pid, Signal::KILL) {
            log::debug!("process group {:?}: {error}", self.pid);
        }
    }

    /// Kills whatever is left of the group, and waits for the child.
    fn end(&mut self) -> io::Result<ExitStatus> {
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

/// Why the watching is over.
enum Cause {
    Exited,
    Ended(End),
}

struct Watch {
    group: Group,
    /// Readable when the child has ended; `None` where the system has no such thing.
    exit: Option<OwnedFd>,
    /// `None` after its end.
    pipe: Option<io::PipeReader>,
    output: Capped,
    chunk: Vec<u8>,
}

impl Watch {
    fn until_over(
        &mut self,
        warden: &mut dyn Warden,
        limit: Duration,
        cancel: &Receiver<Infallible>,
    ) -> io::Result<Cause> {
        let deadline = Instant::now() + limit;
        let mut next_look = Instant::now() + TICK;
        loop {
            self.wait(TICK)?;
            self.take()?;
            if self.group.has_ended()? {
                return Ok(Cause::Exited);
            }
            let now = Instant::now();
            let reason = match now >= next_look {
                true => warden.look(),
                false => None,
            };
            if now >= next_look {
                next_look = now + TICK;
            }
            if matches!(cancel.try_recv(), Err(TryRecvError::Disconnected)) {
                return Ok(Cause::Ended(End::Cancelled));
            } else if now >= deadline {
                return Ok(Cause::Ended(End::TimedOut(limit)));
            } else if let Some(reason) = reason {
                return Ok(Cause::Ended(End::Stopped(reason)));
            }
        }
    }

    /// Waits until there is something to read or the child has ended, at most `limit`.
    fn wait(&self, limit: Duration) -> io::Result<()> {
        let pipe = self.pipe.as_ref();
        let pipe = pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let exit = self.exit.as_ref();
        let exit = exit.map(|exit| PollFd::new(exit, PollFlags::IN));
        let mut both: Vec<PollFd<'_>> = pipe.into_iter().chain(exit).collect();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut both, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what is in the pipe, at most a chunk; how many bytes.
    fn take(&mut self) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(0);
        };
        match pipe.read(&mut self.chunk) {
            Ok(count) => {
                self.output.push(&self.chunk[..count]);
                if count == 0 {
                    self.pipe = None;
                }
                Ok(count)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self, cause: Cause) -> io::Result<End> {
        Ok(match cause {
            Cause::Exited => End::Exited(self.group.end()?),
            Cause::Ended(end) => {
                // Most of it at once, before it can make more.
                self.group.kill();
                session::kill(self.group.pid);
                self.group.end()?;
                end
            }
        })
    }

    /// Takes what the dead left in the pipe, and what comes within `grace`.
    fn drain(&mut self, grace: Duration) -> io::Result<()> {
        // The child has ended, and would wake every wait at once.
        self.exit = None;
        // What is there is taken, however late this thread has its turn. No more than that: what
        // holds the pipe open may go on writing.
        let mut left = self.pipe.as_ref().map_or(Ok(0), ioctl_fionread)?;
        while left > 0 {
            match self.take()? {
                0 => break,
                count => left = left.saturating_sub(count as u64),
            }
        }
        let deadline = Instant::now() + grace;
        while self.pipe.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.wait(left)?;
            self.take()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_taken_however_late() {
        let (pipe_rx, pipe_tx) = io::pipe().unwrap();
        ioctl_fionbio(&pipe_rx, true).unwrap();
        // A pipe that somebody holds open.
        let held = pipe_tx.try_clone().unwrap();
        let mut command = Command::new("head");
        command.args(["-c", "60000", "/dev/zero"]).stdout(pipe_tx);
        let mut watch = Watch {
            group: Group::start(&mut command, "").unwrap(),
            exit: None,
            pipe: Some(pipe_rx),
            output: Capped::default(),
            chunk: vec![0; 1000],
        };
        watch.group.child.wait().unwrap();
        watch.group.own = None;
        watch.drain(Duration::ZERO).unwrap();
        assert_eq!(watch.output.into_text().len(), 60_000);
        drop(held);
    }
}
