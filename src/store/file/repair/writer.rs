//! Writing a mended log.

use std::io;

use crate::base::fs::File;
use crate::domain::event::{Event, Record};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::store::file::line;
use crate::store::file::lines::Lines;
use crate::store::file::repair::report::EVENT_LOST;
use crate::store::file::repair::sort::{Sorted, Sorter};
use crate::store::file::walk::LogSource;

/// What is written at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Writes a mended log.
#[derive(Debug)]
pub(super) struct MendedWriter<'a> {
    file: &'a mut dyn File,
    buffer: Vec<u8>,
    /// What stands for event 1 if that is lost.
    start: Option<Record>,
    /// The time of the last good record: times must not go back.
    at: Timestamp,
    /// The file that still has what is lost.
    copy: String,
}

impl<'a> MendedWriter<'a> {
    /// Writes to `file`, with `start` for event 1 if that is lost; marks refer to `copy`.
    pub(super) fn new(
        file: &'a mut dyn File,
        start: Option<Record>,
        copy: String,
    ) -> MendedWriter<'a> {
        MendedWriter {
            file,
            buffer: Vec::new(),
            start,
            at: Timestamp::default(),
            copy,
        }
    }

    /// Writes what is good up to `good_end`, a mark for each event that is lost, and what follows
    /// `good_end` as it is.
    pub(super) fn write_log(mut self, source: LogSource<'_>, good_end: u64) -> io::Result<()> {
        let mut sorter = Sorter::new();
        let mut lines = Lines::new(source.file, 0, good_end);
        // The first bad line since the last good one.
        let mut bad: Option<(u64, String)> = None;
        let mut number = 0;
        while let Some(raw) = lines.next()? {
            number += 1;
            match sorter.sort(raw.bytes, raw.is_whole) {
                Sorted::Good {
                    record, missing, ..
                } => {
                    for seq in missing {
                        self.write_lost(Seq(seq), bad.as_ref())?;
                    }
                    bad = None;
                    self.at = self.at.max(record.timestamp);
                    self.buffer.extend_from_slice(raw.bytes);
                    self.buffer.push(b'\n');
                }
                Sorted::Unreadable { why } | Sorted::Misplaced { why, .. } => {
                    bad.get_or_insert((number, why));
                }
            }
            self.flush_beyond(CHUNK_BYTES)?;
        }
        if sorter.expected() == Seq(1) {
            self.write_lost(Seq(1), None)?;
        }
        self.flush_beyond(0)?;
        source.copy_to(self.file, good_end).map(drop)
    }

    /// Writes what stands for a lost event.
    fn write_lost(&mut self, seq: Seq, bad: Option<&(u64, String)>) -> io::Result<()> {
        if let Some(start) = self.start.take_if(|start| start.seq == seq) {
            self.at = start.timestamp;
            line::encode(&start, 0, &mut self.buffer)?;
            return Ok(());
        }
        let message = match bad {
            Some((line, why)) => format!("event {seq} was lost: {}:{line}: {why}", self.copy),
            None => format!("event {seq} was lost: no line had its number"),
        };
        let lost = Record {
            seq,
            timestamp: self.at,
            cont: false,
            event: Event::Error {
                code: EVENT_LOST.to_owned(),
                message,
            },
        };
        line::encode(&lost, 0, &mut self.buffer)?;
        self.flush_beyond(CHUNK_BYTES)
    }

    fn flush_beyond(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() > bytes {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
