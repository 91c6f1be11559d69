//! The snapshot of a session, `state.yaml`: a small cache for listing and for quick opening.
//!
//! It is never trusted beyond what the log confirms, and a missing or unfit one costs nothing but
//! time. So that it is never wrong either, one that would be too large is not written.

use std::io;

use serde::{Deserialize, Serialize};

use crate::base::fs::{self, File, Fs};
use crate::base::yaml;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::window::Marks;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::lines::{self, Lines};
use crate::store::file::read::Place;
use crate::store::file::repair::SnapshotFit;
use crate::store::{Snapshot, StoreError};

/// Of the file.
pub(super) const BYTES_MAX: usize = 4 << 10;

const SCHEMA_VERSION: u32 = 1;

/// Byte offsets in the log that a snapshot names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets {
    /// The end of what the snapshot covers.
    #[serde(rename = "log_offset")]
    pub(super) covered: u64,
    /// From where the window of the next model call is read.
    #[serde(rename = "window_offset")]
    pub(super) window: u64,
    /// From where the last messages are whose keys count.
    #[serde(rename = "keys_offset")]
    pub(super) keys: u64,
}

/// A snapshot that fits its log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitting {
    /// The snapshot.
    pub(super) snapshot: Snapshot,
    /// Where the log goes on after it.
    pub(super) covered: Place,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    schema_version: u32,
    session_id: SessionId,
    window_seq: Seq,
    #[serde(default)]
    window: Marks,
    #[serde(flatten)]
    offsets: Offsets,
    #[serde(flatten)]
    summary: Summary,
}

/// Replaces the snapshot of a session.
pub(super) fn save(
    fs: &dyn Fs,
    folder: &Folder,
    id: &SessionId,
    snapshot: &Snapshot,
    offsets: Offsets,
) -> Result<(), StoreError> {
    let path = folder.snapshot();
    let file = StateFile {
        schema_version: SCHEMA_VERSION,
        session_id: id.clone(),
        window_seq: snapshot.window_seq,
        window: snapshot.marks,
        offsets,
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
    let covered = Place {
        offset: file.offsets.covered,
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
fn check_fit(log: &dyn File, covered: Place) -> Result<(), Unfit> {
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
