//! Sessions that Duragent 0.5 wrote, the older program of the same name.
//!
//! Its log is a file of the same name with other lines: no format number, no checksums, no ids of
//! messages and turns. It is told from a damaged one by its first line, read as if it were ours, and
//! left as it is until the session is used (`take_over`).
//!
//! Invariants:
//! - what is made of a log depends on its bytes, on the state file beside it and on the session's id
//!   alone: what is read before it is taken over is what stands there afterwards;
//! - nothing is made of it that goes on by itself: each turn is ended, each call has its result or is
//!   skipped.
//!
//! Elsewhere: what lines say (`event`), what becomes of them (`translate`).

mod event;
mod fields;
pub mod import;
mod known;
mod settings;
mod take_over;
mod translate;

use std::io;
use std::path::Path;

use crate::base::fs::File;
use crate::domain::event::Record;
use crate::domain::ids::SessionId;
use crate::domain::state::{SessionState, Summary};
use crate::domain::window::Limits;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::line;
use crate::store::file::lines::Lines;
use crate::store::file::walk::Source;

use self::event::OldEvent;
pub(super) use self::known::{Known, Turn};
pub(super) use self::settings::Settings;
use self::translate::Line;

/// Larger ones are refused: the whole of a log is held in memory to read it.
pub(super) const LOG_BYTES_MAX: u64 = 64 << 20;
/// So are longer lines: taken apart, one may need some twenty times its length.
const LINE_BYTES_MAX: usize = 16 << 20;

/// A log of 0.5, read.
#[derive(Debug)]
pub(super) struct Old {
    events: Vec<OldEvent>,
    /// Bytes of an interrupted write at the end, which say nothing.
    pub(super) torn_bytes: u64,
}

/// A log of 0.5 as one of ours; it lies in memory.
#[derive(Debug)]
pub(super) struct Image(Vec<u8>);

/// What the first line that says something can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// An event of 0.5, with nothing of what ours begin with.
    Event,
    /// Something else.
    Foreign,
    /// Damaged, whoever wrote it.
    Unreadable,
}

/// Looks at a line that is no good one of ours.
pub(super) fn look(line: &[u8]) -> Look {
    let object = match line {
        line if line.starts_with(OURS) => return Look::Foreign,
        line if line.len() > LINE_BYTES_MAX => None,
        line => fields::object(line),
    };
    let Some(object) = object else {
        return Look::Unreadable;
    };
    match !object.contains_key("crc") && event::begins_older(object) {
        true => Look::Event,
        false => Look::Foreign,
    }
}

/// How each line of ours begins.
const OURS: &[u8] = b"{\"crc\":";

impl Old {
    /// Whether [`read`](Self::read) would find one of 0.5, in a small part of the time.
    pub(super) fn is(source: Source<'_>) -> Result<bool, StoreError> {
        let mut lines = Lines::new(source.file, 0, source.end);
        while let Some(raw) = lines.next().doing("read", source.path)? {
            if raw.bytes.starts_with(OURS) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a log that [looks](look) like one of 0.5; `None` if a line of ours is in it all the same.
    ///
    /// Errors: [`StoreError::OlderDamaged`] for a line that is no event, unless only such lines
    /// follow: those an interrupted write has left.
    pub(super) fn read(source: Source<'_>) -> Result<Option<Old>, StoreError> {
        if source.end > LOG_BYTES_MAX {
            let why = format!("it has {} bytes, {LOG_BYTES_MAX} are read", source.end);
            return Err(damaged(source.path, 1, why));
        }
        let mut events = Vec::new();
        let mut lines = Lines::new(source.file, 0, source.end);
        let mut bad: Option<(u64, u64)> = None;
        let mut number = 0;
        while let Some(raw) = lines.next().doing("read", source.path)? {
            number += 1;
            if raw.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if raw.bytes.starts_with(OURS) {
                return Ok(None);
            }
            if raw.bytes.len() > LINE_BYTES_MAX {
                let why = format!("it has more than {LINE_BYTES_MAX} bytes");
                return Err(damaged(source.path, number, why));
            }
            let Some(object) = fields::object(raw.bytes) else {
                bad.get_or_insert((number, raw.offset));
                continue;
            };
            match (OldEvent::of(number, object, raw.bytes), bad) {
                (Some(event), None) => events.push(event),
                (Some(_), Some((line, _))) => {
                    return Err(damaged(source.path, line, "it is no event".to_owned()));
                }
                (None, _) => {
                    bad.get_or_insert((number, raw.offset));
                }
            }
        }
        Ok(Some(Old {
            events,
            torn_bytes: bad.map_or(0, |(_, offset)| source.end - offset),
        }))
    }

    /// The same as lines of ours; `path` is the log's, for errors.
    ///
    /// Errors: [`StoreError::OlderDamaged`] if nothing says whose session it is.
    fn lines(
        self,
        id: &SessionId,
        settings: Settings,
        path: &Path,
    ) -> Result<Vec<Line>, StoreError> {
        let lines = translate::translate(id, self.events, settings);
        let why =
            "nothing says which agent's session it is (an `agent` in a state.json beside it would)";
        lines.ok_or_else(|| damaged(path, 1, why.to_owned()))
    }

    /// What a log of ours would say of it, without writing one.
    pub(super) fn summary(
        self,
        id: &SessionId,
        settings: Settings,
        path: &Path,
    ) -> Result<Summary, StoreError> {
        let mut summary = SessionState::new(Limits::none()).summary;
        for line in self.lines(id, settings, path)? {
            summary.apply(&line.into_record());
        }
        Ok(summary)
    }

    /// The same as a log of ours.
    pub(super) fn image(
        self,
        id: &SessionId,
        settings: Settings,
        path: &Path,
    ) -> Result<Image, StoreError> {
        let lines = self.lines(id, settings, path)?;
        Ok(Image(encoded(&lines).doing("read", path)?))
    }
}

fn damaged(path: &Path, line: u64, why: String) -> StoreError {
    StoreError::OlderDamaged {
        file: path.display().to_string(),
        line,
        why,
    }
}

fn encoded(lines: &[Line]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        line::encode(line, 0, &mut bytes)?;
    }
    Ok(bytes)
}

/// The last event of lines of ours.
fn last(lines: &[Line]) -> Option<&Record> {
    let mut ours = lines.iter().rev().filter_map(|line| match line {
        Line::Ours(record) => Some(record),
        Line::Kept(_) => None,
    });
    ours.next()
}

impl File for Image {
    fn write_all(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests;
