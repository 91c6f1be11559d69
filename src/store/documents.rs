//! Small texts under a name each: what agents remember, keys, records of trust.
//!
//! A storage keeps them in files, in a table or in a bucket; who uses them need not know. Each text
//! has a version, and is replaced only by whoever names the version that it replaces: of two who read
//! the same one, the second is told that it has [`Changed`](DocumentError::Changed) and reads again.
//!
//! Elsewhere: files ([`file::documents`](crate::store::file::documents)), a storage in memory that
//! fails when it is told to ([`sim_documents`](crate::store::sim_documents)).

use std::fmt;
use std::io;

use crate::base::shown::shown_by_name;
use crate::base::text::TextError;

pub use crate::base::fs::Exposure;

/// The longest text.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Texts on durable storage, shared by all threads.
///
/// None of these waits for another process: who writes while another does gets
/// [`DocumentError::Busy`], and decides for how long to try again.
pub trait Documents: Send + Sync {
    /// The text of that name; `None` if there is none.
    ///
    /// Errors: [`DocumentError::Unreadable`], [`DocumentError::Io`].
    fn read(&self, name: &DocumentName) -> Result<Option<VersionedText>, DocumentError>;

    /// Puts `text` in the place of the version `expected`, `None` for a name that has no text yet;
    /// one step for all who read and write. On return it survives a power cut.
    ///
    /// Errors: [`DocumentError::Changed`] and [`DocumentError::Busy`] with nothing done. After
    /// [`DocumentError::Io`] the old text is there or the new one, whole: a new reading tells.
    fn put_if(
        &self,
        name: &DocumentName,
        expected: Option<&DocumentVersion>,
        text: &str,
    ) -> Result<DocumentVersion, DocumentError>;

    /// Removes a text, whatever its version; one step for all who read and write. That there is none
    /// is no error.
    ///
    /// Errors: [`DocumentError::Busy`] with nothing done, [`DocumentError::Io`].
    fn delete(&self, name: &DocumentName) -> Result<(), DocumentError>;

    /// The last parts of the names in `folder`, sorted: of texts, and of folders that hold some. In a
    /// storage that people write to as well there may be others.
    fn list(&self, folder: &DocumentFolder) -> Result<Vec<String>, DocumentError>;

    /// Removes all texts in a folder and below it, in no order; a crash may leave some.
    fn delete_folder(&self, folder: &DocumentFolder) -> Result<(), DocumentError>;

    /// Where a person finds the text: a path where texts are files.
    fn location(&self, name: &DocumentName) -> String;
}

shown_by_name!(Documents);

impl dyn Documents + '_ {
    /// Replaces the text of that name by what `edit` makes of it; `None` leaves it as it is.
    ///
    /// `failed` learns of each error of the storage: it returns one that ends this, or lets all of it
    /// be tried again, as is right after one that [is passing](DocumentError::is_passing).
    pub fn update<E>(
        &self,
        name: &DocumentName,
        mut edit: impl FnMut(Option<&VersionedText>) -> Result<Option<String>, E>,
        mut failed: impl FnMut(DocumentError) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let before = match self.read(name) {
                Ok(before) => before,
                Err(error) => {
                    failed(error)?;
                    continue;
                }
            };
            let Some(text) = edit(before.as_ref())? else {
                return Ok(());
            };
            match self.put_if(name, before.as_ref().map(|it| &it.version), &text) {
                Ok(_) => return Ok(()),
                Err(error) => failed(error)?,
            }
        }
    }

    /// Puts `text` in the place of whatever is there, be it text or not; for what nobody else writes.
    ///
    /// Errors: those of [`put_if`](Documents::put_if).
    pub fn replace(&self, name: &DocumentName, text: &str) -> Result<(), DocumentError> {
        let before = match self.read(name) {
            Err(DocumentError::Unreadable { .. }) => {
                self.delete(name)?;
                None
            }
            read => read?.map(|before| before.version),
        };
        self.put_if(name, before.as_ref(), text).map(drop)
    }
}

/// A text, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedText {
    /// Without a byte order mark.
    pub text: String,
    /// Names this text to whoever replaces it.
    pub version: DocumentVersion,
    /// The powers of other accounts over it where it is kept.
    pub exposure: Exposure,
}

/// Tells a text from the one before and the one after it. The same text may have the same one again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentVersion(String);

impl DocumentVersion {
    /// As a storage writes it.
    pub fn new(text: impl Into<String>) -> DocumentVersion {
        DocumentVersion(text.into())
    }
}

/// The name of a text: parts between `/`, as those of a path below some folder.
///
/// Invariant: no part is empty, longer than 255 bytes, begins with `.`, ends with `.tmp`, or holds a
/// control character: joined to a folder, it leads nowhere else, and to no file that a storage keeps
/// for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentName(String);

impl DocumentName {
    /// Errors: [`DocumentError::BadName`].
    pub fn parse(name: impl Into<String>) -> Result<DocumentName, DocumentError> {
        let name = name.into();
        if name.split('/').all(is_part) {
            Ok(DocumentName(name))
        } else {
            Err(DocumentError::BadName(name))
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of the names of some texts: parts as those of a [`DocumentName`], or none at all
/// for the whole storage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentFolder(String);

impl DocumentFolder {
    /// Errors: [`DocumentError::BadName`].
    pub fn parse(name: impl Into<String>) -> Result<DocumentFolder, DocumentError> {
        let name = name.into();
        if name.is_empty() || name.split('/').all(is_part) {
            Ok(DocumentFolder(name))
        } else {
            Err(DocumentError::BadName(name))
        }
    }

    /// The name of a text in it.
    ///
    /// Errors: [`DocumentError::BadName`].
    pub fn document(&self, rest: &str) -> Result<DocumentName, DocumentError> {
        DocumentName::parse(self.joined(rest))
    }

    /// A folder in it.
    ///
    /// Errors: [`DocumentError::BadName`].
    pub fn folder(&self, rest: &str) -> Result<DocumentFolder, DocumentError> {
        DocumentFolder::parse(self.joined(rest))
    }

    /// The whole name; empty for the whole storage.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part of a name behind this folder; `None` for one that is not in it.
    pub fn rest_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.0.is_empty() {
            return Some(name);
        }
        name.strip_prefix(&self.0)?.strip_prefix('/')
    }

    fn joined(&self, rest: &str) -> String {
        match (self.0.as_str(), rest) {
            ("", one) | (one, "") => one.to_owned(),
            (folder, rest) => format!("{folder}/{rest}"),
        }
    }
}

/// Whether a text can be a part of a name: what a storage would show in a [list](Documents::list).
pub(super) fn is_part(part: &str) -> bool {
    let is_reserved = part.starts_with('.') || part.ends_with(".tmp");
    (1..=255).contains(&part.len()) && !is_reserved && !part.contains(char::is_control)
}

/// Why a text cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// No text can have that name.
    #[error("{0:?} cannot be the name of a document")]
    BadName(String),
    /// It has another version than was expected: somebody wrote or removed it meanwhile.
    #[error("{0} was changed meanwhile")]
    Changed(DocumentName),
    /// Another process writes just now.
    #[error("{0} is in use")]
    Busy(String),
    /// Something is there that is no text, or lies behind a link; of a folder, that it does.
    #[error("{location} {source}")]
    Unreadable {
        /// Where.
        location: String,
        /// What is wrong with it.
        source: TextError,
    },
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

impl DocumentError {
    /// Reading and writing again may go well soon: another did the same at this moment.
    pub fn is_passing(&self) -> bool {
        match self {
            DocumentError::Changed(_) | DocumentError::Busy(_) => true,
            DocumentError::BadName(_)
            | DocumentError::Unreadable { .. }
            | DocumentError::Io { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_one_place_in_its_folder() {
        for name in [
            "clock",
            "keys/20775/00ff",
            "daily/2026-03-01.md",
            "a b/ä.md",
        ] {
            assert_eq!(DocumentName::parse(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(256);
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".lock", "a/.lock", "a.tmp",
            "a\0b", "a\nb", &long,
        ] {
            assert!(DocumentName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_folder_knows_what_is_in_it() {
        let root = DocumentFolder::default();
        let keys = root.folder("keys").unwrap();
        assert_eq!(keys.document("a").unwrap().as_str(), "keys/a");
        assert_eq!(root.document("a").unwrap().as_str(), "a");
        assert!(keys.document("../a").is_err());
        assert_eq!(keys.rest_of("keys/a/b"), Some("a/b"));
        assert_eq!(keys.rest_of("keysmith/a"), None);
        assert_eq!(root.rest_of("keys/a"), Some("keys/a"));
    }
}
