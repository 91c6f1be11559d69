//! One session's files on a disk in memory, for the unit tests of whoever reads and writes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::fs::{self, Fs, Open, SimDisk};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::story;
use crate::domain::time::Timestamp;
use crate::store::file::FileStore;
use crate::store::file::layout::{Folder, Layout};
use crate::store::file::line;

const ROOT: &str = "/workspace";

/// The one session.
pub(super) fn id() -> SessionId {
    SessionId::mint(1_795_327_200_000, 1)
}

/// Its folder.
pub(super) fn folder() -> Folder {
    Layout::in_workspace(Path::new(ROOT)).session(&id())
}

/// The `n`-th second of these tests.
pub(super) fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

/// Event `seq`, of that second: the start, or something that is told by its text.
pub(super) fn event(seq: u64, text: &str) -> Event {
    match seq {
        1 => story::start(),
        _ => Event::Error {
            code: "told".to_owned(),
            message: text.to_owned(),
        },
    }
}

/// The line of event `seq`, with its newline; with `cont` the second of an append.
pub(super) fn line(seq: u64, cont: bool, text: &str) -> Vec<u8> {
    line_of(if cont { seq - 1 } else { seq }, seq, text)
}

/// The line of event `seq` of an append that begins with event `first`: all bear its time.
fn line_of(first: u64, seq: u64, text: &str) -> Vec<u8> {
    let record = Record {
        seq: Seq(seq),
        timestamp: at(first),
        cont: seq > first,
        event: event(seq, text),
    };
    let mut bytes = Vec::new();
    line::encode(&record, 0, &mut bytes).unwrap();
    bytes
}

/// The lines of a log whose appends have so many events each.
pub(super) fn lines(appends: &[u64]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for events in appends {
        let first = lines.len() as u64 + 1;
        let seqs = first..first + events;
        lines.extend(seqs.map(|seq| line_of(first, seq, "some words")));
    }
    lines
}

/// A disk with the session, whose files are these, all of them synced.
pub(super) fn disk_with(files: &[(PathBuf, &[u8])]) -> SimDisk {
    let disk = SimDisk::new();
    fs::create_dirs(&disk, folder().path()).unwrap();
    for (path, bytes) in files {
        let mut file = disk.open(path, Open::CreateNew).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(folder().path()).unwrap();
    disk
}

/// A disk with the session, whose log is this.
pub(super) fn disk_of(log: &[u8]) -> SimDisk {
    disk_with(&[(folder().log(), log)])
}

/// The store on a disk.
pub(super) fn store_on(fs: impl Fs + 'static) -> FileStore {
    FileStore::new(Arc::new(fs), PathBuf::from(ROOT))
}

/// A whole file; `None` if there is none.
pub(super) fn bytes_of(disk: &SimDisk, path: &Path) -> Option<Vec<u8>> {
    fs::read_file(disk, path, u64::MAX).ok()
}
