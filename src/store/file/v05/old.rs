//! A log of 0.5, told from others and read.

use std::path::Path;

use crate::domain::ids::SessionId;
use crate::domain::state::{SessionState, Summary};
use crate::domain::window::Limits;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::lines::Lines;
use crate::store::file::v05::event::{self, OldEvent};
use crate::store::file::v05::fields;
use crate::store::file::v05::image::Image;
use crate::store::file::v05::settings::OldSettings;
use crate::store::file::v05::translate::{self, TranslatedLine, encoded};
use crate::store::file::walk::LogSource;

/// Larger ones are refused: the whole of a log is held in memory to read it.
pub(in crate::store::file) const LOG_BYTES_MAX: u64 = 64 << 20;
/// So are longer lines: taken apart, one may need some twenty times its length.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// A log of 0.5, read.
#[derive(Debug)]
pub(in crate::store::file) struct Old {
    pub(super) events: Vec<OldEvent>,
    /// Bytes of an interrupted write at the end, which say nothing.
    pub(in crate::store::file) torn_bytes: u64,
}

/// What the first line that says something can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::file) enum LineOrigin {
    /// An event of 0.5, with nothing of what ours begin with.
    Event,
    /// Something else.
    Foreign,
    /// Damaged, whoever wrote it.
    Unreadable,
}

/// Looks at a line that is no good one of ours.
pub(in crate::store::file) fn look(line: &[u8]) -> LineOrigin {
    let object = match line {
        line if line.starts_with(OURS) => return LineOrigin::Foreign,
        line if line.len() > LINE_BYTES_MAX => None,
        line => fields::object(line),
    };
    let Some(object) = object else {
        return LineOrigin::Unreadable;
    };
    if !object.contains_key("crc") && event::begins_older(object) {
        LineOrigin::Event
    } else {
        LineOrigin::Foreign
    }
}

/// How each line of ours begins.
const OURS: &[u8] = b"{\"crc\":";

impl Old {
    /// Whether [`read`](Self::read) would find one of 0.5, in a small part of the time.
    pub(in crate::store::file) fn is(source: LogSource<'_>) -> Result<bool, StoreError> {
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
    pub(in crate::store::file) fn read(source: LogSource<'_>) -> Result<Option<Old>, StoreError> {
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
    pub(super) fn lines(
        self,
        id: &SessionId,
        settings: OldSettings,
        path: &Path,
    ) -> Result<Vec<TranslatedLine>, StoreError> {
        let lines = translate::translate(id, self.events, settings);
        let why =
            "nothing says which agent's session it is (an `agent` in a state.json beside it would)";
        lines.ok_or_else(|| damaged(path, 1, why.to_owned()))
    }

    /// What a log of ours would say of it, without writing one.
    pub(in crate::store::file) fn summary(
        self,
        id: &SessionId,
        settings: OldSettings,
        path: &Path,
    ) -> Result<Summary, StoreError> {
        let mut summary = SessionState::new(Limits::none()).summary;
        for line in self.lines(id, settings, path)? {
            summary.apply(&line.into_record());
        }
        Ok(summary)
    }

    /// The same as a log of ours.
    pub(in crate::store::file) fn image(
        self,
        id: &SessionId,
        settings: OldSettings,
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
