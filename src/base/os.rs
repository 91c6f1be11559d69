//! System calls that the standard library lacks.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::mm::{Advice, madvise};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit,
    setsid,
};
#[cfg(target_env = "gnu")]
use rustix::thread::sched_getaffinity;

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

/// Arenas that threads share, one a processor within these bounds: each keeps for itself what was freed
/// in it, and with fewer of them threads wait for one another.
const ARENAS: std::ops::RangeInclusive<u32> = 2..=8;
/// What an arena keeps of free memory at its end. Without a number of ours this grows to twice the
/// largest block that was ever freed, for each of them.
const KEPT_BYTES: libc::c_int = 128 << 10;

/// Has the allocator keep little of what is freed. To be called before there are threads.
///
/// Source: mallopt(3). With another C library than glibc nothing happens.
#[expect(unsafe_code, reason = "the standard library cannot set its allocator")]
pub fn bound_heap() {
    #[cfg(target_env = "gnu")]
    {
        let processors = sched_getaffinity(None).map_or(0, |processors| processors.count());
        let arenas = processors.clamp(*ARENAS.start(), *ARENAS.end());
        for (what, most) in [
            (libc::M_ARENA_MAX, arenas as libc::c_int),
            (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        ] {
            // SAFETY: it sets a number of the allocator, under the allocator's own lock.
            let is_set = unsafe { libc::mallopt(what, most) };
            if is_set == 0 {
                log::debug!("the allocator does not take {most} for {what}");
            }
        }
    }
}

/// Returns what is free of the heap to the system. What threads keep of small blocks, up to 0.2 MB
/// for each, they return when they end.
///
/// Source: malloc_trim(3). With another C library than glibc nothing happens.
#[expect(unsafe_code, reason = "the standard library cannot return memory")]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it returns free memory alone, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes the program's own code and constants out of this process's memory; what is needed again is
/// mapped again, from the system's cache as long as they are there. For a program at rest: at its
/// start it needs nearly all of them, and of its life little.
///
/// Source: madvise(2); ld(1) defines `__executable_start` and `etext`, and so do other linkers.
#[expect(unsafe_code, reason = "the standard library cannot unmap")]
pub fn give_back_code() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let start = (&raw const __executable_start).addr();
    let page = rustix::param::page_size();
    let end = (&raw const etext).addr() / page * page;
    // SAFETY: what lies there is never written to, so that each page is as the file has it. What
    // the loader has written to (relocations) lies behind it.
    let given = unsafe { madvise(start as *mut _, end - start, Advice::LinuxDontNeed) };
    if let Err(error) = given {
        log::debug!("code stays in memory: {error}");
    }
}

/// The bounds of a child process, set between its fork and its program.
#[derive(Debug, Clone, Default)]
pub struct ChildRules {
    /// Descriptors that it keeps, under the numbers that they have here. Whoever starts the child
    /// keeps them open until then.
    pub kept: Vec<RawFd>,
    /// The most of each resource that it may use up, as setrlimit(2) counts it.
    pub limits: Vec<(Resource, u64)>,
}

/// Makes the child of `command` the first of a session and a process group of its own, without a
/// terminal, with no signal blocked, and lets it die with the thread that starts it.
///
/// Source: prctl(2), `PR_SET_PDEATHSIG`: it is the thread that counts, not the process.
#[expect(unsafe_code, reason = "what must be done between fork and exec")]
pub fn bind_child(command: &mut Command, rules: ChildRules) {
    let parent = getpid();
    let bind = move || -> io::Result<()> {
        setsid()?;
        SigSet::empty().thread_set_mask()?;
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

/// Lets the child of `command` begin with no signal blocked, whatever is blocked here.
#[expect(unsafe_code, reason = "what must be done between fork and exec")]
pub(in crate::base) fn unblock_signals(command: &mut Command) {
    let unblock = || Ok(SigSet::empty().thread_set_mask()?);
    // SAFETY: one system call that is safe in a signal handler; an error number becomes an error
    // without allocating.
    unsafe { command.pre_exec(unblock) };
}

/// Makes sure that the ends of children are told: whoever started this process may have ignored
/// them, and nobody could wait for a child then.
///
/// Source: sigaction(2), "SIG_IGN".
#[expect(unsafe_code, reason = "the standard library does not know signals")]
pub(in crate::base) fn take_ends_of_children() -> io::Result<()> {
    let usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed that could run at a bad moment.
    unsafe { signal::sigaction(signal::Signal::SIGCHLD, &usual) }?;
    Ok(())
}

/// A child, of any thread, that has ended and was not waited for; it stays so.
///
/// Errors: `ECHILD` when this process has no child at all.
///
/// Source: waitid(2), `P_ALL` and `WNOWAIT`.
#[expect(unsafe_code, reason = "rustix does not tell whose end it was")]
pub fn ended_child() -> io::Result<Option<Pid>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` has room for what is written to it. Zeroes are a `siginfo_t`, and say 0 for the
    // number of the process, as the system does when no child has ended.
    let (code, pid) = unsafe {
        let code = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options);
        (code, info.assume_init_ref().si_pid())
    };
    match code {
        0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
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
