//! The real disk, with a clock at its syncs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duragent::base::fs::{File, Fs, Open, RealFs};

/// Passes everything on, and adds up what syncs take. Clones share the sum.
#[derive(Debug, Clone, Default)]
pub struct TimedFs {
    sum: Arc<Sum>,
}

#[derive(Debug, Default)]
struct Sum {
    syncs: AtomicU64,
    nanos: AtomicU64,
}

impl TimedFs {
    /// How many syncs there were, and how long they took.
    pub fn syncs(&self) -> (u64, Duration) {
        let nanos = self.sum.nanos.load(Ordering::Relaxed);
        let count = self.sum.syncs.load(Ordering::Relaxed);
        (count, Duration::from_nanos(nanos))
    }
}

impl Sum {
    fn time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = sync();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        result
    }
}

impl Fs for TimedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let inner = RealFs.open(path, how)?;
        let sum = Arc::clone(&self.sum);
        Ok(Box::new(TimedFile { inner, sum }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sum.time(|| RealFs.sync_dir(path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        RealFs.list_dir(path)
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        RealFs.make_private(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealFs.free_bytes(path)
    }
}

#[derive(Debug)]
struct TimedFile {
    inner: Box<dyn File>,
    sum: Arc<Sum>,
}

impl File for TimedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sum.time(|| self.inner.sync_data())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
}
