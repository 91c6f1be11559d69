//! The log of one session, `events.jsonl`, for its one writer.
//!
//! Invariants:
//! - bytes up to `len` are synced, and hold the whole records up to `last_seq`;
//! - after a failed sync, or a failed cut, nothing is written any more: what the file holds from `len`
//!   on is unknown, and nobody was told that it is stored.
//!
//! Owned by: the session, behind its `log` lock.
//! Elsewhere: reading (`read`), repair (`recover`), what events mean (`domain`).

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::fs::{File, Fs};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::read::LogPosition;
use crate::store::file::snapshot;
use crate::store::file::synced::SyncedLogs;
use crate::store::file::unsure::Unsure;
use crate::store::file::walk::LogSource;
use crate::store::{AppendError, Epoch, SessionLog, Snapshot, StoreError};

/// A buffer grown by one large append is given back after it.
const BUFFER_BYTES_KEPT: usize = 16 << 10;
/// An append of more text than this is not made in memory first: that would hold it twice.
const LONG_BYTES: usize = 256 << 10;

/// A log opened for writing.
#[derive(Debug)]
pub(super) struct Log {
    fs: Arc<dyn Fs>,
    folder: Folder,
    id: SessionId,
    path: PathBuf,
    file: Box<dyn File>,
    len: u64,
    last_seq: Seq,
    /// Why nothing is written any more.
    broken: Option<String>,
    /// Where that is kept beyond the life of this value.
    unsure: Unsure,
    /// Where it is kept that it is not so.
    synced: SyncedLogs,
    buffer: Vec<u8>,
}

impl Log {
    /// A log whose good bytes, all synced, end at `end`.
    pub(super) fn new(
        fs: Arc<dyn Fs>,
        folder: Folder,
        id: SessionId,
        file: Box<dyn File>,
        end: LogPosition,
        unsure: Unsure,
        synced: SyncedLogs,
    ) -> Log {
        Log {
            path: folder.log(),
            fs,
            folder,
            id,
            file,
            len: end.offset,
            last_seq: Seq(end.seq.0 - 1),
            broken: None,
            unsure,
            synced,
            buffer: Vec::new(),
        }
    }

    fn store_after(
        &mut self,
        expected_last: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::ReadOnly(why.clone()));
        }
        if expected_last != self.last_seq {
            return Err(StoreError::Conflict {
                expected: expected_last,
                actual: self.last_seq,
            });
        }
        let Some(last) = records.last() else {
            return Ok(());
        };
        self.len += self.store(records)?;
        self.last_seq = last.seq;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Writes and syncs records, or leaves the file as it was, or gives the log up. Returns the bytes of
    /// their lines.
    fn store(&mut self, records: &[Arc<Record>]) -> Result<u64, StoreError> {
        let long = records
            .iter()
            .map(|one| one.event.text_bytes())
            .sum::<usize>()
            > LONG_BYTES;
        let written = if long {
            self.write_long(records)
        } else {
            encode_all(records, &mut self.buffer).doing("write", &self.path)?;
            let written = self.file.write_all(&self.buffer);
            written.map(|()| self.buffer.len() as u64)
        };
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                self.cut_back(&error)?;
                return Err(error).doing("write", &self.path);
            }
        };
        match self.file.sync_data() {
            Ok(()) => Ok(bytes),
            // The kernel drops what it could not write: another sync would succeed and lie.
            Err(error) => Err(self.give_up("sync", &error)),
        }
    }

    /// Writes lines that would take much memory, piece by piece.
    fn write_long(&mut self, records: &[Arc<Record>]) -> io::Result<u64> {
        let file = Counted {
            file: &mut *self.file,
            bytes: 0,
        };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES_KEPT, file);
        for record in records {
            line::write(&**record, &mut out)?;
        }
        out.flush()?;
        Ok(out.get_ref().bytes)
    }

    /// Takes back a short write. The cut is synced, so that "nothing was stored" stays true after a
    /// power cut. Where nothing was written, as on a disk that has become read-only, there is nothing
    /// to cut.
    fn cut_back(&mut self, cause: &io::Error) -> Result<(), StoreError> {
        if self.file.len().is_ok_and(|len| len == self.len) {
            return Ok(());
        }
        let cut = self.file.truncate(self.len);
        match cut.and_then(|()| self.file.sync_data()) {
            Ok(()) => Ok(()),
            Err(error) => {
                log::error!("{}: cannot write: {cause}", self.path.display());
                Err(self.give_up("cut back", &error))
            }
        }
    }

    fn give_up(&mut self, action: &str, error: &io::Error) -> StoreError {
        let why = format!("cannot {action} {}: {error}", self.path.display());
        self.unsure.note(&self.id, &why);
        self.broken = Some(why.clone());
        StoreError::ReadOnly(why)
    }

    /// Where the line of `seq` begins, or would.
    fn offset_of(&self, seq: Seq) -> Result<u64, StoreError> {
        if seq > self.last_seq {
            return Ok(self.len);
        }
        let source = LogSource {
            file: &*self.file,
            path: &self.path,
            end: self.len,
        };
        Ok(source.locate(seq)?.offset)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.broken.is_none() {
            self.synced.note(&self.id, self.len);
        }
    }
}

impl SessionLog for Log {
    fn append(
        &mut self,
        _epoch: Epoch,
        expected_last: Seq,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, AppendError> {
        let records = records_of(events, expected_last, at);
        match self.store_after(expected_last, &records) {
            Ok(()) => Ok(records),
            Err(error) => Err(AppendError {
                error,
                events: events_of(records),
            }),
        }
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let end = self.offset_of(snapshot.summary.last_seq.next())?;
        snapshot::save(&*self.fs, &self.folder, &self.id, snapshot, end)
    }

    fn len_bytes(&self) -> u64 {
        self.len
    }
}

/// A file, and how much was written to it.
struct Counted<'a> {
    file: &'a mut dyn File,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The records that `events` become in one append after `last`.
pub(super) fn records_of(events: Vec<Event>, last: Seq, at: Timestamp) -> Vec<Arc<Record>> {
    let mut seq = last;
    let record_of = |event: Event| {
        seq = seq.next();
        Arc::new(Record {
            seq,
            timestamp: at,
            // Tells what is left of a torn append from damage to an older one.
            cont: seq > last.next(),
            event,
        })
    };
    events.into_iter().map(record_of).collect()
}

/// The events of records that nobody else has.
fn events_of(records: Vec<Arc<Record>>) -> Vec<Event> {
    let records = records.into_iter().filter_map(Arc::into_inner);
    records.map(|record| record.event).collect()
}

/// Replaces what is in `buffer` with the lines of an append.
pub(super) fn encode_all(records: &[Arc<Record>], buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    for record in records {
        line::encode(&**record, 0, buffer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fs::{Fault, FaultFs, FaultKind, Open, SimDisk};
    use crate::domain::story;
    use crate::store::file::testing::{at, bytes_of, disk_of, event, folder, id, line, lines};
    use rustix::io::Errno;

    /// The log of a disk whose two events are there, opened on `fs`.
    fn open(fs: impl Fs + 'static) -> Log {
        let fs: Arc<dyn Fs> = Arc::new(fs);
        let file = fs.open(&folder().log(), Open::Append).unwrap();
        let end = LogPosition {
            offset: lines(&[2]).concat().len() as u64,
            seq: Seq(3),
        };
        Log::new(
            fs,
            folder(),
            id(),
            file,
            end,
            Unsure::default(),
            SyncedLogs::default(),
        )
    }

    fn disk() -> SimDisk {
        disk_of(&lines(&[2]).concat())
    }

    fn append(log: &mut Log, texts: &[&str]) -> Result<Vec<Arc<Record>>, StoreError> {
        let events: Vec<Event> = texts.iter().map(|text| event(9, text)).collect();
        let last = log.last_seq;
        Ok(log.append(Epoch::ZERO, last, at(last.0 + 1), events)?)
    }

    #[test]
    fn an_append_is_on_disk_and_its_lines_tell_where_it_began() {
        let disk = disk();
        let mut log = open(disk.clone());
        let stored = append(&mut log, &["a", "b"]).unwrap();
        append(&mut log, &["c"]).unwrap();
        let told: Vec<(u64, bool)> = stored.iter().map(|one| (one.seq.0, one.cont)).collect();
        assert_eq!(told, [(3, false), (4, true)]);
        let mut all = lines(&[2]).concat();
        let second = line(4, true, "b");
        all.extend([line(3, false, "a"), second, line(5, false, "c")].concat());
        let found = bytes_of(&disk.harshest_cut(), &folder().log()).unwrap();
        assert_eq!(String::from_utf8(found), String::from_utf8(all.clone()));
        assert_eq!(log.len_bytes(), all.len() as u64);
    }

    #[test]
    fn who_believes_in_another_end_is_refused_and_nothing_is_written() {
        let disk = disk();
        let mut log = open(disk.clone());
        for wrong in [Seq(1), Seq(3)] {
            let refused = log.append(Epoch::ZERO, wrong, at(3), vec![event(9, "a")]);
            assert!(matches!(
                refused,
                Err(AppendError {
                    error: StoreError::Conflict { actual: Seq(2), .. },
                    ..
                })
            ));
        }
        assert!(
            log.append(Epoch::ZERO, Seq(2), at(3), vec![])
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            bytes_of(&disk, &folder().log()).unwrap(),
            lines(&[2]).concat()
        );
    }

    /// What an append comes to when its operation of that number (the write, the sync, …) fails.
    fn append_failing(nth: u64, kind: FaultKind) -> (SimDisk, Log, Result<(), StoreError>) {
        let disk = disk();
        // The first is the opening.
        let fault = Fault { at: 1 + nth, kind };
        let mut log = open(FaultFs::new(Arc::new(disk.clone()), fault));
        let result = append(&mut log, &["a", "b"]).map(drop);
        (disk, log, result)
    }

    #[test]
    fn a_short_write_is_taken_back_and_the_next_append_is_a_good_one() {
        for bytes in [0, 1, 100, 400] {
            for errno in [Errno::NOSPC, Errno::IO] {
                let kind = FaultKind::ShortWrite { bytes, errno };
                let (disk, mut log, result) = append_failing(1, kind);
                assert_eq!(
                    matches!(result, Err(StoreError::Full)),
                    errno == Errno::NOSPC
                );
                assert!(matches!(
                    result,
                    Err(StoreError::Full | StoreError::Io { .. })
                ));
                let before = lines(&[2]).concat();
                assert_eq!(
                    bytes_of(&disk.harshest_cut(), &folder().log()).unwrap(),
                    before
                );
                // Whatever of it reached the disk meanwhile, and in whatever order.
                for seed in 0..20 {
                    let cut = disk.cut(&mut fastrand::Rng::with_seed(seed));
                    assert_eq!(bytes_of(&cut, &folder().log()).unwrap(), before);
                }
                append(&mut log, &["c"]).unwrap();
                let after = [before, line(3, false, "c")].concat();
                assert_eq!(
                    bytes_of(&disk.harshest_cut(), &folder().log()).unwrap(),
                    after
                );
            }
        }
    }

    #[test]
    fn after_a_failed_sync_or_cut_nothing_more_is_written() {
        let failed_sync = (2, FaultKind::Error(Errno::IO));
        // All after the write fails too, and so does what would take it back.
        let failed_cut = (1, FaultKind::Dead);
        for (nth, kind) in [failed_sync, failed_cut] {
            let (disk, mut log, result) = append_failing(nth, kind);
            assert!(matches!(result, Err(StoreError::ReadOnly(_))), "{result:?}");
            let left = bytes_of(&disk, &folder().log());
            let again = append(&mut log, &["c"]);
            assert!(matches!(again, Err(StoreError::ReadOnly(_))), "{again:?}");
            assert_eq!(bytes_of(&disk, &folder().log()), left);
            assert!(
                log.unsure.why(&id()).is_some(),
                "it is known beyond this log"
            );
        }
    }

    fn append_long(log: &mut Log, text: &str) -> Result<Vec<Arc<Record>>, StoreError> {
        let events = vec![story::user(9, text), event(9, "b")];
        let last = log.last_seq;
        Ok(log.append(Epoch::ZERO, last, at(last.0 + 1), events)?)
    }

    #[test]
    fn a_large_append_leaves_no_large_buffer_and_a_long_one_needs_none() {
        let mut log = open(disk());
        append(&mut log, &[&"x".repeat(10 * BUFFER_BYTES_KEPT)]).unwrap();
        assert!(log.buffer.capacity() <= BUFFER_BYTES_KEPT);
        log.buffer = Vec::new();
        append_long(&mut log, &"x".repeat(2 * LONG_BYTES)).unwrap();
        assert_eq!(log.buffer.capacity(), 0);
    }

    #[test]
    fn a_long_append_is_stored_whole_or_taken_back_wherever_it_breaks_off() {
        let long = "\"x".repeat(LONG_BYTES / 2 + 1);
        for bytes in [0, 100, BUFFER_BYTES_KEPT, LONG_BYTES] {
            for nth in 1..4 {
                let disk = disk();
                let kind = FaultKind::ShortWrite {
                    bytes,
                    errno: Errno::NOSPC,
                };
                let fault = Fault { at: 1 + nth, kind };
                let mut log = open(FaultFs::new(Arc::new(disk.clone()), fault));
                let result = append_long(&mut log, &long);
                let before = lines(&[2]).concat();
                let found = bytes_of(&disk.harshest_cut(), &folder().log()).unwrap();
                if result.is_err() {
                    assert!(found == before);
                    assert_eq!(log.len_bytes(), before.len() as u64);
                    append_long(&mut log, &long).unwrap();
                }
                let stored = lines(&[2]).concat().len() + long.len() * 3 / 2;
                assert!(log.len_bytes() > stored as u64);
                let found = bytes_of(&disk.harshest_cut(), &folder().log()).unwrap();
                assert_eq!(found.len() as u64, log.len_bytes());
                let mut all = found.split(|byte| *byte == b'\n');
                assert!(all.by_ref().take(4).all(|line| line::decode(line).is_ok()));
                assert_eq!(all.next(), Some(&b""[..]));
            }
        }
    }

    #[test]
    fn a_place_is_told_for_every_event_and_for_the_one_to_come() {
        let mut log = open(disk());
        append(&mut log, &["a", "b"]).unwrap();
        let found = bytes_of(&disk(), &folder().log()).unwrap();
        let ends = lines(&[2]);
        let places = [0, ends[0].len() as u64, found.len() as u64];
        for (seq, place) in (1..).zip(places) {
            assert_eq!(log.offset_of(Seq(seq)).unwrap(), place, "{seq}");
        }
        assert_eq!(log.offset_of(Seq(5)).unwrap(), log.len);
    }
}
