//! Turns to write: of each name one thread of the process at a time, of different names mostly
//! several.

use std::sync::{Mutex, MutexGuard};

use crate::base::lock::lock;

/// So many threads may write at once, if their names differ in the right way.
const STRIPES: usize = 64;

/// Locks that exist to be held over a write and its sync.
#[derive(Debug)]
pub(super) struct Stripes(Vec<Mutex<()>>);

impl Default for Stripes {
    fn default() -> Stripes {
        Stripes((0..STRIPES).map(|_| Mutex::default()).collect())
    }
}

impl Stripes {
    /// Waits for the turn to write what has that name.
    pub(super) fn take(&self, name: &str) -> MutexGuard<'_, ()> {
        let hash = crc32fast::hash(name.as_bytes());
        lock(&self.0[usize::from(hash.to_le_bytes()[0]) % STRIPES])
    }
}
