//! The threads of requests that wait: one per blocking answer, and per stream that must read the log.
//!
//! Invariant: a thread's handle lives in the table for as long as the thread runs, and no longer,
//! so that a thousand closed streams leave nothing behind.
//!
//! Owned by: [`Api`](crate::http::api::Api), which joins them at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK};

/// All waiting threads.
#[derive(Debug, Clone, Default)]
pub struct JobThreads(Arc<ThreadTable>);

#[derive(Debug, Default)]
struct ThreadTable {
    running: Mutex<RunningThreads>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct RunningThreads {
    threads: BTreeMap<u64, Joined>,
    next_key: u64,
}

impl JobThreads {
    /// Gives `work` to a thread of its own, called `name`.
    ///
    /// Errors: gives the work back when the system has no thread to give.
    pub fn start<T: Send + 'static>(
        &self,
        name: String,
        work: T,
        body: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), T> {
        // The work follows by a channel: what a thread that cannot be started was given is lost.
        let (work_tx, work_rx) = bounded(1);
        let shared = Arc::clone(&self.0);
        // Held until the handle is in the table, where the thread looks for it at its end.
        let mut running = self.0.lock();
        let key = running.next_key;
        // A small stack would do for relaying bytes. But these threads also read the log, where a
        // record may hold a provider's own JSON, as deep as the parser allows: without
        // optimisation that overflows 128 KiB. What is not touched costs nothing.
        let started = thread::spawn(name.as_str(), STACK_WORK, move || {
            let _ended = TableExit { shared, key };
            if let Ok(work) = work_rx.recv() {
                body(work);
            }
        });
        match started {
            Ok(handle) => {
                running.next_key += 1;
                running.threads.insert(key, handle);
                work_tx.send(work).map_err(|unsent| unsent.into_inner())
            }
            Err(error) => {
                log::warn!("cannot start the thread {name}: {error}");
                Err(work)
            }
        }
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.0.lock().threads.len()
    }

    /// Waits for all of them, at most `limit`, and returns whether all have ended; those that still
    /// run then are named in the log and left alone.
    pub fn join(&self, limit: Duration) -> bool {
        let running = self.0.lock();
        let (mut running, _) = self
            .0
            .ended
            .wait_timeout_while(running, limit, |running| !running.threads.is_empty())
            .unwrap_or_else(|poison| poison.into_inner());
        let left = std::mem::take(&mut running.threads);
        let have_ended = left.is_empty();
        for handle in left.into_values() {
            log::warn!("the thread {} did not end in time", handle.name());
            handle.abandon();
        }
        have_ended
    }
}

impl ThreadTable {
    fn lock(&self) -> MutexGuard<'_, RunningThreads> {
        lock(&self.running)
    }
}

/// Takes a thread out of the table when it ends, by whatever way.
struct TableExit {
    shared: Arc<ThreadTable>,
    key: u64,
}

impl Drop for TableExit {
    fn drop(&mut self) {
        let own = self.shared.lock().threads.remove(&self.key);
        if std::thread::panicking() {
            let name = own.as_ref().map_or("?", Joined::name);
            log::error!("the thread {name} panicked");
        }
        // A thread's own handle: dropping it lets go of the thread, which is at its end.
        drop(own);
        self.shared.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Record;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn threads_that_ended_leave_nothing_behind() {
        let threads = JobThreads::default();
        let (go_tx, go_rx) = bounded::<()>(0);
        for number in 0..50 {
            let go_rx = go_rx.clone();
            let started = threads.start(format!("t-{number}"), go_rx, |go_rx| {
                let _closed = go_rx.recv();
            });
            assert!(started.is_ok());
        }
        assert_eq!(threads.count(), 50);
        drop(go_tx);
        assert!(threads.join(SOON));
        assert_eq!(threads.count(), 0);
    }

    #[test]
    fn a_panic_takes_its_thread_out_of_the_table() {
        let threads = JobThreads::default();
        let started = threads.start("t".into(), (), |()| panic!("on purpose"));
        assert!(started.is_ok());
        assert!(threads.join(SOON));
        assert_eq!(threads.count(), 0);
    }

    #[test]
    fn a_stuck_thread_does_not_hold_up_the_end() {
        let threads = JobThreads::default();
        let (go_tx, go_rx) = bounded::<()>(0);
        let started = threads.start("t".into(), go_rx, |go_rx| {
            let _closed = go_rx.recv();
        });
        assert!(started.is_ok());
        let began = Instant::now();
        assert!(!threads.join(Duration::from_millis(20)));
        assert!(began.elapsed() < SOON);
        drop(go_tx);
    }

    #[test]
    fn the_stack_holds_the_deepest_record() {
        let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let line = format!(
            r#"{{"seq":1,"timestamp":"1970-01-01T00:00:00Z","type":"assistant_response","turn_id":"turn_01J0000000000000000000000A","message_id":"msg_01J0000000000000000000000A","agent":"a","model":"m","input_seq":0,"content":"","finish_reason":"stop","provider_data":{deep}}}"#
        );
        let threads = JobThreads::default();
        let (done_tx, done_rx) = bounded(1);
        let started = threads.start("t".into(), line, move |line| {
            let record = Record::parse(line.as_bytes());
            done_tx.send(record.is_ok()).unwrap();
        });
        assert!(started.is_ok());
        assert_eq!(done_rx.recv_timeout(SOON), Ok(true));
    }
}
