//! Telling that a file has not changed without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks of file systems tick some hundred times a second.
const TICK_MAX: Duration = Duration::from_millis(50);

/// Changes with what a file holds, with the file that has the name, and with the names in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// In nanoseconds since 1970.
    changed: i128,
    modified: i128,
    inode: u64,
    bytes: u64,
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata) -> FileStamp {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        FileStamp {
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
            bytes: metadata.len(),
        }
    }

    /// Any change from `now` on, when the stamp was taken, gives another stamp. One within the same
    /// tick of the clock may not.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let settled = now
            .checked_sub(TICK_MAX)
            .and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        settled.is_some_and(|then| {
            i128::try_from(then.as_nanos()).is_ok_and(|then| self.changed < then)
        })
    }

    /// The same in eight bytes: two stamps have one only by a chance of 1 in 2^64.
    pub fn short(&self) -> u64 {
        let parts = [
            self.changed,
            self.modified,
            i128::from(self.inode),
            i128::from(self.bytes),
        ];
        // FNV-1a, 64 bits (RFC 9923).
        let bytes = parts.iter().flat_map(|part| part.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}
