//! The records of a log from some place on, each checked, up to what was written last.
//!
//! Invariants:
//! - a record is returned only if its line is whole, its checksum fits and its number follows the one
//!   before;
//! - what an interrupted append can have left ends the walk ([`Tail`]); all else that is bad is
//!   [`StoreError::Damaged`].

use std::io;
use std::path::Path;

use crate::base::fs::{self, File};
use crate::domain::event::{Record, RecordHead};
use crate::domain::ids::Seq;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::line::{self, Decoded};
use crate::store::file::lines::{self, Lines};

/// A log that can be read, and what to call it in an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSource<'a> {
    /// The file.
    pub(super) file: &'a dyn File,
    /// Its path.
    pub(super) path: &'a Path,
    /// Its length when the reading began: what a concurrent append adds is not seen.
    pub(super) end: u64,
}

/// Walks over the records of a log.
#[derive(Debug)]
pub(super) struct RecordWalk<'a> {
    source: LogSource<'a>,
    lines: Lines<'a>,
    /// The number that the next record must have; the first one sets it if it is not known.
    expected: Option<Seq>,
    good_end: u64,
    unchecked: u64,
    tail: Option<Tail>,
}

/// A record and its place.
#[derive(Debug)]
pub(super) struct LocatedRecord<T = Record> {
    /// Its number.
    pub(super) seq: Seq,
    /// The record, or what its reader makes of it.
    pub(super) record: T,
    /// Where its line begins.
    pub(super) offset: u64,
    /// Where the next one begins.
    pub(super) end: u64,
}

/// What follows the last good line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// A good line that lacks only its newline.
    NoNewline,
    /// What an interrupted append left: a cut line, or bad lines with nothing after them but lines
    /// of the same append.
    Torn,
}

impl<'a> LogSource<'a> {
    /// The log as it is now.
    pub(super) fn new(file: &'a dyn File, path: &'a Path) -> Result<LogSource<'a>, StoreError> {
        let end = file.len().doing("read", path)?;
        Ok(LogSource { file, path, end })
    }

    /// The records from the one that begins at `offset` on. It must have the number `first`, if
    /// that is known.
    pub(super) fn walk(self, offset: u64, first: Option<Seq>) -> RecordWalk<'a> {
        let is_start = offset == 0;
        RecordWalk {
            source: self,
            lines: Lines::new(self.file, offset, self.end),
            expected: if is_start { Some(Seq(1)) } else { first },
            good_end: offset,
            unchecked: 0,
            tail: None,
        }
    }

    /// Copies the bytes from `offset` on to the end of `target`; returns how many there were.
    pub(super) fn copy_to(self, target: &mut dyn File, offset: u64) -> io::Result<u64> {
        const CHUNK_BYTES: u64 = 64 << 10;
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        let mut from = offset;
        while from < self.end {
            let wanted = (self.end - from).min(CHUNK_BYTES) as usize;
            let read = fs::read_full(self.file, &mut chunk[..wanted], from)?;
            if read == 0 {
                break;
            }
            target.write_all(&chunk[..read])?;
            from += read as u64;
        }
        Ok(from - offset)
    }

    /// The error for a bad line, which says where it is.
    pub(super) fn damaged(&self, offset: u64, why: String) -> StoreError {
        match lines::line_number(self.file, offset).doing("read", self.path) {
            Ok(line) => StoreError::Damaged {
                file: self.path.display().to_string(),
                line,
                why,
            },
            Err(error) => error,
        }
    }
}

impl RecordWalk<'_> {
    /// The next record; `None` at the end.
    ///
    /// Errors: [`StoreError::Damaged`], and the system's.
    pub(super) fn next(&mut self) -> Result<Option<LocatedRecord>, StoreError> {
        self.next_as(|head, json| head.record(json))
    }

    /// The same with another [reader](line::decode_as).
    pub(super) fn next_as<T>(
        &mut self,
        read: impl FnOnce(RecordHead<'_>, &[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<Option<LocatedRecord<T>>, StoreError> {
        if self.tail.is_some() {
            return Ok(None);
        }
        let Some(raw) = self.lines.next().doing("read", self.source.path)? else {
            self.tail = Some(Tail::Clean);
            return Ok(None);
        };
        let (offset, end, is_whole) = (raw.offset, raw.end(), raw.is_whole);
        match line::decode_as(raw.bytes, read) {
            Ok(found) if is_whole || found.is_checked => {
                self.check_number(offset, found.seq)?;
                Ok(self.take(found, offset, end, is_whole))
            }
            Ok(_) => self.stop_at_bad(offset, "its newline is missing".to_owned()),
            Err(bad) => self.stop_at_bad(offset, bad.to_string()),
        }
    }

    /// Where the last good line ends.
    pub(super) fn good_end(&self) -> u64 {
        self.good_end
    }

    /// The number of the record that stands at, or would come to, [`good_end`](Self::good_end);
    /// `None` if no record was seen and none was known.
    pub(super) fn next_seq(&self) -> Option<Seq> {
        self.expected
    }

    /// Good lines without a checksum.
    pub(super) fn unchecked(&self) -> u64 {
        self.unchecked
    }

    /// What follows the last good line, once the walk is at its end.
    pub(super) fn tail(&self) -> Tail {
        self.tail.unwrap_or(Tail::Clean)
    }

    /// A gap or a repeat is no work of a crash: appends are synced in their order.
    fn check_number(&self, offset: u64, seq: Seq) -> Result<(), StoreError> {
        match self.expected {
            Some(expected) if expected != seq => {
                let why = format!("its seq is {seq}, not {expected}");
                Err(self.source.damaged(offset, why))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn take<T>(
        &mut self,
        found: Decoded<T>,
        offset: u64,
        end: u64,
        is_whole: bool,
    ) -> Option<LocatedRecord<T>> {
        if !is_whole {
            self.tail = Some(Tail::NoNewline);
            return None;
        }
        let Decoded {
            seq,
            record,
            is_checked,
        } = found;
        self.expected = Some(seq.next());
        self.good_end = end;
        self.unchecked += u64::from(!is_checked);
        Some(LocatedRecord {
            seq,
            record,
            offset,
            end,
        })
    }

    /// Ends the walk at a bad line, if what follows it can be of the same append. The blocks of an
    /// append reach the disk in any order, so that any of its lines may be bad; but one of a later append
    /// was written after all before it was synced. Such a line begins one, or bears another time than a line
    /// before it: all of an append bear the same.
    fn stop_at_bad<T>(&mut self, offset: u64, why: String) -> Result<Option<T>, StoreError> {
        let mut time = None;
        while let Some(raw) = self.lines.next().doing("read", self.source.path)? {
            let Ok(Decoded { record, .. }) = line::decode(raw.bytes) else {
                continue;
            };
            if !record.cont || *time.get_or_insert(record.timestamp) != record.timestamp {
                return Err(self.source.damaged(offset, why));
            }
        }
        self.tail = Some(Tail::Torn);
        Ok(None)
    }
}
