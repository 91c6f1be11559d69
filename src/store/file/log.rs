//! The log of one session, `events.jsonl`, for its one writer.
//!
//! Invariants:
//! - bytes up to `len` are synced, and hold the whole records up to `last_seq`;
//! - after a failed sync, or a failed cut, nothing is written any more: what the file holds from `len`
//!   on is unknown, and nobody was told that it is stored.
//!
//! Owned by: the session, behind its `log` lock.
//! Elsewhere: reading (`read`), repair (`recover`), what events mean (`domain`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::fs::{File, Fs};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::read::Place;
use crate::store::file::snapshot::{self, Offsets};
use crate::store::file::unsure::Unsure;
use crate::store::file::walk::Source;
use crate::store::{SessionLog, Snapshot, StoreError};

/// A buffer grown by one large append is given back after it.
const BUFFER_BYTES_KEPT: usize = 16 << 10;

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
    buffer: Vec<u8>,
}

impl Log {
    /// A log whose good bytes, all synced, end at `end`.
    pub(super) fn new(
        fs: Arc<dyn Fs>,
        folder: Folder,
        id: SessionId,
        file: Box<dyn File>,
        end: Place,
        unsure: Unsure,
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
            buffer: Vec::new(),
        }
    }

    /// Writes and syncs the buffer, or leaves the file as it was, or gives the log up.
    fn store_buffer(&mut self) -> Result<(), StoreError> {
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.cut_back(&error)?;
            return Err(error).doing("write", &self.path);
        }
        match self.file.sync_data() {
            Ok(()) => Ok(()),
            // The kernel drops what it could not write: another sync would succeed and lie.
            Err(error) => Err(self.give_up("sync", &error)),
        }
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

    fn offsets(&self, snapshot: &Snapshot) -> Result<Offsets, StoreError> {
        let source = Source {
            file: &*self.file,
            path: &self.path,
            end: self.len,
        };
        let offset_of = |seq: Seq| {
            if seq > self.last_seq {
                return Ok(self.len);
            }
            Ok::<u64, StoreError>(source.locate(seq)?.offset)
        };
        Ok(Offsets {
            covered: offset_of(snapshot.summary.last_seq.next())?,
            window: offset_of(snapshot.window_seq)?,
            keys: offset_of(snapshot.summary.keys_from())?,
        })
    }
}

impl SessionLog for Log {
    fn append(
        &mut self,
        expected_last: Seq,
        at: Timestamp,
        events: &[Event],
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::ReadOnly(why.clone()));
        }
        if expected_last != self.last_seq {
            return Err(StoreError::Conflict {
                expected: expected_last,
                actual: self.last_seq,
            });
        }
        let records = records_of(events, self.last_seq, at);
        let Some(last) = records.last() else {
            return Ok(records);
        };
        encode_all(&records, &mut self.buffer).doing("write", &self.path)?;
        self.store_buffer()?;
        self.len += self.buffer.len() as u64;
        self.last_seq = last.seq;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(records)
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let offsets = self.offsets(snapshot)?;
        snapshot::save(&*self.fs, &self.folder, &self.id, snapshot, offsets)
    }

    fn len_bytes(&self) -> u64 {
        self.len
    }
}

/// The records that `events` become in one append after `last`.
pub(super) fn records_of(events: &[Event], last: Seq, at: Timestamp) -> Vec<Arc<Record>> {
    let mut seq = last;
    let mut record_of = |event: &Event| {
        seq = seq.next();
        Arc::new(Record {
            seq,
            timestamp: at,
            // Tells what is left of a torn append from damage to an older one.
            cont: seq > last.next(),
            event: event.clone(),
        })
    };
    events.iter().map(&mut record_of).collect()
}

/// Replaces what is in `buffer` with the lines of an append.
pub(super) fn encode_all(records: &[Arc<Record>], buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    for record in records {
        line::encode(&**record, 0, buffer)?;
    }
    Ok(())
}
