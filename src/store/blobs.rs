//! Bytes that are known by what they are: attachments, by their SHA-256.
//!
//! The same bytes are kept once, under the same id, so a [`put`](Blobs::put) may be repeated and never
//! replaces anything.

use std::fmt;
use std::io;

use crate::base::digest::sha256;
use crate::base::shown::shown_by_name;
use crate::domain::files::FILE_BYTES_MAX;

/// The most bytes of a blob: each is in memory as a whole while it is written or read, and a row of
/// a table in some storages.
pub const BLOB_BYTES_MAX: usize = FILE_BYTES_MAX;

/// Blobs on durable storage, shared by all threads.
pub trait Blobs: Send + Sync {
    /// Keeps `bytes`; on return they survive a power cut.
    ///
    /// Errors: [`BlobError::TooLong`], [`BlobError::Io`].
    fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError>;

    /// How many bytes are kept under that id, without a look at them; `None` if none are.
    fn size(&self, id: &BlobId) -> Result<Option<u64>, BlobError>;

    /// The bytes of that id; `None` if they are not kept.
    ///
    /// Errors: [`BlobError::Damaged`], [`BlobError::Io`].
    fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, BlobError>;

    /// Up to `limit` ids greater than `after`, in ascending order.
    fn list(&self, after: Option<&BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobError>;

    /// Forgets bytes. That they are not kept is no error.
    fn delete(&self, id: &BlobId) -> Result<(), BlobError>;
}

shown_by_name!(Blobs);

/// Names bytes by their SHA-256, in 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(String);

impl BlobId {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> BlobId {
        BlobId(sha256(bytes))
    }

    /// `None` for what is no such id.
    pub fn parse(text: &str) -> Option<BlobId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = text.len() == 64 && text.bytes().all(is_digit);
        is_id.then(|| BlobId(text.to_owned()))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why bytes cannot be kept or given back.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There are more than [`BLOB_BYTES_MAX`].
    #[error("{0} bytes are more than the {BLOB_BYTES_MAX} that can be kept as one")]
    TooLong(usize),
    /// The bytes under the id are others, of another digest.
    #[error("{0} is damaged")]
    Damaged(BlobId),
    /// The storage refused.
    #[error("cannot {action} {location}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        location: String,
        /// Why not.
        source: io::Error,
    },
}

/// Refuses what is too long to be kept.
pub(super) fn check_length(bytes: &[u8]) -> Result<(), BlobError> {
    if bytes.len() > BLOB_BYTES_MAX {
        return Err(BlobError::TooLong(bytes.len()));
    }
    Ok(())
}

/// What was found under an id, if it is that.
pub(super) fn checked(id: &BlobId, bytes: Vec<u8>) -> Result<Vec<u8>, BlobError> {
    if BlobId::of(&bytes) != *id {
        return Err(BlobError::Damaged(id.clone()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_digest_and_nothing_else() {
        let id = BlobId::of(b"abc");
        assert_eq!(BlobId::parse(id.as_str()), Some(id.clone()));
        for text in ["", "..", &id.as_str().to_uppercase(), &id.as_str()[1..]] {
            assert_eq!(BlobId::parse(text), None, "{text}");
        }
    }
}
