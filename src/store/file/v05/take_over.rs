//! Taking a session of 0.5 over: its log becomes one of ours, and the old one stays beside it as
//! `events.jsonl.v05`.
//!
//! Invariant: whoever finds the log finds the whole old one or the whole new one, whatever happens
//! in between: it is replaced by one rename, after the copy is safe. A take-over that was cut off is
//! done again, and comes to the same events.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::fs::{self, Open};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::store::FileStore;
use crate::store::file::v05::old::LOG_BYTES_MAX;
use crate::store::file::v05::settings::{self, STATE_BYTES_MAX, is_no_state};
use crate::store::file::v05::translate::{TranslatedLine, encoded, last};
use crate::store::file::walk::LogSource;

impl FileStore {
    /// See [`SessionStore::take_over`](crate::store::SessionStore::take_over).
    pub(in crate::store::file) fn take_over_older(
        &self,
        id: &SessionId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let folder = self.layout.session(id);
        let path = folder.log();
        let log = self.open_log(id, Open::Read)?;
        let Some((old, _turn)) = self.older(LogSource::new(&*log, &path)?, id)? else {
            return Ok(false);
        };
        let torn_bytes = old.torn_bytes;
        let mut lines = old.lines(id, self.older_settings(id)?, &path)?;
        adopt(&mut lines, at);
        let bytes = encoded(&lines).doing("take over", &path)?;
        drop(lines);
        self.take_from_others(&folder);
        let replaced = self.replace_older(&folder, &bytes);
        self.older_known.forget(id);
        replaced.doing("take over", &path)?;
        let kept = kept(&path, 1);
        let kept = kept.display();
        log::info!(
            "session {id} was written by Duragent 0.5 and is taken over; its log as it was is {kept}"
        );
        if torn_bytes > 0 {
            log::warn!("{kept}: its last {torn_bytes} bytes were cut off and say nothing");
        }
        Ok(true)
    }

    /// Takes the files from other accounts, as far as they are this one's: the older program left that
    /// to the umask.
    fn take_from_others(&self, folder: &Folder) {
        let states = settings::NAMES.iter().map(|name| folder.path().join(name));
        // No others: the folder may be a link to one that holds anything.
        for path in states.chain([folder.log(), folder.path().to_owned()]) {
            match self.fs.make_private(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let path = path.display();
                    log::warn!("{path}: others may be able to read it: {error}");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn replace_older(&self, folder: &Folder, bytes: &[u8]) -> io::Result<()> {
        let fs = &*self.fs;
        self.keep_before(&folder.log(), LOG_BYTES_MAX)?;
        match self.keep_before(&folder.snapshot(), STATE_BYTES_MAX) {
            Err(error) if is_no_state(&error) => {}
            kept => kept?,
        }
        let mended = folder.mended();
        let mut file = fs.open(&mended, Open::Empty)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        // Of another make, or by somebody who liked to say something of our log.
        for stale in [folder.snapshot(), folder.inflight()] {
            match fs.remove_file(&stale) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        fs.rename(&mended, &folder.log())?;
        fs.sync_dir(folder.path())
    }

    /// Keeps a file under another name, unless a copy of it is there. What was kept before, of
    /// whatever else, stays too.
    fn keep_before(&self, path: &Path, bytes_max: u64) -> io::Result<()> {
        let fs = &*self.fs;
        let bytes = fs::read_file(fs, path, bytes_max)?;
        let names = (1..).map(|number| kept(path, number));
        for copy in names {
            match fs::read_file(fs, &copy, bytes_max) {
                Ok(known) if known == bytes => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return fs::replace_file(fs, &copy, &bytes);
                }
                Err(error) if is_no_state(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Where a copy of a file of 0.5 stays that was replaced.
pub(super) fn kept(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(match number {
        1 => ".v05".to_owned(),
        number => format!(".v05-{number}"),
    });
    path.with_file_name(name)
}

/// Says that what stands before was written by somebody else, wherever the session lay: no decision
/// of it counts here. One that is over has nothing to decide; its end counts from now, so that it is
/// not so old that it goes.
fn adopt(lines: &mut Vec<TranslatedLine>, at: Timestamp) {
    if let Some(TranslatedLine::Ours(end)) = lines.last_mut()
        && matches!(end.event, Event::SessionEnd { .. })
    {
        end.timestamp = at.max(end.timestamp);
        return;
    }
    let Some(last) = last(lines) else { return };
    let adopted = Record {
        seq: Seq(lines.len() as u64).next(),
        timestamp: at.max(last.timestamp),
        cont: false,
        event: Event::SessionAdopted {},
    };
    lines.push(TranslatedLine::Ours(adopted));
}
