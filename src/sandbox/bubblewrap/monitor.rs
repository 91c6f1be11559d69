//! Looks after one run of `bwrap`: holds it back until its limits are set, counts what runs in
//! it, and sees that it ends.

use std::ffi::OsString;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, prlimit,
};

use crate::base::child::{End, Monitor};
use crate::sandbox::census;
use crate::sandbox::job::SandboxError;
use crate::sandbox::settings::{SandboxSettings, TASKS_MAX};

/// How long `bwrap` may take to say which process it made: milliseconds, on a machine that is not
/// overloaded.
const INFO_WITHIN: Duration = Duration::from_secs(5);
/// What it says is one small JSON object.
const INFO_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct BwrapMonitor {
    memory_bytes: u64,
    /// What `bwrap` says goes through this.
    info_rx: PipeReader,
    /// A byte in this lets it go on.
    go_tx: PipeWriter,
    /// Its ends of both, until it was started.
    theirs: Option<(PipeWriter, PipeReader)>,
    /// The folders that it is to mount, until it was started.
    folders: Vec<OwnedFd>,
    inside: Option<FirstProcess>,
}

/// The first process of the namespace.
#[derive(Debug)]
struct FirstProcess {
    pid: Pid,
    handle: OwnedFd,
}

#[derive(serde::Deserialize)]
struct Info {
    #[serde(rename = "child-pid")]
    child_pid: i32,
}

impl BwrapMonitor {
    pub(super) fn new(settings: &SandboxSettings) -> Result<BwrapMonitor, SandboxError> {
        let pipe = || {
            io::pipe().map_err(|source| SandboxError::Io {
                action: "make a pipe",
                source,
            })
        };
        let (info_rx, info_tx) = pipe()?;
        let (go_rx, go_tx) = pipe()?;
        Ok(BwrapMonitor {
            memory_bytes: settings.memory_bytes,
            info_rx,
            go_tx,
            theirs: Some((info_tx, go_rx)),
            folders: Vec::new(),
            inside: None,
        })
    }

    /// Keeps what it is to mount open until it was started.
    pub(super) fn keep(&mut self, folders: impl Iterator<Item = OwnedFd>) {
        self.folders.extend(folders);
    }

    /// What `bwrap` must be told of this.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let names = ["--info-fd", "--block-fd"];
        let pairs = names.into_iter().zip(self.pipes());
        pairs
            .flat_map(|(name, fd)| [name.to_owned(), fd.to_string()])
            .map(OsString::from)
            .collect()
    }

    /// What `bwrap` must be left.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let folders = self.folders.iter().map(|fd| fd.as_raw_fd());
        self.pipes().into_iter().chain(folders).collect()
    }

    fn pipes(&self) -> Vec<RawFd> {
        let theirs = self.theirs.as_ref();
        theirs
            .map(|(info, go)| vec![info.as_raw_fd(), go.as_raw_fd()])
            .unwrap_or_default()
    }

    /// `None` when `bwrap` ended before it had made anything.
    fn read_info(&mut self) -> io::Result<Option<Info>> {
        let deadline = Instant::now() + INFO_WITHIN;
        let mut text = Vec::new();
        loop {
            if let Ok(info) = serde_json::from_slice(&text) {
                return Ok(Some(info));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.info_rx, PollFlags::IN)];
            let is_ready = match poll(&mut ready, Some(&limit)) {
                Err(Errno::INTR) => continue,
                ready => ready? > 0,
            };
            if !is_ready || text.len() > INFO_BYTES_MAX {
                return Err(io::Error::other("bwrap does not say what it made"));
            }
            let mut chunk = [0; 512];
            match self.info_rx.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => text.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Monitor for BwrapMonitor {
    fn started(&mut self) -> io::Result<()> {
        // Else the end of `bwrap` would not be the end of what it says.
        self.theirs = None;
        self.folders.clear();
        let Some(info) = self.read_info()? else {
            // It will have said why.
            return Ok(());
        };
        let no_number = || io::Error::other("bwrap names no process");
        let pid = Pid::from_raw(info.child_pid).ok_or_else(no_number)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        // In the namespace, and not before it is made: there it counts what is in the namespace,
        // here it would count all of the user's.
        let most = Some(TASKS_MAX);
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        prlimit(Some(pid), Resource::Nproc, limit)?;
        self.inside = Some(FirstProcess { pid, handle });
        self.go_tx.write_all(b"1")
    }

    fn is_checking(&self) -> bool {
        true
    }

    fn check(&mut self) -> Option<String> {
        let pid = self.inside.as_ref()?.pid.as_raw_pid();
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let census = census::take(&root)?;
        if census.tasks > TASKS_MAX {
            return Some(format!("it had more than {TASKS_MAX} processes"));
        }
        let seems_over = census.memory_bytes > self.memory_bytes;
        if !seems_over || census::shared_memory(&root)? <= self.memory_bytes {
            return None;
        }
        let most = self.memory_bytes >> 20;
        Some(format!("its processes used more than {most} MB of memory"))
    }

    fn ended(&mut self, _: &End) {
        // With the first process of a namespace die all. It dies with `bwrap`, but for the first
        // moments, when it has not yet asked for that.
        if let Some(inside) = self.inside.take()
            && let Err(error) = pidfd_send_signal(&inside.handle, Signal::KILL)
            && error != Errno::SRCH
        {
            log::warn!("a sandbox may still run: {error}");
        }
    }
}
