//! Mending what an interrupted append left at the end of a log.
//!
//! A repair may itself be interrupted at any point: the bytes are safe in `events.jsonl.torn` before
//! they are cut from the log, at worst twice.

use std::io;

use crate::base::fs::{File, Fs, Open};
use crate::domain::ids::Seq;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::read::Place;
use crate::store::file::walk::{Source, Tail};

/// Reads the log from `covered` on, mends its end, and returns that end. What was good is synced: a
/// killed process may have written it without.
pub(super) fn recover(
    fs: &dyn Fs,
    folder: &Folder,
    log: &mut dyn File,
    covered: Place,
) -> Result<Place, StoreError> {
    let path = folder.log();
    let (mut end, tail) = {
        let mut walk = Source::new(log, &path)?.walk(covered.offset, Some(covered.seq));
        while walk.next()?.is_some() {}
        let end = Place {
            offset: walk.good_end(),
            seq: walk.next_seq().unwrap_or(Seq(1)),
        };
        (end, walk.tail())
    };
    match tail {
        Tail::Clean => {}
        Tail::NoNewline => {
            log.write_all(b"\n").doing("complete", &path)?;
            end = Place {
                offset: log.len().doing("read", &path)?,
                seq: end.seq.next(),
            };
        }
        Tail::Torn => {
            let bytes = save_torn(fs, folder, log, end.offset).doing("repair", &path)?;
            log.truncate(end.offset).doing("repair", &path)?;
            log::warn!(
                "{}: cut {bytes} bytes of an interrupted append after event {}; they are in {}",
                path.display(),
                end.seq.0 - 1,
                folder.torn().display()
            );
        }
    }
    log.sync_data().doing("sync", &path)?;
    Ok(end)
}

/// Copies the log from `offset` on to `events.jsonl.torn`; returns how many bytes there were.
fn save_torn(fs: &dyn Fs, folder: &Folder, log: &dyn File, offset: u64) -> io::Result<u64> {
    let source = Source {
        file: log,
        path: &folder.log(),
        end: log.len()?,
    };
    let mut torn = fs.open(&folder.torn(), Open::AppendOrCreate)?;
    let copied = source.copy_to(&mut *torn, offset)?;
    torn.sync_data()?;
    fs.sync_dir(folder.path())?;
    Ok(copied)
}
