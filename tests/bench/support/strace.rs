//! Counts the system calls of a process.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::support::process::Process;

/// `strace` at a process.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    _messages: BufReader<ChildStderr>,
    counts: NamedTempFile,
}

impl Strace {
    /// Begins to count; `None` where there is no `strace`, or where it may not.
    pub fn attach(process: Process) -> anyhow::Result<Option<Strace>> {
        let counts = NamedTempFile::new()?;
        let spawned = Command::new("strace")
            .args([
                "-f",
                "-c",
                "-U",
                "name,calls",
                "-p",
                &process.pid().to_string(),
                "-o",
            ])
            .arg(counts.path())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            spawned => spawned?,
        };
        let mut messages = BufReader::new(child.stderr.take().context("no messages")?);
        let mut line = String::new();
        messages.read_line(&mut line)?;
        if !line.contains("attached") {
            child.wait()?;
            return Ok(None);
        }
        Ok(Some(Strace {
            child,
            _messages: messages,
            counts,
        }))
    }

    /// How many calls there were.
    pub fn end(mut self) -> anyhow::Result<u64> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no number")?, Signal::INT)?;
        self.child.wait()?;
        let counts = fs::read_to_string(self.counts.path())?;
        let total = counts.lines().find_map(|line| line.strip_prefix("total"));
        Ok(total.context("no total")?.trim().parse()?)
    }
}
