//! Whether a log is one of this version, told by its first lines.

use crate::domain::event::{Event, FORMAT, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::v05;
use crate::store::file::walk::LogSource;
use crate::store::file::{line, lines};

/// What the first line says of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogOrigin {
    /// It is one of this version. A first line that cannot be read is reported only by whoever has
    /// to read it.
    Ours,
    /// The other lines tell whether it is one of an older version.
    PerhapsOlder,
}

/// Looks whose a log is, and refuses one of a newer version.
pub(super) fn judge(source: LogSource<'_>, id: &SessionId) -> Result<LogOrigin, StoreError> {
    let mut lines = lines::Lines::new(source.file, 0, source.end);
    let mut is_first = true;
    while let Some(raw) = lines.next().doing("read", source.path)? {
        if raw.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match line::decode(raw.bytes).map(|found| found.record) {
            Ok(Record {
                event: Event::SessionStart(start),
                ..
            }) if start.format > FORMAT => {
                return Err(StoreError::NewerFormat {
                    id: id.clone(),
                    format: start.format,
                });
            }
            Ok(Record { seq, event, .. }) if event != Event::Unknown => {
                if seq == Seq(1) || !is_first {
                    return Ok(LogOrigin::Ours);
                }
            }
            Ok(_) | Err(_) => {}
        }
        match v05::look(raw.bytes) {
            v05::LineOrigin::Event => return Ok(LogOrigin::PerhapsOlder),
            v05::LineOrigin::Foreign => return Ok(LogOrigin::Ours),
            // The next one tells whose damage it is.
            v05::LineOrigin::Unreadable => is_first = false,
        }
    }
    Ok(LogOrigin::Ours)
}
