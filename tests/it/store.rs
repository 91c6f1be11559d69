//! Sessions in files: what is stored stays, what was interrupted is mended, what is damaged is told.

mod blobs;
mod crash;
mod documents;
mod format;
mod lock;
mod pages;
mod promises;
mod recovery;
mod repair;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duragent::base::fs::{self, Fs, Open, SimDisk};
use duragent::domain::event::{Event, OnDisconnect, Record, SessionStart, UserMessage};
use duragent::domain::ids::{MessageId, Seq, SessionId};
use duragent::domain::state::SessionState;
use duragent::domain::time::Timestamp;
use duragent::domain::window::{Limits, Marks};
use duragent::store::file::FileStore;
use duragent::store::{Epoch, OpenSession, ReadLimit, SessionStore, Snapshot, StoreError};

const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

const ROOT: &str = "/workspace";

fn store_on(fs: impl Fs + 'static) -> FileStore {
    FileStore::new(Arc::new(fs), PathBuf::from(ROOT))
}

fn id(n: u128) -> SessionId {
    SessionId::mint(1_795_327_200_000, n)
}

/// The `n`-th second of all these tests.
fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(1_795_327_200_000_000 + n * 1_000_000)
}

fn start() -> Event {
    Event::SessionStart(SessionStart::new("assistant", OnDisconnect::Pause))
}

fn message(n: u64, content: &str) -> Event {
    Event::from(UserMessage::new(message_id(n), content))
}

/// Minted in the `n`-th second.
fn message_id(n: u64) -> MessageId {
    MessageId::mint(at(n).as_millis(), u128::from(n))
}

fn events_of(records: &[Record]) -> Vec<Event> {
    records.iter().map(|record| record.event.clone()).collect()
}

fn all_events(store: &FileStore, id: &SessionId) -> Vec<Event> {
    events_of(&store.records(id, Seq(1), ALL).unwrap())
}

/// Appends to a session that nobody else may claim.
fn append(
    open: &mut OpenSession,
    last: Seq,
    at: Timestamp,
    events: impl Into<Vec<Event>>,
) -> Result<Vec<Arc<Record>>, StoreError> {
    Ok(open.log.append(Epoch::ZERO, last, at, events.into())?)
}

/// As [`append`], after what the log held when it was opened.
fn append_last(
    open: &mut OpenSession,
    at: Timestamp,
    events: impl Into<Vec<Event>>,
) -> Result<Vec<Arc<Record>>, StoreError> {
    append(open, open.last_seq, at, events)
}

/// The snapshot of the log's end.
fn snapshot_of(store: &FileStore, id: &SessionId) -> Snapshot {
    let mut state = SessionState::new(Limits::none());
    for record in store.records(id, Seq(1), ALL).unwrap() {
        state.apply(&record);
    }
    Snapshot {
        summary: state.summary,
        window_seq: Seq(1),
        marks: Marks::default(),
    }
}

fn in_session(id: &SessionId, file: &str) -> PathBuf {
    Path::new(ROOT)
        .join("sessions")
        .join(id.as_str())
        .join(file)
}

fn log_bytes(disk: &SimDisk, id: &SessionId) -> Vec<u8> {
    fs::read_file(disk, &in_session(id, "events.jsonl"), u64::MAX).unwrap()
}

/// A disk with one session, whose files are these.
fn disk_with(id: &SessionId, files: &[(&str, &[u8])]) -> SimDisk {
    let disk = SimDisk::new();
    fs::create_dirs(&disk, &in_session(id, "")).unwrap();
    for (name, bytes) in files {
        let mut file = disk.open(&in_session(id, name), Open::Empty).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(&in_session(id, "")).unwrap();
    disk
}

/// The appends of a session, the first of which creates it.
fn appends() -> Vec<Vec<Event>> {
    vec![
        vec![start(), message(1, "first")],
        vec![message(2, "ä second one")],
        vec![
            message(3, "a"),
            message(4, &"b".repeat(600)),
            message(5, "c"),
        ],
        vec![
            message(6, "d"),
            message(7, "e"),
            message(8, &"f".repeat(700)),
        ],
    ]
}

/// A disk with a session that has made `appends`.
fn disk_after(appends: &[Vec<Event>]) -> SimDisk {
    let disk = SimDisk::new();
    let store = store_on(disk.clone());
    store.create(&id(1), at(0), appends[0].clone()).unwrap();
    let mut open = store.open(&id(1)).unwrap();
    for (events, n) in appends[1..].iter().zip(1..) {
        let stored = append_last(&mut open, at(n), events.clone()).unwrap();
        open.last_seq = stored.last().unwrap().seq;
    }
    disk
}

fn is_read_only<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::ReadOnly(_)))
}
