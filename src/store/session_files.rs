//! Keeping files in a session, within what one session may hold.

use std::io::ErrorKind;

use crate::domain::event::Attachment;
use crate::domain::files::{FileKey, MediaType};
use crate::domain::ids::SessionId;
use crate::store::blobs::{BlobError, BlobId};
use crate::store::{SessionStore, StoreError};

/// The most files of a session: each new one is weighed against all of them.
pub const SESSION_FILES_MAX: usize = 1000;
/// The most bytes of them all.
pub const SESSION_FILES_BYTES_MAX: u64 = 256 << 20;

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is no such session, or it was deleted meanwhile.
    #[error("session {0} does not exist")]
    Missing(SessionId),
    /// The session has as many files, or bytes of them, as one may have.
    #[error("the session holds as many files as a session may")]
    Enough,
    /// The bytes cannot be kept.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It cannot be told whether there is such a session.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps bytes among the files of a session; on return they survive a power cut. What the session has
/// already takes no more room.
///
/// Who keeps several at the same time may go beyond the session's limits by these.
pub fn keep(
    store: &dyn SessionStore,
    id: &SessionId,
    media_type: MediaType,
    bytes: &[u8],
) -> Result<Attachment, KeepError> {
    let files = store.files(id);
    let blob = BlobId::of(bytes);
    if files.size(&blob)?.is_none() {
        let kept = files.list(None, SESSION_FILES_MAX)?;
        let sizes = kept.iter().map(|one| files.size(one));
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let total: u64 = sizes.into_iter().flatten().sum();
        if kept.len() >= SESSION_FILES_MAX || total + bytes.len() as u64 > SESSION_FILES_BYTES_MAX {
            return Err(KeepError::Enough);
        }
    }
    match files.put(bytes) {
        Ok(blob) => {
            let file = FileKey::new(blob.as_str(), media_type);
            Ok(Attachment::of(&file, bytes.len() as u64, None).seen(bytes))
        }
        Err(BlobError::Io { source, .. })
            if source.kind() == ErrorKind::NotFound && !store.contains(id)? =>
        {
            Err(KeepError::Missing(id.clone()))
        }
        Err(error) => Err(error.into()),
    }
}
