//! How many connections the system has files for.

use crate::http::gate::sys;

/// Files that are no connection: the log, the sessions being written, the tools' pipes, and the
/// gate's own connections to the server.
const OTHER_FILES: u64 = 44;
/// A client's socket, and what its request may need.
const FILES_PER_CONNECTION: u64 = 2;

/// The fewest open files with which a client is answered while tools run and others wait.
const FILES_MIN: u64 = OTHER_FILES + CONNECTIONS_MIN * FILES_PER_CONNECTION;
/// One that watches, one that says something, and one that asks how things are.
const CONNECTIONS_MIN: u64 = 4;

/// The system gives us too few files to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {given} open files are allowed, and {FILES_MIN} are needed (`ulimit -n`, `LimitNOFILE=`)"
)]
pub struct TooFewFiles {
    given: u64,
}

/// Raises the process's limit of open files to what the system allows, and refuses to go on with
/// fewer than what works.
pub fn refuse_too_few_files() -> Result<(), TooFewFiles> {
    let given = sys::raise_open_files();
    if given < FILES_MIN {
        return Err(TooFewFiles { given });
    }
    Ok(())
}

/// As many connections as are wanted, or as the system has files for.
pub(super) fn connections_max(wanted: usize) -> usize {
    let files = sys::raise_open_files();
    let possible = files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    let possible = usize::try_from(possible).unwrap_or(usize::MAX).max(1);
    if possible < wanted {
        log::warn!("{files} open files allow for {possible} connections, not {wanted}");
    }
    wanted.min(possible)
}
