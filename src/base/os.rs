//! System calls that the standard library lacks.

use rustix::mm::{Advice, madvise};

/// An address in the stack of the calling thread, beneath whatever the caller keeps there.
#[inline(never)]
pub fn stack_address() -> usize {
    let here = 0_u8;
    // A pointer to it must leave the function, or there would be no need for it to have an address.
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Returns the pages of the calling thread's stack from `end`, its far end, up to the caller's
/// frame: what was there is forgotten.
///
/// `end` must be an address of the calling thread's stack.
///
/// Source: madvise(2).
#[inline(never)]
#[expect(unsafe_code, reason = "the standard library cannot return memory")]
pub(in crate::base) fn give_back_stack(end: usize) {
    let page = rustix::param::page_size();
    // The page beneath this frame may hold the red zone and what a call pushes.
    let from = end.next_multiple_of(page);
    let to = (stack_address() / page).saturating_sub(1) * page;
    if from >= to {
        return;
    }
    // SAFETY: the range lies in this thread's own stack, beneath the frames of all functions that
    // run: nothing in it is read again before it is written. An error changes nothing.
    let given = unsafe { madvise(from as *mut _, to - from, Advice::LinuxDontNeed) };
    if let Err(error) = given {
        log::debug!("unused stack is kept: {error}");
    }
}
