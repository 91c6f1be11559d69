//! One sync of a folder for all who changed it at the same time.

use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::base::fs::Fs;

/// Syncs one folder on behalf of many threads: whoever arrives while a sync runs waits for the next
/// one, which covers all who came before it began.
///
/// Invariant: a change is reported as synced only by a sync that began after it was made.
#[derive(Debug)]
pub struct DirSync {
    path: PathBuf,
    turns: Mutex<Turns>,
    ended: Condvar,
}

/// Changes are numbered from 1; a sync covers those up to a number.
#[derive(Debug)]
struct Turns {
    changes: u64,
    synced: u64,
    /// A failed sync leaves unknown what it covered, and a later success proves nothing of it.
    failed: u64,
    is_running: bool,
}

impl DirSync {
    /// For the folder at `path`, which a former process may have left unsynced.
    pub fn new(path: PathBuf) -> DirSync {
        let turns = Turns {
            changes: 1,
            synced: 0,
            failed: 0,
            is_running: false,
        };
        DirSync {
            path,
            turns: Mutex::new(turns),
            ended: Condvar::new(),
        }
    }

    /// Makes a change that the caller has just made survive a power cut.
    pub fn sync_change(&self, fs: &dyn Fs) -> io::Result<()> {
        let mut turns = self.lock();
        turns.changes += 1;
        let mine = turns.changes;
        loop {
            if turns.failed >= mine {
                return Err(io::Error::other("a sync for several changes failed"));
            }
            if turns.synced >= mine {
                return Ok(());
            }
            if !turns.is_running {
                break;
            }
            turns = self
                .ended
                .wait(turns)
                .unwrap_or_else(|poison| poison.into_inner());
        }
        turns.is_running = true;
        let covered = turns.changes;
        drop(turns);
        let result = fs.sync_dir(&self.path);
        self.end(covered, result.is_ok());
        result
    }

    /// Makes what others changed survive a power cut, as far as it does not yet.
    pub fn settle(&self, fs: &dyn Fs) -> io::Result<()> {
        let turns = self.lock();
        let is_settled = turns.synced >= turns.changes;
        drop(turns);
        if is_settled {
            return Ok(());
        }
        self.sync_change(fs)
    }

    fn end(&self, covered: u64, is_synced: bool) {
        let mut turns = self.lock();
        turns.is_running = false;
        if is_synced {
            turns.synced = covered;
        } else {
            turns.failed = covered;
        }
        drop(turns);
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}
