//! Who serves a workspace, as its lock file says: for clients.
//!
//! The server holds an exclusive lock on `.duragent/lock` for as long as it lives, so that what
//! the file says is true exactly while the lock is held. Clients only look.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::Path;

/// The file inside the workspace.
pub const LOCK_FILE: &str = "lock";

/// The server of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Where it listens, `HOST:PORT`; `None` while it is starting.
    pub address: Option<String>,
}

/// The server that holds the lock of `workspace`; `None` when there is none, or none that can be
/// read.
pub fn holder(workspace: &Path) -> Option<Holder> {
    let mut file = File::open(workspace.join(LOCK_FILE)).ok()?;
    if !is_held(&file) {
        return None;
    }
    read_holder(&mut file).ok().flatten()
}

/// A shared lock is given back when `file` is dropped; a server that starts in that moment tries
/// more than once.
fn is_held(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            // Dropping the file unlocks too; a failure here changes nothing.
            drop(file.unlock());
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}

fn read_holder(file: &mut File) -> io::Result<Option<Holder>> {
    /// Two short lines; what is longer was not written by a server.
    const LOCK_BYTES_MAX: u64 = 4096;
    let mut text = String::new();
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text)?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Option<Holder> {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    Some(Holder {
        pid: value("pid")?.parse().ok()?,
        address: value("address"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_lines_of_the_lock_file_are_read() {
        let holder = |pid, address: Option<&str>| {
            Some(Holder {
                pid,
                address: address.map(str::to_owned),
            })
        };
        for (text, expected) in [
            (
                "pid: 17\naddress: 127.0.0.1:8080\n",
                holder(17, Some("127.0.0.1:8080")),
            ),
            ("pid: 17\naddress: [::1]:80", holder(17, Some("[::1]:80"))),
            ("pid: 17\n", holder(17, None)),
            ("pid: x\naddress: a:1\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_nobody_holds_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let path = folder.path().join(LOCK_FILE);
        fs::write(&path, "pid: 17\naddress: 127.0.0.1:1\n").unwrap();
        assert_eq!(holder(folder.path()), None);
        let server = File::open(&path).unwrap();
        server.lock().unwrap();
        assert_eq!(holder(folder.path()).unwrap().pid, 17);
        drop(server);
        assert_eq!(holder(folder.path()), None);
    }
}
