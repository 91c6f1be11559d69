//! Mending what an interrupted append left at the end of a log.
//!
//! A repair may itself be interrupted at any point: the bytes are safe in `events.jsonl.torn` before
//! they are cut from the log, at worst twice.

use std::io;

use crate::base::fs::{self, File, Fs, Open};
use crate::domain::ids::Seq;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::read::LogPosition;
use crate::store::file::walk::{LogSource, Tail};

/// Reads the log from `covered` on, mends its end, and returns that end. What was good is synced, unless
/// it is known to be so: a killed process may have written it without.
pub(super) fn recover(
    fs: &dyn Fs,
    folder: &Folder,
    log: &mut dyn File,
    covered: LogPosition,
    is_synced: bool,
) -> Result<LogPosition, StoreError> {
    let path = folder.log();
    let (mut end, tail) = {
        let mut walk = LogSource::new(log, &path)?.walk(covered.offset, Some(covered.seq));
        while walk.next()?.is_some() {}
        let end = LogPosition {
            offset: walk.good_end(),
            seq: walk.next_seq().unwrap_or(Seq(1)),
        };
        (end, walk.tail())
    };
    match tail {
        Tail::Clean if is_synced => return Ok(end),
        Tail::Clean => {}
        Tail::NoNewline => {
            log.write_all(b"\n").doing("complete", &path)?;
            end = LogPosition {
                offset: log.len().doing("read", &path)?,
                seq: end.seq.next(),
            };
        }
        // No append of ours has left this, and to cut it would leave nothing.
        Tail::Torn if end.offset == 0 && !begins_like_ours(log).doing("read", &path)? => {
            let why = "its first event cannot be read".to_owned();
            return Err(LogSource::new(log, &path)?.damaged(0, why));
        }
        Tail::Torn => {
            let bytes = save_torn(fs, folder, log, end.offset).doing("repair", &path)?;
            log.truncate(end.offset).doing("repair", &path)?;
            log::warn!(
                "{}: cut {bytes} bytes of an interrupted append after event {}; they are in {}",
                path.display(),
                end.seq.0 - 1,
                folder.torn().display()
            );
        }
    }
    log.sync_data().doing("sync", &path)?;
    Ok(end)
}

fn begins_like_ours(log: &dyn File) -> io::Result<bool> {
    let mut head = [0; line::OPENING.len()];
    let len = fs::read_full(log, &mut head, 0)?;
    Ok(line::OPENING.starts_with(&head[..len]))
}

/// Copies the log from `offset` on to `events.jsonl.torn`; returns how many bytes there were.
fn save_torn(fs: &dyn Fs, folder: &Folder, log: &dyn File, offset: u64) -> io::Result<u64> {
    let source = LogSource {
        file: log,
        path: &folder.log(),
        end: log.len()?,
    };
    let mut torn = fs.open(&folder.torn(), Open::AppendOrCreate)?;
    let copied = source.copy_to(&mut *torn, offset)?;
    torn.sync_data()?;
    fs.sync_dir(folder.path())?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fs::SimDisk;
    use crate::store::file::testing::{bytes_of, disk_of, folder, line, lines};

    /// Mends the end of a log from `covered` on; the disk after the harshest power cut, and the end.
    fn recovered(log: &[u8], covered: LogPosition) -> (SimDisk, Result<LogPosition, StoreError>) {
        let disk = disk_of(log);
        let mut file = disk.open(&folder().log(), Open::Append).unwrap();
        let end = recover(&disk, &folder(), &mut *file, covered, false);
        (disk.harshest_cut(), end)
    }

    fn log_and_torn(disk: &SimDisk) -> (Vec<u8>, Option<Vec<u8>>) {
        let log = bytes_of(disk, &folder().log()).unwrap();
        (log, bytes_of(disk, &folder().torn()))
    }

    #[test]
    fn of_an_interrupted_append_the_good_beginning_stays_and_the_rest_is_kept_aside() {
        let all = lines(&[2, 3]);
        let good = |lines: usize| all[..lines].concat();
        let mut flipped = all.clone();
        flipped[2][40] ^= 1;
        for (why, log, kept) in [
            ("nothing is wrong", good(5), 5),
            ("half a line", [good(4), all[4][..20].to_vec()].concat(), 4),
            (
                "a line of rubbish",
                [good(5), b"rubbish\n".to_vec()].concat(),
                5,
            ),
            ("a bad line with others of its append", flipped.concat(), 2),
            ("an empty line", [good(5), b"\n".to_vec()].concat(), 5),
        ] {
            let (disk, end) = recovered(&log, LogPosition::START);
            let expected = LogPosition {
                offset: good(kept).len() as u64,
                seq: Seq(kept as u64 + 1),
            };
            assert_eq!(end.unwrap(), expected, "{why}");
            let rest = log[good(kept).len()..].to_vec();
            let torn = (!rest.is_empty()).then_some(rest);
            assert_eq!(log_and_torn(&disk), (good(kept), torn), "{why}");
        }
    }

    #[test]
    fn a_line_that_lacks_only_its_newline_gets_it() {
        let good = lines(&[2, 1]).concat();
        let (disk, end) = recovered(&good[..good.len() - 1], LogPosition::START);
        let expected = LogPosition {
            offset: good.len() as u64,
            seq: Seq(4),
        };
        assert_eq!(end.unwrap(), expected);
        assert_eq!(log_and_torn(&disk), (good, None));
    }

    #[test]
    fn what_begins_like_no_log_of_ours_is_no_interrupted_append_and_stays_as_it_is() {
        for log in ["rubbish\n", "{}\n{}\n", "\n", "{\"seq\":1,\"ty"] {
            let (disk, end) = recovered(log.as_bytes(), LogPosition::START);
            assert!(
                matches!(end, Err(StoreError::Damaged { line: 1, .. })),
                "{end:?}"
            );
            assert_eq!(log_and_torn(&disk), (log.as_bytes().to_vec(), None));
        }
    }

    #[test]
    fn damage_before_a_later_append_is_told_and_changes_nothing() {
        for place in 1..4 {
            let mut log = lines(&[2, 1, 1, 1]);
            log[place][40] ^= 1;
            let (disk, end) = recovered(&log.concat(), LogPosition::START);
            let line = place as u64 + 1;
            assert!(matches!(end, Err(StoreError::Damaged { line: told, .. }) if told == line));
            assert_eq!(log_and_torn(&disk), (log.concat(), None));
        }
    }

    #[test]
    fn damage_to_the_beginnings_of_two_appends_is_no_interrupted_one() {
        let mut log = lines(&[2, 2, 2]);
        for first in [2, 4] {
            log[first][40] ^= 1;
        }
        let (disk, end) = recovered(&log.concat(), LogPosition::START);
        assert!(
            matches!(end, Err(StoreError::Damaged { line: 3, .. })),
            "{end:?}"
        );
        assert_eq!(log_and_torn(&disk), (log.concat(), None));
    }

    #[test]
    fn a_gap_is_damage_wherever_the_reading_begins() {
        let log = [lines(&[2]), vec![line(4, false, "a"), line(5, false, "b")]].concat();
        let (_, end) = recovered(&log.concat(), LogPosition::START);
        assert!(
            matches!(end, Err(StoreError::Damaged { line: 3, .. })),
            "{end:?}"
        );
        // And what a snapshot covers is not read.
        let covered = LogPosition {
            offset: log[..3].concat().len() as u64,
            seq: Seq(5),
        };
        let (_, end) = recovered(&log.concat(), covered);
        assert_eq!(end.unwrap().seq, Seq(6));
    }

    #[test]
    fn bytes_that_were_cut_before_stay_before_those_of_this_time() {
        let good = lines(&[2]).concat();
        let disk = disk_of(&[good.clone(), b"one".to_vec()].concat());
        for more in ["", "two"] {
            let mut file = disk.open(&folder().log(), Open::Append).unwrap();
            file.write_all(more.as_bytes()).unwrap();
            recover(&disk, &folder(), &mut *file, LogPosition::START, false).unwrap();
        }
        assert_eq!(log_and_torn(&disk), (good, Some(b"onetwo".to_vec())));
    }

    #[test]
    fn what_a_killed_process_wrote_without_a_sync_is_synced() {
        let good = lines(&[2, 1]);
        let disk = disk_of(&good[..2].concat());
        let mut file = disk.open(&folder().log(), Open::Append).unwrap();
        file.write_all(&good[2]).unwrap();
        assert_eq!(log_and_torn(&disk.harshest_cut()).0, good[..2].concat());
        recover(&disk, &folder(), &mut *file, LogPosition::START, false).unwrap();
        assert_eq!(log_and_torn(&disk.harshest_cut()).0, good.concat());
    }
}
