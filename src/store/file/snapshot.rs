//! The snapshot of a session, `state.yaml`: a small cache for listing and for quick opening.
//!
//! It is never trusted beyond what the log confirms, and a missing or unfit one costs nothing but
//! time. So that it is never wrong either, one that would be too large is not written.

use std::io;

use serde::{Deserialize, Serialize};

use crate::base::fs::{self, File, Fs};
use crate::base::yaml;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::state::{SessionState, Summary};
use crate::domain::window::{Limits, Marks};
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::lines::{self, Lines};
use crate::store::file::read::LogPosition;
use crate::store::file::walk::LogSource;
use crate::store::{Snapshot, StoreError};

/// Of the file.
pub(super) const BYTES_MAX: usize = 4 << 10;

const SCHEMA_VERSION: u32 = 1;

/// A snapshot that fits its log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitting {
    /// The snapshot.
    pub(super) snapshot: Snapshot,
    /// Where the log goes on after it.
    pub(super) covered: LogPosition,
}

/// How a snapshot stands to its log. None does harm: it is a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotFit {
    /// It is of use.
    Fits,
    /// There is none.
    Missing,
    /// It is of no use; the reason.
    Unfit(String),
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    schema_version: u32,
    session_id: SessionId,
    window_seq: Seq,
    #[serde(default)]
    window: Marks,
    /// Where what it covers ends in the log.
    log_offset: u64,
    #[serde(flatten)]
    summary: Summary,
}

/// Replaces the snapshot of a session; what it covers ends at `log_offset`.
pub(super) fn save(
    fs: &dyn Fs,
    folder: &Folder,
    id: &SessionId,
    snapshot: &Snapshot,
    log_offset: u64,
) -> Result<(), StoreError> {
    let path = folder.snapshot();
    let file = StateFile {
        schema_version: SCHEMA_VERSION,
        session_id: id.clone(),
        window_seq: snapshot.window_seq,
        window: snapshot.marks,
        log_offset,
        summary: snapshot.summary.clone(),
    };
    let text = yaml::to_string(&file)
        .map_err(io::Error::other)
        .doing("write", &path)?;
    if text.len() > BYTES_MAX {
        // Left out fields would come back empty after a restart: the older snapshot is better.
        log::debug!("{}: too large, not written", path.display());
        return Ok(());
    }
    fs::replace_file(fs, &path, text.as_bytes()).doing("replace", &path)
}

/// The snapshot of a session, unless it is missing, unreadable or does not fit the log.
pub(super) fn load(
    fs: &dyn Fs,
    folder: &Folder,
    id: &SessionId,
    log: &dyn File,
) -> Option<Fitting> {
    match read(fs, folder, id, log) {
        Ok(fitting) => Some(fitting),
        Err(why) => {
            log::debug!("{}: rebuilt: {why}", folder.snapshot().display());
            None
        }
    }
}

/// How the snapshot of a session stands to its log.
pub(super) fn fit(fs: &dyn Fs, folder: &Folder, id: &SessionId, log: &dyn File) -> SnapshotFit {
    match read(fs, folder, id, log) {
        Ok(_) => SnapshotFit::Fits,
        Err(Unfit::Io(error)) if error.kind() == io::ErrorKind::NotFound => SnapshotFit::Missing,
        Err(why) => SnapshotFit::Unfit(why.to_string()),
    }
}

/// What the snapshot of a session says, whether or not it fits what is left of the log.
pub(super) fn last_summary(fs: &dyn Fs, folder: &Folder, id: &SessionId) -> Option<Summary> {
    Some(parse(fs, folder, id).ok()?.summary)
}

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not UTF-8")]
    Utf8(#[from] std::string::FromUtf8Error),
    #[error(transparent)]
    Yaml(#[from] yaml::YamlError),
    #[error("{0}")]
    Other(&'static str),
}

fn parse(fs: &dyn Fs, folder: &Folder, id: &SessionId) -> Result<StateFile, Unfit> {
    let bytes = fs::read_file(fs, &folder.snapshot(), BYTES_MAX as u64)?;
    let file: StateFile = yaml::from_str(&String::from_utf8(bytes)?)?;
    if file.schema_version != SCHEMA_VERSION {
        return Err(Unfit::Other("of another version"));
    }
    if file.session_id != *id {
        return Err(Unfit::Other("of another session"));
    }
    Ok(file)
}

fn read(fs: &dyn Fs, folder: &Folder, id: &SessionId, log: &dyn File) -> Result<Fitting, Unfit> {
    let file = parse(fs, folder, id)?;
    let covered = LogPosition {
        offset: file.log_offset,
        seq: file.summary.last_seq.next(),
    };
    check_fit(log, covered)?;
    let snapshot = Snapshot {
        summary: file.summary,
        window_seq: file.window_seq,
        marks: file.window,
    };
    Ok(Fitting { snapshot, covered })
}

/// Checks that the log has a record that ends where the snapshot's coverage does, and has the number
/// that the snapshot knows as the last.
fn check_fit(log: &dyn File, covered: LogPosition) -> Result<(), Unfit> {
    if covered.offset > log.len()? {
        return Err(Unfit::Other("the log is shorter"));
    }
    let start = lines::line_start_before(log, covered.offset)?;
    let mut lines = Lines::new(log, start, covered.offset);
    let last = lines.next()?.filter(|line| line.is_whole);
    let seq = last.and_then(|line| Some(line::decode(line.bytes).ok()?.record.seq));
    if seq.map(Seq::next) != Some(covered.seq) {
        return Err(Unfit::Other("the log has another record there"));
    }
    Ok(())
}

/// The summary of a whole log: that of its snapshot, and what came after it.
pub(super) fn summary_of(
    source: LogSource<'_>,
    fitting: Option<Fitting>,
) -> Result<Summary, StoreError> {
    let (covered, mut summary) = match fitting {
        Some(found) => (found.covered, found.snapshot.summary),
        None => (
            LogPosition::START,
            SessionState::new(Limits::none()).summary,
        ),
    };
    let mut walk = source.walk(covered.offset, Some(covered.seq));
    while let Some(found) = walk.next()? {
        summary.apply(&found.record);
    }
    if summary.last_seq == Seq::ZERO {
        return Err(source.damaged(0, "it holds no event".to_owned()));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fs::SimDisk;
    use crate::store::file::testing::{bytes_of, disk_of, folder, id, lines};

    /// A snapshot of all of a log.
    fn snapshot_of(disk: &SimDisk) -> Snapshot {
        let log = disk.open(&folder().log(), fs::Open::Read).unwrap();
        let path = folder().log();
        let mut state = SessionState::new(Limits::none());
        let mut walk = LogSource::new(&*log, &path).unwrap().walk(0, None);
        while let Some(found) = walk.next().unwrap() {
            state.apply(&found.record);
        }
        Snapshot {
            summary: state.summary,
            window_seq: Seq(2),
            marks: Marks::default(),
        }
    }

    /// A disk with a log, and the snapshot of all of it.
    fn saved(lines: &[Vec<u8>]) -> (SimDisk, Snapshot) {
        let log = lines.concat();
        let disk = disk_of(&log);
        let snapshot = snapshot_of(&disk);
        save(&disk, &folder(), &id(), &snapshot, log.len() as u64).unwrap();
        (disk, snapshot)
    }

    fn loaded(disk: &SimDisk) -> Option<Fitting> {
        let log = disk.open(&folder().log(), fs::Open::Read).unwrap();
        load(disk, &folder(), &id(), &*log)
    }

    /// The same disk with another log beside the snapshot.
    fn with_log(disk: &SimDisk, lines: &[Vec<u8>]) -> SimDisk {
        let disk = disk.fork();
        let mut log = disk.open(&folder().log(), fs::Open::Empty).unwrap();
        log.write_all(&lines.concat()).unwrap();
        disk
    }

    #[test]
    fn what_was_saved_is_loaded_and_says_where_the_log_goes_on() {
        let lines = lines(&[2, 3, 1]);
        let (disk, snapshot) = saved(&lines[..5]);
        let covered = LogPosition {
            offset: lines[..5].concat().len() as u64,
            seq: Seq(6),
        };
        // More may have been written since.
        for end in [5, 6] {
            let found = loaded(&with_log(&disk, &lines[..end])).unwrap();
            assert_eq!((&found.snapshot, found.covered), (&snapshot, covered));
        }
        let after_a_cut = loaded(&disk.harshest_cut()).unwrap();
        assert_eq!(after_a_cut.snapshot, snapshot);
    }

    #[test]
    fn a_snapshot_fits_only_a_log_that_has_its_last_event_in_that_place() {
        let all = lines(&[2, 3, 1]);
        let (disk, _) = saved(&all[..5]);
        let mut longer = all.clone();
        longer[1] = crate::store::file::testing::line(2, true, "some longer words");
        let mut damaged = all.clone();
        damaged[4][40] ^= 1;
        for (why, log) in [
            ("it is shorter", &all[..4]),
            (
                "it ends within the last line",
                &[all[..4].to_vec(), vec![all[4][..9].to_vec()]].concat(),
            ),
            ("it is empty", &[]),
            ("other lines stand before", &longer[..]),
            ("its last event is damaged", &damaged[..]),
            (
                "its last event is another",
                &[all[..4].to_vec(), vec![all[5].clone()]].concat(),
            ),
        ] {
            assert_eq!(loaded(&with_log(&disk, log)), None, "{why}");
        }
        assert!(loaded(&disk).is_some());
    }

    #[test]
    fn a_snapshot_of_another_session_or_version_or_place_is_of_no_use() {
        let (disk, _) = saved(&lines(&[2, 3]));
        let path = folder().snapshot();
        let good = String::from_utf8(bytes_of(&disk, &path).unwrap()).unwrap();
        let len = lines(&[2, 3]).concat().len();
        let offset = |n: usize| format!("log_offset: {n}");
        for (from, to) in [
            ("schema_version: 1", "schema_version: 2".to_owned()),
            (id().as_str(), SessionId::mint(1, 1).to_string()),
            ("last_seq: 5", "last_seq: 4".to_owned()),
            (&offset(len), offset(len - 1)),
            (&offset(len), offset(len + 1)),
            (&offset(len), offset(0)),
            (&good, String::new()),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            fs::replace_file(&disk, &path, good.replace(from, &to).as_bytes()).unwrap();
            assert_eq!(loaded(&disk), None, "{from} as {to}");
        }
    }

    #[test]
    fn the_file_holds_one_offset_and_those_of_older_versions_are_not_missed() {
        let (disk, snapshot) = saved(&lines(&[2, 3]));
        let path = folder().snapshot();
        let text = String::from_utf8(bytes_of(&disk, &path).unwrap()).unwrap();
        assert_eq!(text.matches("_offset:").count(), 1, "{text}");
        let older = text.replace("log_offset", "window_offset: 7\nkeys_offset: 9\nlog_offset");
        fs::replace_file(&disk, &path, older.as_bytes()).unwrap();
        assert_eq!(loaded(&disk).unwrap().snapshot, snapshot);
    }

    #[test]
    fn what_would_be_too_large_is_not_written_and_the_older_one_stays() {
        let (disk, snapshot) = saved(&lines(&[2, 3]));
        let mut large = snapshot.clone();
        large.summary.title = Some("x".repeat(BYTES_MAX));
        let len = lines(&[2, 3]).concat().len() as u64;
        save(&disk, &folder(), &id(), &large, len).unwrap();
        assert_eq!(loaded(&disk).unwrap().snapshot, snapshot);
    }
}
