//! One run of a child process: its output, its end, and what may end it early.
//!
//! Invariants:
//! - when [`run`] returns, the child was waited for, and its process group was killed; if it was
//!   ended early, all of its session was;
//! - nobody else waits for it, also where this process [adopts](super::adopt) those of others;
//! - memory does not grow with the output: `Capped` keeps its beginning and its end.
//!
//! All in the thread of the caller, which must stay: a child dies with the thread that started it.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, ioctl_fionread};
use rustix::process::{PidfdFlags, pidfd_open};

use super::capped::Capped;
use super::group::Group;
use super::prepared::{End, Monitor, Prepared};
use crate::base::os;

/// How soon a cancellation is seen. Nothing wakes a thread that waits for descriptors when a
/// channel closes; so it looks, while a child runs.
const TICK: Duration = Duration::from_millis(20);
/// How long the end of the pipe may take to come, once the child and its group are dead. A process
/// that left the group may hold it open for ever.
const DRAIN: Duration = Duration::from_millis(100);
/// What is read at once: as much as a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// A child that was waited for.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// The text of both its outputs, in the order in which it came.
    pub output: String,
}

/// Starts a child and waits for its end, at most `limit`, and no longer than until `cancel`
/// closes. `input` is its standard input; `for_whom` is what
/// [`holder_of`](super::holder_of) says of it and its descendants meanwhile.
///
/// Errors: it cannot be started, or not be watched; it is not left running then.
pub fn run(
    prepared: Prepared,
    input: Stdio,
    limit: Duration,
    cancel: &Receiver<Infallible>,
    for_whom: &str,
) -> io::Result<Ended> {
    run_apart(prepared, input, None, limit, cancel, for_whom)
}

/// As [`run`]; what it complains of goes to `errors`, if that is given, and is no part of its output.
pub fn run_apart(
    prepared: Prepared,
    input: Stdio,
    errors: Option<Stdio>,
    limit: Duration,
    cancel: &Receiver<Infallible>,
    for_whom: &str,
) -> io::Result<Ended> {
    let Prepared {
        mut command,
        rules,
        mut monitor,
    } = prepared;
    let (pipe_rx, pipe_tx) = io::pipe()?;
    ioctl_fionbio(&pipe_rx, true)?;
    os::bind_child(&mut command, rules);
    command
        .stdin(input)
        .stdout(pipe_tx.try_clone()?)
        .stderr(errors.unwrap_or(pipe_tx.into()));
    let group = Group::start(&mut command, for_whom)?;
    // The command holds the writing ends of the pipe, whose last closing is its end.
    drop(command);
    monitor.started()?;
    let mut watch = Watch {
        exit: pidfd_open(group.pid, PidfdFlags::empty()).ok(),
        group,
        pipe: Some(pipe_rx),
        output: Capped::default(),
        chunk: vec![0; CHUNK_BYTES],
    };
    let cause = watch.until_over(&mut *monitor, limit, cancel)?;
    let end = watch.finish(cause)?;
    monitor.ended(&end);
    watch.drain(DRAIN)?;
    Ok(Ended {
        end,
        output: watch.output.into_text(),
    })
}

/// Why the watching is over.
enum WatchEnd {
    Exited,
    Early(End),
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
        monitor: &mut dyn Monitor,
        limit: Duration,
        cancel: &Receiver<Infallible>,
    ) -> io::Result<WatchEnd> {
        let deadline = Instant::now() + limit;
        let mut next_check = Instant::now() + TICK;
        loop {
            self.wait(TICK)?;
            self.take()?;
            if self.group.has_ended()? {
                return Ok(WatchEnd::Exited);
            }
            let now = Instant::now();
            let mut reason = None;
            if now >= next_check {
                reason = monitor.check();
                next_check = now + TICK;
            }
            if matches!(cancel.try_recv(), Err(TryRecvError::Disconnected)) {
                return Ok(WatchEnd::Early(End::Cancelled));
            } else if now >= deadline {
                return Ok(WatchEnd::Early(End::TimedOut(limit)));
            } else if let Some(reason) = reason {
                return Ok(WatchEnd::Early(End::Stopped(reason)));
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

    fn finish(&mut self, cause: WatchEnd) -> io::Result<End> {
        Ok(match cause {
            WatchEnd::Exited => End::Exited(self.group.end()?),
            WatchEnd::Early(end) => {
                self.group.end_early()?;
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
    use std::process::Command;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

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
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(watch.group.pid), ended).unwrap();
        watch.group.end().unwrap();
        watch.drain(Duration::ZERO).unwrap();
        assert_eq!(watch.output.into_text().len(), 60_000);
        drop(held);
    }
}
