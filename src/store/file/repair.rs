//! Looking at all of a session's files, and mending a damaged log.
//!
//! The rule: **what can be read stays, byte for byte; an event that cannot be read is replaced by an
//! `error` event of its number** (`code: event_lost`), so that numbers have no gap and readers see
//! where something is missing. Lines that stand where no event is missing are left out. A lost
//! `session_start` is written again from the snapshot, or from what replies say of the agent. What
//! an interrupted append left at the end is cut as at every opening.
//!
//! Invariants:
//! - before anything is changed, the whole log is safe in `events.jsonl.damaged-<n>`;
//! - the log is replaced by one rename: whoever finds it finds the old one or the mended one.
//!
//! For the owner of the workspace, while nobody has the session open.

mod findings;
mod report;
mod sort;
mod writer;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::base::fs::{File, Fs, Open};
use crate::domain::event::{Event, OnDisconnect, Record, SessionStart};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::blobs::{BlobError, BlobId};
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::store::FileStore;
use crate::store::file::walk::LogSource;
use crate::store::file::{inflight, snapshot};
use crate::store::{SessionStore as _, StoreError};

use self::findings::Findings;
use self::writer::MendedWriter;

pub use self::report::{Damage, EVENT_LOST, Leftover, LogReport, Mended, RepairError};
pub use crate::store::file::snapshot::SnapshotFit;

impl FileStore {
    /// Looks at all of a session's files and changes nothing. Damage is no error here.
    pub fn examine(&self, id: &SessionId) -> Result<LogReport, StoreError> {
        let older = self.look_older(id);
        let older = older.map(|old| old.map(|old| old.torn_bytes));
        match older.and_then(|torn_bytes| self.report(id, torn_bytes)) {
            Err(StoreError::OlderDamaged { file, line, why }) => {
                Ok(LogReport::of_older(file, Damage { line, why }))
            }
            other => other,
        }
    }

    /// `older` are the torn bytes of a log of an older version.
    fn report(&self, id: &SessionId, older: Option<u64>) -> Result<LogReport, StoreError> {
        self.with_log(id, |source| {
            let findings = Findings::of(source)?;
            let folder = self.layout.session(id);
            let left = inflight::read(&*self.fs, &folder)?;
            Ok(LogReport {
                log: source.path.display().to_string(),
                records: findings.records,
                unchecked: findings.unchecked,
                torn_bytes: findings.torn_bytes(source) + older.unwrap_or(0),
                is_older: older.is_some(),
                damaged_places: findings.damage.count,
                damage: findings.damage.named,
                missing: findings.missing,
                snapshot: snapshot::fit(&*self.fs, &folder, id, source.file),
                in_flight: left.map(|partial| Leftover {
                    message_id: partial.head.message_id,
                    bytes: partial.text.len() as u64,
                }),
                kept_torn_bytes: len_of(&*self.fs, &folder.torn()),
                lost_files: self.lost_files(id, &findings.files)?,
            })
        })
    }

    /// How many files of those digests are not among those of a session, or are not what they were.
    fn lost_files(&self, id: &SessionId, named: &BTreeSet<String>) -> Result<u64, StoreError> {
        let kept = self.files(id);
        let mut lost = 0;
        for digest in named {
            let found = BlobId::parse(digest).map(|blob| kept.read(&blob));
            let is_good = match found.transpose() {
                Ok(found) => found.flatten().is_some(),
                Err(BlobError::Damaged(_) | BlobError::TooLong(_)) => false,
                Err(error @ BlobError::Io { .. }) => return Err(error.into()),
            };
            lost += u64::from(!is_good);
        }
        Ok(lost)
    }

    /// Mends the log of a session as the [module](self) says; `None` when there is nothing to mend.
    pub fn repair(&self, id: &SessionId) -> Result<Option<Mended>, RepairError> {
        let folder = self.layout.session(id);
        let path = folder.log();
        let log = self.open_log(id, Open::Read)?;
        let source = LogSource::new(&*log, &path)?;
        if self.older(source, id)?.is_some() {
            return Ok(None);
        }
        let findings = Findings::of(source)?;
        if findings.is_good() {
            return Ok(None);
        }
        let start = if findings.has_start {
            None
        } else {
            Some(self.lost_start(id, &findings)?)
        };
        let number = self.copy_aside(&folder, source)?;
        if findings.damage.count > 0 {
            self.replace_log(&folder, source, findings.good_end(source), start, number)?;
        }
        let copy = folder.damaged(number).display().to_string();
        self.verify(id)
            .map_err(|source| RepairError::StillDamaged {
                copy: copy.clone(),
                source,
            })?;
        Ok(Some(Mended {
            copy,
            lost: findings.missing,
            torn_bytes: findings.torn_bytes(source),
        }))
    }

    /// Opens the session, which cuts what an interrupted append left, and reads all of it.
    fn verify(&self, id: &SessionId) -> Result<(), StoreError> {
        drop(self.open(id)?);
        self.summary(id)?;
        self.check(id).map(drop)
    }

    /// The first event of a session, as far as anything still tells of it.
    fn lost_start(&self, id: &SessionId, findings: &Findings) -> Result<Record, RepairError> {
        let folder = self.layout.session(id);
        let summary = snapshot::last_summary(&*self.fs, &folder, id);
        let (timestamp, start) = summary
            .map(start_in)
            .or_else(|| findings.agent.clone().map(start_with))
            .ok_or_else(|| RepairError::NothingLeft(folder.log().display().to_string()))?;
        Ok(Record {
            seq: Seq(1),
            timestamp,
            cont: false,
            event: Event::SessionStart(start),
        })
    }

    /// Copies the log to the first free name; returns its number. A file of such a name is a whole
    /// copy.
    fn copy_aside(&self, folder: &Folder, source: LogSource<'_>) -> Result<u32, StoreError> {
        let mut number = 1;
        while self
            .fs
            .exists(&folder.damaged(number))
            .doing("find", folder.path())?
        {
            number += 1;
        }
        self.put(folder, &folder.damaged(number), |file| {
            source.copy_to(file, 0).map(drop)
        })?;
        Ok(number)
    }

    /// Writes a file beside the log and gives it its name once all of it is safe.
    fn put(
        &self,
        folder: &Folder,
        target: &Path,
        write: impl FnOnce(&mut dyn File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = folder.mended();
        let mut file = self.fs.open(&path, Open::Empty).doing("create", &path)?;
        write(&mut *file).doing("write", &path)?;
        file.sync_data().doing("sync", &path)?;
        self.fs.rename(&path, target).doing("replace", target)?;
        self.fs.sync_dir(folder.path()).doing("sync", folder.path())
    }

    /// Writes the mended log and puts it in the place of the old one. From `good_end` on, the bytes
    /// are left as they are: opening cuts them.
    fn replace_log(
        &self,
        folder: &Folder,
        source: LogSource<'_>,
        good_end: u64,
        start: Option<Record>,
        number: u32,
    ) -> Result<(), StoreError> {
        let copy = format!("events.jsonl.damaged-{number}");
        self.put(folder, &folder.log(), |file| {
            MendedWriter::new(file, start, copy).write_log(source, good_end)
        })?;
        // The snapshot counts what is lost; without it all is counted anew.
        match self.fs.remove_file(&folder.snapshot()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.doing("remove", &folder.snapshot())?,
        }
        self.fs.sync_dir(folder.path()).doing("sync", folder.path())
    }
}

fn start_in(summary: Summary) -> (Timestamp, SessionStart) {
    let start = SessionStart {
        gateway: summary.gateway,
        gateway_chat_id: summary.gateway_chat_id,
        gateway_thread_id: summary.gateway_thread_id,
        owner: summary.owner,
        workdir: summary.workdir,
        ..SessionStart::new(summary.agent, summary.on_disconnect)
    };
    (summary.created_at, start)
}

/// Of an agent that spoke first at that time.
fn start_with((agent, at): (String, Timestamp)) -> (Timestamp, SessionStart) {
    (at, SessionStart::new(agent, OnDisconnect::default()))
}

/// The length of a file; 0 if there is none, or it cannot be told.
fn len_of(fs: &dyn Fs, path: &Path) -> u64 {
    let opened = fs.open(path, Open::Read);
    opened.and_then(|file| file.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::base::fs::{Fault, FaultFs, FaultKind, SimDisk};
    use crate::domain::ids::Seq;
    use crate::store::file::testing::{
        at, bytes_of, disk_of, disk_with, folder, id, line, lines, store_on,
    };
    use crate::store::{ReadLimit, Snapshot};
    use rustix::io::Errno;

    /// All records of a log.
    fn records(disk: &SimDisk) -> Vec<Record> {
        let all = ReadLimit {
            records: usize::MAX,
            bytes: usize::MAX,
        };
        store_on(disk.clone()).records(&id(), Seq(1), all).unwrap()
    }

    /// What the marks of a mended log say, by the numbers of the events that they stand for.
    fn marks(disk: &SimDisk) -> Vec<(u64, Timestamp, String)> {
        let marks = records(disk)
            .into_iter()
            .filter_map(|record| match record.event {
                Event::Error { code, message } if code == EVENT_LOST => {
                    Some((record.seq.0, record.timestamp, message))
                }
                _ => None,
            });
        marks.collect()
    }

    /// A log with one damaged place for each of these lines, from 0.
    fn damaged(places: &[usize]) -> Vec<Vec<u8>> {
        let mut log = lines(&[1; 12]);
        for place in places {
            log[*place][40] ^= 1;
        }
        log
    }

    /// The snapshot of a good log.
    fn snapshot_bytes(log: &[u8]) -> Vec<u8> {
        let disk = disk_of(log);
        let store = store_on(disk.clone());
        let summary = store.summary(&id()).unwrap();
        let snapshot = Snapshot {
            summary,
            window_seq: Seq(1),
            marks: crate::domain::window::Marks::default(),
        };
        store
            .open(&id())
            .unwrap()
            .log
            .save_snapshot(&snapshot)
            .unwrap();
        bytes_of(&disk, &folder().snapshot()).unwrap()
    }

    #[test]
    fn what_a_newer_version_wrote_is_neither_examined_nor_mended() {
        let newer = r#"{"seq":1,"timestamp":"2026-11-22T06:00:00Z","type":"session_start","format":2,"agent":"a","on_disconnect":"pause"}"#;
        let log = format!("{newer}\nsomething else entirely\n{newer}\n");
        let disk = disk_of(log.as_bytes());
        let store = store_on(disk.clone());
        let refused = store.repair(&id());
        let is_newer =
            |error: &StoreError| matches!(error, StoreError::NewerFormat { format: 2, .. });
        assert!(
            matches!(&refused, Err(RepairError::Store(error)) if is_newer(error)),
            "{refused:?}"
        );
        assert!(is_newer(&store.examine(&id()).unwrap_err()));
        assert!(is_newer(&store.check(&id()).unwrap_err()));
        let names = disk.list_dir(folder().path()).unwrap();
        assert_eq!(names, ["events.jsonl"], "no copy, nothing new");
        assert_eq!(bytes_of(&disk, &folder().log()).unwrap(), log.as_bytes());
    }

    #[test]
    fn each_mark_names_the_line_that_was_bad_in_its_place_and_bears_the_time_before_it() {
        let disk = disk_of(&damaged(&[2, 5, 6, 9]).concat());
        store_on(disk.clone()).repair(&id()).unwrap().unwrap();
        let mut told = Vec::new();
        for (seq, time, message) in marks(&disk) {
            let (_, line) = message.split_once("damaged-1:").unwrap();
            told.push((seq, time, line.split(':').next().unwrap().to_owned()));
        }
        let mark = |seq, second, line: &str| (seq, at(second), line.to_owned());
        // Of two in a row the first is named.
        let expected = [
            mark(3, 2, "3"),
            mark(6, 5, "6"),
            mark(7, 5, "6"),
            mark(10, 9, "10"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn an_event_that_no_line_has_is_not_blamed_on_an_earlier_bad_one() {
        let mut log = damaged(&[2]);
        log.remove(6);
        let disk = disk_of(&log.concat());
        store_on(disk.clone()).repair(&id()).unwrap().unwrap();
        let marks = marks(&disk);
        assert_eq!(marks.len(), 2, "{marks:?}");
        assert_eq!(marks[1].0, 7);
        assert!(marks[1].2.contains("no line had its number"), "{marks:?}");
    }

    #[test]
    fn times_of_a_mended_log_never_go_back() {
        let mut log = damaged(&[]);
        let text = String::from_utf8(log[4].clone()).unwrap();
        let (_, rest) = text.split_once("\"seq\"").unwrap();
        // An event from a time when the clock was ahead, by hand; the next one is lost.
        let ahead =
            format!("{{\"seq\"{rest}").replace("1970-01-01T00:00:05", "1970-01-01T00:01:00");
        log[4] = ahead.into_bytes();
        log[6][40] ^= 1;
        let disk = disk_of(&log.concat());
        store_on(disk.clone()).repair(&id()).unwrap().unwrap();
        let marks = marks(&disk);
        assert_eq!((marks[0].0, marks[0].1), (7, at(60)), "{marks:?}");
    }

    #[test]
    fn a_lost_beginning_bears_the_time_that_the_snapshot_knows_and_what_follows_no_earlier_one() {
        let good = lines(&[1; 12]).concat();
        let snapshot = snapshot_bytes(&good);
        // Nothing is left, or the second event is lost too.
        for (log, lost) in [
            (Vec::new(), vec![]),
            (lines(&[1; 12])[2..].concat(), vec![2]),
        ] {
            let disk = disk_with(&[(folder().log(), &log), (folder().snapshot(), &snapshot)]);
            store_on(disk.clone()).repair(&id()).unwrap().unwrap();
            assert_eq!(records(&disk)[0].timestamp, at(1));
            let marks = marks(&disk);
            let seqs: Vec<u64> = marks.iter().map(|(seq, ..)| *seq).collect();
            assert_eq!(seqs, lost);
            assert!(marks.iter().all(|(_, time, _)| *time == at(1)));
        }
    }

    #[test]
    fn a_log_without_any_event_is_damaged_and_not_torn() {
        for (log, places) in [("", 1), ("rubbish", 2), ("rubbish\nmore\n", 3)] {
            let disk = disk_of(log.as_bytes());
            let report = store_on(disk).examine(&id()).unwrap();
            assert_eq!(
                (report.damaged_places, report.torn_bytes),
                (places, 0),
                "{log:?}"
            );
            assert!(!report.is_whole());
        }
    }

    #[test]
    fn the_snapshot_goes_with_what_it_counted_and_a_failure_to_remove_it_is_told() {
        let snapshot = snapshot_bytes(&lines(&[1; 12]).concat());
        let log = damaged(&[4]).concat();
        let disk = || disk_with(&[(folder().log(), &log), (folder().snapshot(), &snapshot)]);
        let mended = disk();
        store_on(mended.clone()).repair(&id()).unwrap().unwrap();
        assert_eq!(bytes_of(&mended.harshest_cut(), &folder().snapshot()), None);
        let counting = FaultFs::counting(Arc::new(disk()));
        store_on(counting.clone()).repair(&id()).unwrap();
        for at in 1..=counting.operations() {
            let kind = FaultKind::Error(Errno::IO);
            let disk = disk();
            let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            let result = store_on(faulty).repair(&id());
            let is_here = bytes_of(&disk, &folder().snapshot()).is_some();
            // It says yes only when no snapshot is left that knows another log.
            assert!(result.is_err() || !is_here, "operation {at}: {result:?}");
        }
    }

    #[test]
    fn a_session_that_was_never_snapshot_is_mended_like_any_other() {
        let disk = disk_of(&damaged(&[4]).concat());
        let mended = store_on(disk.clone()).repair(&id()).unwrap().unwrap();
        assert_eq!((mended.lost, mended.torn_bytes), (1, 0));
        assert_eq!(
            bytes_of(&disk, &folder().damaged(1)).unwrap(),
            damaged(&[4]).concat()
        );
    }

    #[test]
    fn the_agent_of_a_lost_beginning_is_found_in_the_first_reply() {
        use crate::domain::story;
        let event = |seq: u64, event: Event| {
            let record = Record {
                timestamp: at(seq),
                ..story::record(seq, event)
            };
            let mut bytes = Vec::new();
            crate::store::file::line::encode(&record, 0, &mut bytes).unwrap();
            bytes
        };
        let log = [
            b"rubbish\n".to_vec(),
            event(2, story::user(1, "hi")),
            event(3, story::started(1, crate::domain::event::Trigger::Message)),
            event(4, story::reply(2, 3, "yes").event()),
            line(5, false, "more"),
        ];
        let disk = disk_of(&log.concat());
        store_on(disk.clone()).repair(&id()).unwrap().unwrap();
        let first = records(&disk).remove(0);
        let Event::SessionStart(start) = &first.event else {
            panic!("{first:?}");
        };
        assert_eq!((start.agent.as_str(), first.timestamp), ("ada", at(4)));
    }
}
