//! Threads that are kept: work goes to one that is idle, or to a new one where none is.
//!
//! To make a thread takes fifteen system calls, and its first steps fault its stack in; a server under
//! load would make one for each turn. A kept one waits some seconds for the next work and ends then,
//! so that a server with nothing to do has none, and wakes for none.
//!
//! Invariants:
//! - work that was taken is done once, on one thread, which bears its name meanwhile;
//! - work that panics costs its thread nothing;
//! - of an ended thread nothing is left in the table.
//!
//! Owned by: whoever made it, who [joins](ThreadPool::join) it at the end.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK, panic_text};

/// How long a thread waits for its next work.
const KEPT: Duration = Duration::from_secs(5);
/// The name of a thread that waits.
const IDLE: &str = "idle";

type PoolWork = Box<dyn FnOnce() + Send>;

/// See the [module](self). Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct ThreadPool(Arc<PoolShared>);

#[derive(Debug, Default)]
struct PoolShared {
    table: Mutex<PoolTable>,
    /// A thread has become idle, or has ended.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct PoolTable {
    threads: HashMap<u64, PooledThread>,
    /// Those that wait, the one that began last at the end: it is the warmest, and the first may end.
    idle: Vec<u64>,
    next_key: u64,
    is_closed: bool,
    /// Somebody waits for [`PoolShared::freed`].
    is_watched: bool,
}

struct PooledThread {
    handle: Joined,
    /// Tells that there is work, or that there will be none.
    told: Arc<Condvar>,
    /// What it is to do, until it begins.
    work: Option<PoolWork>,
    /// The name of what it does or is to do; `None` while it is idle.
    at: Option<String>,
}

impl fmt::Debug for PooledThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledThread")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Why work is not done.
#[derive(Debug, thiserror::Error)]
pub enum NoThread {
    /// The pool takes no more.
    #[error("the threads are ending")]
    Closed,
    /// The system has no thread to give.
    #[error(transparent)]
    System(io::Error),
}

impl ThreadPool {
    /// Has `body` done with `with`, on a thread that is called `name` meanwhile (Linux shows 15 bytes).
    ///
    /// Errors: gives `with` back, and says why.
    pub fn start<T: Send + 'static>(
        &self,
        name: String,
        with: T,
        body: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), (T, NoThread)> {
        let mut table = lock(&self.0.table);
        if table.is_closed {
            return Err((with, NoThread::Closed));
        }
        let key = match table.idle.pop() {
            Some(key) => key,
            None => match self.add_thread(&mut table) {
                Ok(key) => key,
                Err(error) => return Err((with, NoThread::System(error))),
            },
        };
        let thread = table
            .threads
            .get_mut(&key)
            .expect("an idle thread is there");
        thread.at = Some(name);
        thread.work = Some(Box::new(move || body(with)));
        let told = Arc::clone(&thread.told);
        drop(table);
        told.notify_one();
        Ok(())
    }

    /// A thread that waits for the lock of `table`, to find its work there.
    fn add_thread(&self, table: &mut PoolTable) -> io::Result<u64> {
        let key = table.next_key;
        let told = Arc::new(Condvar::new());
        let (shared, own) = (Arc::clone(&self.0), Arc::clone(&told));
        let handle = thread::spawn(IDLE, STACK_WORK, move || shared.serve(key, &own))?;
        table.next_key += 1;
        table.threads.insert(
            key,
            PooledThread {
                handle,
                told,
                work: None,
                at: None,
            },
        );
        Ok(key)
    }

    /// Takes no more work, and waits until all is done and every thread has ended, at most until
    /// `deadline`; returns whether all have. Those that still work then are named in the log and left
    /// alone.
    pub fn join(&self, deadline: Instant) -> bool {
        {
            let mut table = lock(&self.0.table);
            table.is_closed = true;
            table.threads.values().for_each(|one| one.told.notify_one());
        }
        let mut table = self
            .0
            .wait_while(deadline, |table| !table.threads.is_empty());
        let left = std::mem::take(&mut table.threads);
        drop(table);
        let mut have_ended = true;
        for thread in left.into_values() {
            // One without work ends as soon as it has heard of it.
            if let Some(name) = &thread.at {
                log::warn!("the thread {name} did not end in time");
                thread.handle.abandon();
                have_ended = false;
            }
        }
        have_ended
    }
}

impl PoolShared {
    /// The life of a thread.
    fn serve(&self, key: u64, told: &Condvar) {
        let mut table = lock(&self.table);
        let mut has_waited = false;
        // One that is not there was given up: nobody knows it any more.
        while let Some(thread) = table.threads.get_mut(&key) {
            if let Some(work) = thread.work.take() {
                let name = thread.at.clone().unwrap_or_default();
                drop(table);
                do_work(&name, work);
                table = lock(&self.table);
                table.has_rest(key);
                self.tell_freed(&table);
                has_waited = false;
            } else if table.is_closed || has_waited {
                break;
            } else {
                let waited = told.wait_timeout(table, KEPT);
                let (locked, limit) = waited.unwrap_or_else(|poison| poison.into_inner());
                table = locked;
                has_waited = limit.timed_out();
            }
        }
        table.idle.retain(|other| *other != key);
        let own = table.threads.remove(&key);
        self.tell_freed(&table);
        drop(table);
        // A thread's own handle: dropping it lets go of the thread, which is at its end.
        drop(own);
    }

    fn tell_freed(&self, table: &PoolTable) {
        // To tell nobody is a system call, too.
        if table.is_watched {
            self.freed.notify_all();
        }
    }

    fn wait_while(
        &self,
        deadline: Instant,
        mut is_so: impl FnMut(&PoolTable) -> bool,
    ) -> MutexGuard<'_, PoolTable> {
        let mut table = lock(&self.table);
        table.is_watched = true;
        let limit = deadline.saturating_duration_since(Instant::now());
        let waited = self
            .freed
            .wait_timeout_while(table, limit, |table| is_so(table));
        waited.unwrap_or_else(|poison| poison.into_inner()).0
    }
}

impl PoolTable {
    fn has_rest(&mut self, key: u64) {
        if let Some(thread) = self.threads.get_mut(&key) {
            thread.at = None;
            self.idle.push(key);
        }
    }
}

fn do_work(name: &str, work: PoolWork) {
    show_name(name);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        log::error!("thread {name} panicked: {}", panic_text(&*panic));
    }
    show_name(IDLE);
}

/// Gives the calling thread a name that the system shows.
fn show_name(name: &str) {
    let named = CString::new(name).map(|name| rustix::thread::set_name(&name));
    if !matches!(named, Ok(Ok(()))) {
        log::debug!("a thread cannot be called {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, bounded};

    impl ThreadPool {
        /// How many work.
        fn busy(&self) -> usize {
            lock(&self.0.table).busy()
        }

        /// Waits until nobody works; whether that came true in time.
        fn wait_idle(&self) -> bool {
            self.0.wait_while(soon(), |table| table.busy() > 0).busy() == 0
        }
    }

    impl PoolTable {
        fn busy(&self) -> usize {
            self.threads.len() - self.idle.len()
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn start(pool: &ThreadPool, body: impl FnOnce() + Send + 'static) {
        assert!(pool.start("t".into(), (), move |()| body()).is_ok());
    }

    /// Has that many works done that wait for the end of the channel.
    fn occupy(pool: &ThreadPool, number: usize) -> crossbeam_channel::Sender<()> {
        let (go_tx, go_rx) = bounded::<()>(0);
        for _ in 0..number {
            let go_rx: Receiver<()> = go_rx.clone();
            start(pool, move || {
                let _closed = go_rx.recv();
            });
        }
        go_tx
    }

    #[test]
    fn work_that_comes_one_after_the_other_is_done_by_one_thread() {
        let pool = ThreadPool::default();
        let (done_tx, done_rx) = bounded(1);
        let mut seen = Vec::new();
        for _ in 0..20 {
            let done_tx = done_tx.clone();
            start(&pool, move || {
                done_tx.send(std::thread::current().id()).unwrap()
            });
            seen.push(done_rx.recv().unwrap());
            assert!(pool.wait_idle());
        }
        seen.dedup();
        assert_eq!(seen.len(), 1);
        assert!(pool.join(soon()));
    }

    #[test]
    fn work_that_comes_at_once_is_done_at_once_and_leaves_nothing_behind() {
        let pool = ThreadPool::default();
        let go_tx = occupy(&pool, 50);
        assert_eq!(pool.busy(), 50);
        drop(go_tx);
        assert!(pool.wait_idle());
        assert!(pool.join(soon()));
        assert_eq!(lock(&pool.0.table).threads.len(), 0);
    }

    #[test]
    fn a_thread_bears_the_name_of_its_work() {
        let shown = || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            name.trim_end().to_owned()
        };
        let pool = ThreadPool::default();
        for name in ["s-one", "s-a name of more than fifteen bytes"] {
            let (name_tx, name_rx) = bounded(1);
            let started = pool.start(name.into(), name_tx, move |name_tx| {
                name_tx.send(shown()).unwrap();
            });
            assert!(started.is_ok());
            assert_eq!(name_rx.recv().unwrap(), name[..name.len().min(15)]);
            assert!(pool.wait_idle());
        }
    }

    #[test]
    fn a_panic_costs_its_thread_nothing() {
        let pool = ThreadPool::default();
        start(&pool, || panic!("on purpose"));
        assert!(pool.wait_idle());
        assert_eq!(lock(&pool.0.table).idle.len(), 1);
        let (done_tx, done_rx) = bounded(1);
        start(&pool, move || done_tx.send(()).unwrap());
        assert_eq!(done_rx.recv(), Ok(()));
    }

    #[test]
    fn a_pool_that_was_joined_gives_work_back() {
        let pool = ThreadPool::default();
        start(&pool, || ());
        assert!(pool.join(soon()));
        let refused = pool.start("t".into(), 7, |_| panic!("it is not to be done"));
        assert!(matches!(refused, Err((7, NoThread::Closed))));
    }

    #[test]
    fn stuck_work_does_not_hold_up_the_end() {
        let pool = ThreadPool::default();
        let go_tx = occupy(&pool, 1);
        assert!(!pool.join(Instant::now() + Duration::from_millis(20)));
        drop(go_tx);
    }
}
