//! Bringing sessions here that lie in some other folder: those of a workspace of 0.5, or of another
//! one of ours.
//!
//! Invariants:
//! - what is imported is copied, and changed nowhere;
//! - no link is followed, and nothing but the log, the state file and the files that the log names is
//!   read; of these only what is what its name says;
//! - a session that is here stays as it is; the new one comes into the list by one rename, so that a
//!   server may serve the workspace meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::sha256;
use crate::base::fs::{self, Fs, Open, RealFs};
use crate::domain::event::{Event, Record};
use crate::domain::ids::SessionId;
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::blobs::{BLOB_BYTES_MAX, BlobId, Blobs as _};
use crate::store::file::blobs::FileBlobs;
use crate::store::file::error::IoContext as _;
use crate::store::file::format::{LogOrigin, judge};
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::file::snapshot::summary_of;
use crate::store::file::store::FileStore;
use crate::store::file::v05::image::Image;
use crate::store::file::v05::old::{LOG_BYTES_MAX, Old};
use crate::store::file::v05::settings::{self, OldSettings, STATE_BYTES_MAX};
use crate::store::file::v05::take_over::kept;
use crate::store::file::v05::{event, fields, translate};
use crate::store::file::walk::LogSource;
use crate::store::session_files::{SESSION_FILES_BYTES_MAX, SESSION_FILES_MAX};
use crate::store::{SessionStore as _, StoreError};

const LOG: &str = "events.jsonl";
const FILES: &str = "files";

/// What became of a session that was to be imported.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Its id here.
    pub id: SessionId,
    /// What it was called there, if that is no id.
    pub former_name: Option<String>,
    /// Whether it was here before, with the same content: then nothing was done.
    pub was_here: bool,
    /// What its log says.
    pub summary: Summary,
    /// Files that its log names and that did not come along: they are missing there, are damaged, or are
    /// more than a session may have.
    pub lost_files: usize,
}

/// Why a session was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A path leads nowhere, or the system refuses.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// No log lies where one may.
    #[error(
        "{} holds no session: no events.jsonl in it, in its folders, in sessions/ or in .duragent/sessions/",
        .0.display()
    )]
    Nothing(PathBuf),
    /// It could lead to any file.
    #[error("{} is a link, and links are not followed", .0.display())]
    Link(PathBuf),
    /// Larger than any session of use.
    #[error("{} has {bytes} bytes, more than the {max} that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// It is no log.
    #[error("{} is no log of a session", .0.display())]
    Foreign(PathBuf),
    /// One of the same id is here.
    #[error("session {0} is here already, with other content; it stays as it is")]
    Exists(SessionId),
    /// Its log is damaged, or cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where sessions lie below a path that a person named: the path itself, if it is a log or the folder
/// of a session; else each folder of a session in it, or in the places that a workspace has for
/// them. In the order of their names.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
    const PLACES: [&str; 3] = [".duragent/sessions", "sessions", "."];
    let unread = |source| ImportError::Read(path.to_owned(), source);
    // What a person names may be a link; what lies in it may not.
    let root = path.canonicalize().map_err(unread)?;
    if root.is_file() || is_session(&root) {
        return Ok(vec![root]);
    }
    for place in PLACES {
        let Ok(folder) = root.join(place).canonicalize() else {
            continue;
        };
        if !folder.starts_with(&root) {
            return Err(ImportError::Link(root.join(place)));
        }
        let mut found: Vec<PathBuf> = sessions_in(&folder).map_err(unread)?;
        if !found.is_empty() {
            found.sort();
            return Ok(found);
        }
    }
    Err(ImportError::Nothing(path.to_owned()))
}

fn sessions_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let names = RealFs.list_dir(folder)?.into_iter();
    // Those of a session that was being made or deleted begin with a dot.
    let names = names.filter(|name| !name.starts_with('.'));
    Ok(names
        .map(|name| folder.join(name))
        .filter(|path| is_session(path))
        .collect())
}

fn is_session(folder: &Path) -> bool {
    folder.join(LOG).symlink_metadata().is_ok()
}

/// A session elsewhere, read.
#[derive(Debug)]
struct Foreign {
    path: PathBuf,
    /// What its folder is called there.
    name: String,
    log: Vec<u8>,
    state: Option<(&'static str, Vec<u8>)>,
    /// Where its files lie, if they may.
    files: Option<PathBuf>,
}

impl Foreign {
    fn read(place: &Path) -> Result<Foreign, ImportError> {
        refuse_link(place)?;
        let (folder, path) = if place.is_dir() {
            (Some(place), place.join(LOG))
        } else {
            let is_log = place.file_name() == Some(OsStr::new(LOG));
            (place.parent().filter(|_| is_log), place.to_owned())
        };
        let name = match folder {
            Some(folder) => folder.file_name(),
            None => path.file_stem(),
        };
        let log = read_plain(&path, LOG_BYTES_MAX)?;
        let mut state = None;
        for name in settings::NAMES {
            let found = folder.map(|folder| folder.join(name));
            if let Some(found) = found.filter(|found| found.symlink_metadata().is_ok()) {
                state = Some((*name, read_plain(&found, STATE_BYTES_MAX)?));
                break;
            }
        }
        Ok(Foreign {
            name: name.unwrap_or_default().to_string_lossy().into_owned(),
            path,
            log,
            state,
            files: folder.map(|folder| folder.join(FILES)),
        })
    }

    /// The bytes of a file; `None` if they are not there, or are others.
    fn file(&self, blob: &BlobId) -> Option<Vec<u8>> {
        let files = self.files.as_ref()?;
        refuse_link(files).ok()?;
        let bytes = read_plain(&files.join(blob.as_str()), BLOB_BYTES_MAX as u64).ok()?;
        (BlobId::of(&bytes) == *blob).then_some(bytes)
    }

    fn settings(&self) -> OldSettings {
        let text = self
            .state
            .as_ref()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes));
        text.and_then(|text| OldSettings::parse(&text))
            .unwrap_or_default()
    }

    /// Its id: what it is called there, or one that is the same whenever it is imported.
    fn id(&self, settings: &OldSettings) -> (SessionId, Option<String>) {
        let mut lines = self.log.split(|byte| *byte == b'\n');
        let first = lines.find(|line| !line.trim_ascii().is_empty());
        let first = first.unwrap_or_default();
        let object = fields::object(first).and_then(event::flat);
        let (_, object) = object.unwrap_or_default();
        let told = fields::text(&object, &["session_id"]);
        let names = [Some(self.name.clone()), settings.session_id.clone(), told];
        if let Some(id) = names
            .iter()
            .flatten()
            .find_map(|name| SessionId::parse(name).ok())
        {
            let is_renamed = self.name != id.as_str();
            return (id, is_renamed.then(|| self.name.clone()));
        }
        let began = fields::time(&object, event::TIME_KEYS).or(settings.created_at);
        let random = translate::random(&format!("{} {}", self.name, sha256(first)));
        let id = SessionId::mint(began.unwrap_or_default().as_millis(), random);
        (id, Some(self.name.clone()))
    }
}

fn refuse_link(path: &Path) -> Result<(), ImportError> {
    let unread = |source| ImportError::Read(path.to_owned(), source);
    if path.symlink_metadata().map_err(unread)?.is_symlink() {
        Err(ImportError::Link(path.to_owned()))
    } else {
        Ok(())
    }
}

/// Reads a file that is none but itself.
fn read_plain(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ImportError> {
    refuse_link(path)?;
    let unread = |source| ImportError::Read(path.to_owned(), source);
    let bytes = RealFs
        .open(path, Open::Read)
        .and_then(|file| file.len())
        .map_err(unread)?;
    if bytes > bytes_max {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            bytes,
            max: bytes_max,
        });
    }
    fs::read_file(&RealFs, path, bytes_max).map_err(unread)
}

impl FileStore {
    /// Copies the session at `place`, which [`find`] found, into this store. One of 0.5 stays what it
    /// is until it is used; one of this version is adopted at `at`.
    pub fn import(&self, place: &Path, at: Timestamp) -> Result<Import, ImportError> {
        let foreign = Foreign::read(place)?;
        let settings = foreign.settings();
        let (id, former_name) = foreign.id(&settings);
        let copy = copy_of(&foreign, &id, settings, at)?;
        let was_here = self.contains(&id)?;
        if was_here && !self.has_same(&id, &foreign.log)? {
            return Err(ImportError::Exists(id));
        }
        let mut lost_files = 0;
        if !was_here {
            lost_files = self.put_foreign(&id, &foreign, &copy)?;
        }
        Ok(Import {
            id,
            former_name,
            was_here,
            summary: copy.summary,
            lost_files,
        })
    }

    /// Copies the files of those digests into a session that is being made; returns how many are left
    /// out.
    fn put_files(
        &self,
        new: &Folder,
        foreign: &Foreign,
        named: &BTreeSet<String>,
    ) -> Result<usize, StoreError> {
        let turns = Arc::clone(&self.blob_turns);
        let files = FileBlobs::with_turns(Arc::clone(&self.fs), new.files(), turns);
        let (mut count, mut room) = (0, SESSION_FILES_BYTES_MAX);
        for digest in named.iter().take(SESSION_FILES_MAX) {
            let found = BlobId::parse(digest).and_then(|blob| foreign.file(&blob));
            let Some(bytes) = found.filter(|bytes| bytes.len() as u64 <= room) else {
                continue;
            };
            files.put(&bytes)?;
            room -= bytes.len() as u64;
            count += 1;
        }
        Ok(named.len() - count)
    }

    /// Whether a session here began with that log, or was taken over from it.
    fn has_same(&self, id: &SessionId, log: &[u8]) -> Result<bool, StoreError> {
        let path = self.layout.session(id).log();
        let begins_alike = |path: &Path| match fs::read_file(&*self.fs, path, LOG_BYTES_MAX) {
            Ok(known) => Ok(known.starts_with(log)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).doing("read", path),
        };
        Ok(begins_alike(&path)? || begins_alike(&kept(&path, 1))?)
    }

    /// Returns how many of its files are left out.
    fn put_foreign(
        &self,
        id: &SessionId,
        foreign: &Foreign,
        copy: &Copied,
    ) -> Result<usize, StoreError> {
        self.settle_folder()?;
        let _in_hand = self.busy.take(id);
        let new = self.layout.new_session(id);
        // What an import left that was killed.
        self.remove_folder(new.path())?;
        let written = || -> io::Result<()> {
            self.fs.create_dir(new.path())?;
            // That of one of ours is a cache, in which its writer may have put anything.
            let state = foreign.state.as_ref().filter(|_| copy.is_older);
            let state = state.map(|(name, bytes)| (*name, bytes.as_slice()));
            for (name, bytes) in [(LOG, copy.log.as_slice())].into_iter().chain(state) {
                let mut file = self.fs.open(&new.path().join(name), Open::CreateNew)?;
                file.write_all(bytes)?;
                file.sync_data()?;
            }
            self.fs.sync_dir(new.path())
        };
        let created = written()
            .doing("create", new.path())
            .and_then(|()| self.put_files(&new, foreign, &copy.files))
            .and_then(|lost| self.publish(&new, id).map(|()| lost));
        if created.is_err() {
            self.discard(&new, id);
        }
        created
    }
}

/// What is stored of a session.
struct Copied {
    log: Vec<u8>,
    /// The digests of the files that it names.
    files: BTreeSet<String>,
    is_older: bool,
    /// What the log says.
    summary: Summary,
}

fn copy_of(
    foreign: &Foreign,
    id: &SessionId,
    settings: OldSettings,
    at: Timestamp,
) -> Result<Copied, ImportError> {
    let path = &foreign.path;
    let image = Image(foreign.log.clone());
    let format = judge(LogSource::new(&image, path)?, id)?;
    if format == LogOrigin::PerhapsOlder
        && let Some(old) = Old::read(LogSource::new(&image, path)?)?
    {
        return Ok(Copied {
            log: image.0,
            files: BTreeSet::new(),
            is_older: true,
            summary: old.summary(id, settings, path)?,
        });
    }
    copy_of_ours(image.0, path, at)
}

/// A log of this version as it goes into the workspace: without a torn end, and adopted.
fn copy_of_ours(mut log: Vec<u8>, path: &Path, at: Timestamp) -> Result<Copied, ImportError> {
    if !log.ends_with(b"\n") {
        log.push(b'\n');
    }
    let image = Image(log);
    let source = LogSource::new(&image, path)?;
    let mut walk = source.walk(0, None);
    let first = walk.next().ok().flatten();
    let is_ours = first.is_some_and(|first| matches!(first.record.event, Event::SessionStart(_)));
    if !is_ours {
        return Err(ImportError::Foreign(path.to_owned()));
    }
    let mut files = BTreeSet::new();
    while let Some(one) = walk.next()? {
        let named = one.record.event.attachments().iter();
        files.extend(named.map(|file| file.sha256.clone()));
    }
    let end = usize::try_from(walk.good_end()).unwrap_or(usize::MAX);
    let summary = summary_of(source, None)?;
    let Image(mut log) = image;
    log.truncate(end);
    if summary.end_reason.is_none() {
        // Nothing that its writer decided counts here, as in any session from elsewhere.
        let adopted = Record {
            seq: summary.last_seq.next(),
            timestamp: at.max(summary.updated_at),
            cont: false,
            event: Event::SessionAdopted {},
        };
        line::encode(&adopted, 0, &mut log)
            .map_err(io::Error::from)
            .doing("copy", path)?;
    }
    Ok(Copied {
        log,
        files,
        is_older: false,
        summary,
    })
}
