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
        self.sync_with(|| fs.sync_dir(&self.path))
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

    fn sync_with(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
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
        let result = sync();
        self.end(covered, result.is_ok());
        result
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use crossbeam_channel::bounded;

    /// Lets two threads come while a sync runs, and then answer their own as `second` does.
    /// Returns what they were told, and how many syncs there were after the first.
    fn two_during_one(second: fn() -> io::Result<()>) -> ([bool; 2], u32) {
        let sync = DirSync::new(PathBuf::from("/"));
        let later = AtomicU32::new(0);
        let (started_tx, started_rx) = bounded::<()>(0);
        let (release_tx, release_rx) = bounded::<()>(0);
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                let first = sync.sync_with(|| {
                    started_tx.send(()).unwrap();
                    release_rx.recv().unwrap();
                    Ok(())
                });
                first.unwrap();
            });
            started_rx.recv().unwrap();
            let waiting = || {
                scope.spawn(|| {
                    let counted = || {
                        later.fetch_add(1, Ordering::SeqCst);
                        second()
                    };
                    sync.sync_with(counted).is_ok()
                })
            };
            let threads = [waiting(), waiting()];
            let deadline = Instant::now() + Duration::from_secs(10);
            while sync.lock().changes < 4 {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
            release_tx.send(()).unwrap();
            threads.map(|thread| thread.join().unwrap())
        });
        (told, later.into_inner())
    }

    #[test]
    fn a_sync_that_runs_already_does_not_count_and_the_next_one_serves_all() {
        assert_eq!(two_during_one(|| Ok(())), ([true, true], 1));
    }

    #[test]
    fn a_failed_sync_fails_all_whom_it_was_for() {
        let refused = || Err(io::Error::other("on purpose"));
        assert_eq!(two_during_one(refused), ([false, false], 1));
    }
}
