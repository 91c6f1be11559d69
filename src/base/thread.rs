//! Threads with a name, a stack sized on purpose and an owner who joins them.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

use crate::base::os;

/// Stack of a thread that only relays bytes; its buffers live on the heap.
pub const STACK_SMALL: usize = 128 << 10;
/// Stack of a thread that parses, calls models over TLS or runs tools.
pub const STACK_WORK: usize = 512 << 10;

/// What of a stack is never given back, at its far end: the system counts what it needs of a
/// thread's stack, and a guard page, as part of the size that was asked for.
const STACK_MARGIN: usize = 32 << 10;

thread_local! {
    /// The lowest address that is surely of this thread's stack; 0 for a thread not started here.
    static STACK_END: Cell<usize> = const { Cell::new(0) };
}

/// Returns the memory of the stack beneath the caller to the system, which gives new memory when
/// the stack grows again. For a thread that has done something deep, and now stays shallow for a
/// long time. Does nothing on a thread that was not started by [`spawn`].
pub fn give_back_stack() {
    let end = STACK_END.get();
    if end != 0 {
        os::give_back_stack(end);
    }
}

/// A running thread. Dropping it waits for its end and logs a panic.
#[derive(Debug)]
pub struct Joined {
    name: String,
    handle: Option<JoinHandle<()>>,
}

/// Starts a thread called `name` (Linux shows the first 15 bytes).
///
/// Errors: the system's, when it has no thread to give.
pub fn spawn(
    name: impl Into<String>,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Joined> {
    let name = name.into();
    let handle = Builder::new()
        .name(name.clone())
        .stack_size(stack_bytes)
        .spawn(move || {
            STACK_END.set(os::stack_address().saturating_sub(stack_bytes) + STACK_MARGIN);
            body();
            // The system keeps stacks of ended threads for new ones, with what was used of them.
            give_back_stack();
        })?;
    Ok(Joined {
        name,
        handle: Some(handle),
    })
}

impl Joined {
    /// The thread has ended, so that a join would not wait.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the thread go on without an owner: for one that is stuck where nothing can end it, and
    /// that ends by itself, or with the process.
    pub fn abandon(mut self) {
        self.handle = None;
    }

    fn join(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        // A thread that drops its own handle is about to end: joining it would wait for ever.
        if handle.thread().id() == std::thread::current().id() {
            return;
        }
        if let Err(panic) = handle.join() {
            log::error!("thread {} panicked: {}", self.name, panic_text(&*panic));
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.join();
    }
}

/// The words of a panic, as far as it has any.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn drop_waits_for_the_end() {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
        let thread = spawn("test", STACK_SMALL, move || {
            let _closed = go_rx.recv();
            seen.store(true, Ordering::SeqCst);
        });
        drop(go_tx);
        drop(thread);
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn what_is_alive_on_a_stack_survives_the_giving_back_of_the_rest() {
        fn deep(levels: u8) -> u64 {
            let page = std::hint::black_box([levels; 4096]);
            let below = if levels == 0 { 0 } else { deep(levels - 1) };
            below + page.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        }
        drop(spawn("test", STACK_SMALL, || {
            let alive = std::hint::black_box([7_u8; 10_000]);
            let before = deep(5);
            give_back_stack();
            assert!(alive.iter().all(|byte| *byte == 7));
            assert_eq!(deep(5), before);
        }));
        give_back_stack();
    }

    #[test]
    fn a_panic_stays_in_its_thread() {
        drop(spawn("test", STACK_SMALL, || panic!("on purpose")));
    }
}
