//! System calls that the standard library lacks.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::mm::{Advice, madvise};
use rustix::process::{
    Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit, setsid,
};

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
    /// Beneath this frame: the red zone, and what the calls from here push.
    const IN_USE: usize = 1 << 10;
    let page = rustix::param::page_size();
    let from = end.next_multiple_of(page);
    let to = stack_address().saturating_sub(IN_USE) / page * page;
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

/// What a child process is bound by.
#[derive(Debug, Clone, Default)]
pub struct ChildRules {
    /// Descriptors that it keeps, under the numbers that they have here. Whoever starts the child
    /// keeps them open until then.
    pub kept: Vec<RawFd>,
    /// What it may use up, as the most of each.
    pub limits: Vec<(Resource, u64)>,
}

/// Makes the child of `command` the first of a session and a process group of its own, without a
/// terminal, and lets it die with the thread that starts it.
///
/// Source: prctl(2), `PR_SET_PDEATHSIG`: it is the thread that counts, not the process.
#[expect(unsafe_code, reason = "what must be done between fork and exec")]
pub fn bind_child(command: &mut Command, rules: ChildRules) {
    let parent = getpid();
    let bind = move || -> io::Result<()> {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that: nobody would send the signal then.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        for (resource, most) in &rules.limits {
            let limit = Some(*most);
            setrlimit(
                *resource,
                Rlimit {
                    current: limit,
                    maximum: limit,
                },
            )?;
        }
        for fd in &rules.kept {
            // SAFETY: the caller keeps it open until the child was started.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be done, as other
    // threads may have held any lock at the fork. `bind` makes system calls, reads memory that was
    // allocated before, and turns error numbers into errors, which allocates nothing.
    unsafe { command.pre_exec(bind) };
}

/// Keeps from children what this process was given open by whoever started it. All that it opens
/// itself is kept from them anyway.
#[expect(unsafe_code, reason = "descriptors that nothing here owns")]
pub fn keep_descriptors_from_children() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        log::debug!("/proc/self/fd cannot be read: children may be given descriptors of others");
        return;
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number: &RawFd| *number > 2) {
        // SAFETY: used for two calls that do not touch what the descriptor stands for. If another
        // thread has closed it they fail; if the number has been given to another file, that has
        // the flag already.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(flags) = fcntl_getfd(fd)
            && !flags.contains(FdFlags::CLOEXEC)
            && let Err(error) = fcntl_setfd(fd, flags | FdFlags::CLOEXEC)
        {
            log::debug!("descriptor {number} stays open in children: {error}");
        }
    }
}
