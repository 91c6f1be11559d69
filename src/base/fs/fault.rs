//! A file system that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use rustix::io::Errno;

use crate::base::fs::{Exposure, File, Fs, Open};
use crate::base::text::TextError;

/// Passes every operation on to another file system, but for the one that its [`Fault`] names, or
/// for some at random.
///
/// Operations are counted from 1 over all files and threads; reads count too.
#[derive(Debug, Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    plan: Arc<FaultPlan>,
}

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The number of the operation, from 1.
    pub at: u64,
    /// The way in which it fails.
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

    /// One in `one_in` of the operations that change something fails, with a short write, a full
    /// disk or an I/O error; each such failure is logged. Reads never fail. The same seed and the
    /// same order of operations fail alike.
    pub fn random(inner: Arc<dyn Fs>, seed: u64, one_in: u32) -> FaultFs {
        FaultFs::with_faults(
            inner,
            Faults::Random {
                rng: Mutex::new(Rng::with_seed(seed)),
                one_in: one_in.max(1),
            },
        )
    }

    /// Takes nothing new from the operation on whose number stands in `from`, which may change:
    /// writes, and files that would be created, fail with `errno`. Other operations go on, as on a
    /// disk that is full.
    pub fn full_from(inner: Arc<dyn Fs>, errno: Errno, from: Arc<AtomicU64>) -> FaultFs {
        FaultFs::with_faults(inner, Faults::Full { errno, from })
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> u64 {
        self.plan.asked.load(Ordering::SeqCst)
    }

    fn with(inner: Arc<dyn Fs>, fault: Option<Fault>) -> FaultFs {
        FaultFs::with_faults(inner, fault.map_or(Faults::None, Faults::One))
    }

    fn with_faults(inner: Arc<dyn Fs>, faults: Faults) -> FaultFs {
        let asked = AtomicU64::new(0);
        FaultFs {
            inner,
            plan: Arc::new(FaultPlan { asked, faults }),
        }
    }
}

#[derive(Debug)]
struct FaultPlan {
    asked: AtomicU64,
    faults: Faults,
}

#[derive(Debug)]
enum Faults {
    None,
    One(Fault),
    Random { rng: Mutex<Rng>, one_in: u32 },
    Full { errno: Errno, from: Arc<AtomicU64> },
}

/// What an operation does to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskOperation {
    Read,
    Write,
    /// A file or folder that may not be there yet.
    Create,
    /// Names, lengths, syncs: what is done whole or not at all.
    Change,
}

impl DiskOperation {
    fn of_open(how: Open) -> DiskOperation {
        match how {
            Open::Read | Open::Append => DiskOperation::Read,
            Open::AppendOrCreate | Open::CreateNew | Open::Empty => DiskOperation::Create,
        }
    }
}

impl FaultPlan {
    /// Counts an operation; returns the fault that strikes it.
    fn strike(&self, deed: DiskOperation) -> Option<FaultKind> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        match &self.faults {
            Faults::None => None,
            Faults::One(fault) => fault.strikes(number).then_some(fault.kind),
            Faults::Random { rng, one_in } => {
                let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                let strikes = deed != DiskOperation::Read && rng.u32(..*one_in) == 0;
                strikes.then(|| random_fault(&mut rng, number))
            }
            Faults::Full { errno, from } => {
                let is_new = matches!(deed, DiskOperation::Write | DiskOperation::Create);
                let is_full = number >= from.load(Ordering::SeqCst);
                (is_new && is_full).then_some(FaultKind::Error(*errno))
            }
        }
    }

    fn check(&self, deed: DiskOperation) -> io::Result<()> {
        match self.strike(deed) {
            None => Ok(()),
            Some(fault) => Err(fault.error()),
        }
    }
}

impl Fault {
    fn strikes(&self, number: u64) -> bool {
        match self.kind {
            FaultKind::Dead => number >= self.at,
            FaultKind::Error(_) | FaultKind::ShortWrite { .. } => number == self.at,
        }
    }
}

fn random_fault(rng: &mut Rng, number: u64) -> FaultKind {
    /// Some hundred bytes are a line of a log.
    const SHORT_BYTES: usize = 300;
    let errno = if rng.bool() { Errno::NOSPC } else { Errno::IO };
    let kind = if rng.bool() {
        FaultKind::Error(errno)
    } else {
        // An operation that is no write fails as a whole.
        FaultKind::ShortWrite {
            bytes: rng.usize(..SHORT_BYTES),
            errno,
        }
    };
    log::warn!("fault injected at operation {number}: {kind:?}");
    kind
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
        self.plan.check(DiskOperation::Create)?;
        self.inner.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.plan.check(DiskOperation::of_open(how))?;
        let inner = self.inner.open(path, how)?;
        let plan = Arc::clone(&self.plan);
        Ok(Box::new(FaultFile { inner, plan }))
    }

    fn open_text(&self, path: &Path, root: Option<&Path>) -> Result<Box<dyn File>, TextError> {
        self.plan.check(DiskOperation::Read)?;
        let inner = self.inner.open_text(path, root)?;
        let plan = Arc::clone(&self.plan);
        Ok(Box::new(FaultFile { inner, plan }))
    }

    fn check_unlinked(&self, path: &Path, root: &Path) -> Result<(), TextError> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.check_unlinked(path, root)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.list_dir(path)
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.make_private(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.free_bytes(path)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn File>,
    plan: Arc<FaultPlan>,
}

impl File for FaultFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(fault) = self.plan.strike(DiskOperation::Write) else {
            return self.inner.write_all(bytes);
        };
        if let FaultKind::ShortWrite { bytes: stored, .. } = fault {
            self.inner.write_all(&bytes[..stored.min(bytes.len())])?;
        }
        Err(fault.error())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.plan.check(DiskOperation::Read)?;
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.plan.check(DiskOperation::Change)?;
        self.inner.truncate(len)
    }

    fn exposure(&self) -> io::Result<Exposure> {
        self.inner.exposure()
    }
}
