//! A file system that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::base::fs::{File, Fs, Open};

/// Passes every operation on to another file system, but for the one that its [`Fault`] names.
///
/// Operations are counted from 1 over all files and threads; reads count too.
#[derive(Debug, Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    plan: Arc<Plan>,
}

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The number of the operation, from 1.
    pub at: u64,
    /// What happens at it.
    pub kind: FaultKind,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is done.
    Error(Errno),
    /// A write stores its first bytes, then fails; any other operation fails as a whole.
    ShortWrite {
        /// How many bytes are stored at most.
        bytes: usize,
        /// The error then.
        errno: Errno,
    },
    /// This operation and all after it do nothing: the power is gone.
    Dead,
}

impl FaultFs {
    /// Fails as `fault` says.
    pub fn new(inner: Arc<dyn Fs>, fault: Fault) -> FaultFs {
        FaultFs::with(inner, Some(fault))
    }

    /// Never fails: counts the operations of a scenario.
    pub fn counting(inner: Arc<dyn Fs>) -> FaultFs {
        FaultFs::with(inner, None)
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> u64 {
        self.plan.asked.load(Ordering::SeqCst)
    }

    fn with(inner: Arc<dyn Fs>, fault: Option<Fault>) -> FaultFs {
        let asked = AtomicU64::new(0);
        FaultFs {
            inner,
            plan: Arc::new(Plan { asked, fault }),
        }
    }
}

#[derive(Debug)]
struct Plan {
    asked: AtomicU64,
    fault: Option<Fault>,
}

impl Plan {
    /// Counts an operation; returns the fault that strikes it.
    fn strike(&self) -> Option<FaultKind> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = self.fault?;
        let strikes = match fault.kind {
            FaultKind::Dead => number >= fault.at,
            FaultKind::Error(_) | FaultKind::ShortWrite { .. } => number == fault.at,
        };
        strikes.then_some(fault.kind)
    }

    fn check(&self) -> io::Result<()> {
        match self.strike() {
            None => Ok(()),
            Some(fault) => Err(fault.error()),
        }
    }
}

impl FaultKind {
    fn error(self) -> io::Error {
        match self {
            FaultKind::Error(errno) | FaultKind::ShortWrite { errno, .. } => errno.into(),
            FaultKind::Dead => Errno::IO.into(),
        }
    }
}

impl Fs for FaultFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.check()?;
        self.inner.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.plan.check()?;
        let inner = self.inner.open(path, how)?;
        let plan = Arc::clone(&self.plan);
        Ok(Box::new(FaultFile { inner, plan }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.check()?;
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.check()?;
        self.inner.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.plan.check()?;
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.plan.check()?;
        self.inner.remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.plan.check()?;
        self.inner.list_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.plan.check()?;
        self.inner.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.plan.check()?;
        self.inner.free_bytes(path)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn File>,
    plan: Arc<Plan>,
}

impl File for FaultFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(fault) = self.plan.strike() else {
            return self.inner.write_all(bytes);
        };
        if let FaultKind::ShortWrite { bytes: stored, .. } = fault {
            self.inner.write_all(&bytes[..stored.min(bytes.len())])?;
        }
        Err(fault.error())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.check()?;
        self.inner.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.plan.check()?;
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.check()?;
        self.inner.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.plan.check()?;
        self.inner.truncate(len)
    }
}
