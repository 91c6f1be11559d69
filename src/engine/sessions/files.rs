//! The files of a session: those that come with messages, and those that tools send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::domain::event::Attachment;
use crate::domain::files::{AttachedFile, FileKey, MediaType};
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::sessions::Sessions;
use crate::store::StoreError;
use crate::store::blobs::{BlobError, BlobId};
use crate::store::session_files::{KeepError, keep};

/// So many files are taken at a time: each is in memory as a whole until it is on disk.
const TAKEN_AT_ONCE: usize = 4;
/// When one that is refused for that should come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A file that is being taken, counted until this is dropped: also where the thread panics.
struct FileTaken<'a> {
    count: &'a AtomicUsize,
    /// How many were being taken already.
    others: usize,
}

impl FileTaken<'_> {
    fn note(count: &AtomicUsize) -> FileTaken<'_> {
        FileTaken {
            others: count.fetch_add(1, Ordering::Relaxed),
            count,
        }
    }
}

impl Drop for FileTaken<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
    /// Keeps a file in a session; on return it is on disk, and a message may bring it. The same bytes
    /// are kept once. It goes with the session, whether a message ever brings it or not.
    ///
    /// Errors: [`EngineError::FileTooLong`], [`EngineError::TooManyFiles`] for a session that holds
    /// enough; [`EngineError::Busy`]; as for a message.
    pub fn add_file(
        &self,
        id: &SessionId,
        media_type: MediaType,
        bytes: &[u8],
    ) -> Result<Attachment, EngineError> {
        let taking = FileTaken::note(&self.engine.files_taken);
        if taking.others >= TAKEN_AT_ONCE {
            return Err(EngineError::Busy {
                retry_after: RETRY_AFTER,
            });
        }
        self.keep_file(id, media_type, bytes)
    }

    /// Whether a file would be kept now, for whoever has to fetch it first. `id` is its session, if there is one
    /// yet.
    ///
    /// Errors: as of [`add_file`](Sessions::add_file).
    pub fn may_add_file(&self, id: Option<&SessionId>) -> Result<(), EngineError> {
        self.engine.draining.refuse()?;
        self.engine.parts.space.refuse_when_full()?;
        let session = id.map(|id| self.engine.open.get(id)).transpose()?;
        match session.filter(|session| session.live().state.is_over()) {
            Some(over) => Err(EngineError::SessionEnded(over.id.clone())),
            None => Ok(()),
        }
    }

    fn keep_file(
        &self,
        id: &SessionId,
        media_type: MediaType,
        bytes: &[u8],
    ) -> Result<Attachment, EngineError> {
        self.may_add_file(Some(id))?;
        let store = &*self.engine.parts.store;
        match keep(store, id, media_type, bytes) {
            Ok(file) => Ok(file),
            Err(KeepError::Missing(id)) => Err(EngineError::SessionNotFound(id)),
            Err(KeepError::Enough) => Err(EngineError::TooManyFiles),
            Err(KeepError::Blob(error)) => Err(error.into()),
            Err(KeepError::Store(error)) => Err(error.into()),
        }
    }

    /// The bytes of a file of a session.
    ///
    /// Errors: [`EngineError::NoSuchFile`], [`EngineError::SessionNotFound`]; the store's.
    pub fn read_file(&self, id: &SessionId, file: &FileKey) -> Result<Vec<u8>, EngineError> {
        let found = self.engine.parts.store.files(id).read(&blob_of(file)?)?;
        found.ok_or_else(|| EngineError::NoSuchFile(file.to_string()))
    }

    /// What a message says of files of its session that it brings.
    ///
    /// Errors: [`EngineError::NoSuchFile`].
    pub fn attached(
        &self,
        id: &SessionId,
        files: &[AttachedFile],
    ) -> Result<Vec<Attachment>, EngineError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let kept = self.engine.parts.store.files(id);
        let attachment = |attached: &AttachedFile| {
            let file = &attached.file;
            let blob = blob_of(file)?;
            let missing = || EngineError::NoSuchFile(file.to_string());
            let name = attached.name.clone();
            // What may be an image is looked at.
            if file.media_type().may_be_image() {
                let bytes = kept.read(&blob)?.ok_or_else(missing)?;
                return Ok(Attachment::of(file, bytes.len() as u64, name).seen(&bytes));
            }
            let bytes = kept.size(&blob)?;
            Ok(Attachment::of(file, bytes.ok_or_else(missing)?, name))
        };
        files.iter().map(attachment).collect()
    }
}

fn blob_of(file: &FileKey) -> Result<BlobId, EngineError> {
    BlobId::parse(file.sha256()).ok_or_else(|| EngineError::NoSuchFile(file.to_string()))
}

impl From<BlobError> for EngineError {
    fn from(error: BlobError) -> EngineError {
        match error {
            BlobError::TooLong(bytes) => EngineError::FileTooLong(bytes),
            BlobError::Damaged(_) | BlobError::Io { .. } => StoreError::from(error).into(),
        }
    }
}
