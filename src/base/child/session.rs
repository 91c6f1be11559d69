//! The processes of a session, in the sense of setsid(2).
//!
//! A process group is killed with one system call, but a shell that watches its jobs and programs
//! like `timeout` make groups of their own. A session is left only by those who mean to.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often what was born meanwhile is looked for: a program that forks faster gets away.
const ROUNDS_MAX: usize = 20;

/// Kills every process of a session. Its first one must not have been waited for: so the number
/// stays its own.
pub(super) fn kill(session: Pid) {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let found = members(session).filter(|pid| killed.insert(*pid));
        if found.map(|pid| kill_member(pid, session)).count() == 0 {
            return;
        }
    }
    log::warn!("session {session:?}: some of its processes may still run");
}

fn members(session: Pid) -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(Pid::from_raw)
        .filter(move |pid| is_member(*pid, session))
}

fn kill_member(pid: Pid, session: Pid) {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    // The number may have been given to another since it was found; the handle never is.
    if is_member(pid, session)
        && let Err(error) = pidfd_send_signal(&handle, Signal::KILL)
    {
        log::debug!("process {pid:?}: {error}");
    }
}

/// From its `stat`, as `rustix::process::getsid` must not be asked of the kernel's own threads: it
/// takes their session, 0, for a number that cannot be.
fn is_member(pid: Pid, session: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| session_of(&stat) == Some(session))
}

/// The session of a process that has not ended, from its `stat`. Source: proc_pid_stat(5).
fn session_of(stat: &str) -> Option<Pid> {
    let mut fields = fields(stat)?;
    let has_ended = matches!(fields.next()?, "Z" | "X");
    // Of one that is just ending the kernel knows no session, and says -1.
    let session = fields.nth(2)?.parse().ok().filter(|session| *session > 0)?;
    Pid::from_raw(session).filter(|_| !has_ended)
}

/// The fields of a process's `stat` from its state on.
pub(super) fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    // Its name stands in parentheses and may hold any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_read_whatever_the_name_of_the_program() {
        for (stat, expected) in [
            ("7 (sh) S 1 7 5 0 -1 4194560", Pid::from_raw(5)),
            ("7 (a) S 2) R 1 7 5 0 -1", Pid::from_raw(5)),
            ("7 (sh) Z 1 7 5 0 -1", None),
            ("7 (kthreadd) S 0 0 0 0 -1", None),
            ("7 (sh) R 1 -1 -1 0 -1", None),
            ("7 (sh) S 1", None),
            ("", None),
        ] {
            assert_eq!(session_of(stat), expected, "{stat}");
        }
    }
}
