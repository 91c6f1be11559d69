//! Counts what runs in a process namespace, from outside.
//!
//! The kernel's own limit of processes does not hold for root, and limits of memory hold for each
//! process alone. So whoever looks after a run counts, several times a second.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

/// What the processes of a namespace use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Census {
    /// Processes and threads.
    pub(super) tasks: u64,
    /// Memory that is not that of files.
    pub(super) memory_bytes: u64,
}

/// Counts the processes of the `/proc` that is mounted below `root`. `None` while that is still
/// the one of this process, or there is none.
pub(super) fn take(root: &Path) -> Option<Census> {
    let mut census = Census::default();
    for process in processes(root)? {
        // It may have ended by now.
        if let Ok(status) = fs::read_to_string(process.join("status")) {
            let one = read_status(&status);
            census.tasks += one.tasks;
            census.memory_bytes += one.memory_bytes;
        }
    }
    Some(census)
}

/// The memory of the processes that [`take`] counts, where what several share, as after a fork, is
/// counted once. The kernel walks all their pages for it.
pub(super) fn shared_memory(root: &Path) -> Option<u64> {
    let memory = |process: PathBuf| {
        let read = |name: &str| fs::read_to_string(process.join(name));
        // A process may keep its pages, but not their number, from all but root.
        match read("smaps_rollup") {
            Ok(rollup) if !rollup.is_empty() => read_rollup(&rollup),
            _ => read("status").map_or(0, |status| read_status(&status).memory_bytes),
        }
    };
    Some(processes(root)?.map(memory).sum())
}

fn processes(root: &Path) -> Option<impl Iterator<Item = PathBuf>> {
    let proc = root.join("proc");
    // In the `/proc` of another namespace, this process is no one.
    if fs::read_link(proc.join("self")).is_ok() {
        return None;
    }
    let is_process = |entry: &DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    };
    let entries = fs::read_dir(&proc).ok()?.flatten();
    Some(entries.filter(is_process).map(|entry| entry.path()))
}

/// What a process uses, from its `status`. Source: proc_pid_status(5).
fn read_status(status: &str) -> Census {
    let mut census = Census::default();
    for (name, number) in fields(status) {
        match name {
            "Threads" => census.tasks = number,
            "RssAnon" | "RssShmem" => census.memory_bytes += number * 1024,
            _ => {}
        }
    }
    census
}

/// A process's share of the memory that is not that of files. Source: proc_pid_smaps(5).
fn read_rollup(rollup: &str) -> u64 {
    let shares = fields(rollup).filter(|(name, _)| matches!(*name, "Pss_Anon" | "Pss_Shmem"));
    shares.map(|(_, kilobytes)| kilobytes * 1024).sum()
}

/// Lines such as `Threads: 3` and `RssAnon: 12 kB`.
fn fields(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let number = value.split_whitespace().next()?.parse().ok()?;
        Some((name, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tbash\nVmRSS:\t   4000 kB\nRssAnon:\t    1500 kB\nRssFile:\t 2000 kB\n\
                      RssShmem:\t     500 kB\nThreads:\t3\n";
        let expected = Census {
            tasks: 3,
            memory_bytes: 2000 * 1024,
        };
        assert_eq!(read_status(status), expected);
        let rollup = "55a4-7ffd ---p 00000000 00:00 0    [rollup]\nPss:   99 kB\nPss_Anon:    12 kB\n\
                      Pss_Shmem:   3 kB\n";
        assert_eq!(read_rollup(rollup), 15 * 1024);
        // A zombie has no memory.
        let zombie = Census {
            tasks: 1,
            memory_bytes: 0,
        };
        assert_eq!(read_status("State:\tZ (zombie)\nThreads:\t1\n"), zombie);
    }

    #[test]
    fn the_processes_of_the_host_are_not_counted() {
        assert_eq!(take(Path::new("/")), None);
        assert_eq!(take(Path::new("/nowhere")), None);
        assert_eq!(shared_memory(Path::new("/")), None);
    }
}
