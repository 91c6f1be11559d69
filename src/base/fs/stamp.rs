//! Telling that a file has not changed without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks of file systems tick some hundred times a second.
const TICK_MAX: Duration = Duration::from_millis(50);
/// But for those that have no room for more: whole seconds, or every other one.
const COARSE_TICK_MAX: Duration = Duration::from_secs(3);

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
        let is_whole_second = self.changed % 1_000_000_000 == 0;
        let tick = if is_whole_second {
            COARSE_TICK_MAX
        } else {
            TICK_MAX
        };
        let settled = now
            .checked_sub(tick)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(changed: Duration) -> FileStamp {
        FileStamp {
            changed: i128::try_from(changed.as_nanos()).unwrap(),
            modified: 0,
            inode: 1,
            bytes: 2,
        }
    }

    #[test]
    fn a_stamp_is_settled_once_the_clock_of_the_file_system_has_ticked() {
        let second = Duration::from_secs(1_795_327_200);
        let fine = second + Duration::from_millis(4);
        for (changed, passed_ms, is_settled) in [
            (fine, 20, false),
            (fine, 60, true),
            // Perhaps a second is all that the file system can tell.
            (second, 900, false),
            (second, 2_000, false),
            (second, 3_100, true),
        ] {
            let now = UNIX_EPOCH + changed + Duration::from_millis(passed_ms);
            assert_eq!(
                stamp(changed).is_settled(now),
                is_settled,
                "{changed:?} {passed_ms}"
            );
        }
    }
}
