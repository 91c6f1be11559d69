//! The key of the tickets: the document `ticket.key` of the workspace, made once, at the first start.
//!
//! It lies in the workspace so that tickets are good after a restart. Invariant: nobody but this account
//! knows it. So one that this account has not made here is another's, however it came (in a folder that
//! was copied, or into one that was served already), as is one that others own or may read: it is
//! made anew. Which one was made, its checksum tells, which lies outside of the workspace
//! (`runtime::arrivals`).

use std::io;

use crate::base::digest::sha256;
use crate::base::random;
use crate::http::ticket::TicketKey;
use crate::store::documents::{DocumentError, DocumentName, Documents, Exposure};

const NAME: &str = "ticket.key";

/// The key among the documents of a workspace that this process has the lock of, and its checksum; `made`
/// is that of the key that this account made there before. Where nothing can be written, tickets are
/// good until the server stops.
///
/// Errors: the system has no random numbers.
pub(super) fn of_workspace(
    documents: &dyn Documents,
    made: Option<&str>,
) -> io::Result<(TicketKey, String)> {
    let kept = made.and_then(|made| {
        let secret = read(documents)?;
        (sha256(secret.as_bytes()) == made).then_some(secret)
    });
    let secret = match kept {
        Some(secret) => secret,
        None => make(documents)?,
    };
    Ok((TicketKey::new(&secret), sha256(secret.as_bytes())))
}

/// The key that is there, unless others may know it.
fn read(documents: &dyn Documents) -> Option<String> {
    let found = documents.read(&DocumentName::parse(NAME).ok()?).ok()??;
    let is_ours = found.exposure == Exposure::Closed;
    is_ours.then(|| found.text.trim_end().to_owned())
}

fn make(documents: &dyn Documents) -> io::Result<String> {
    let secret = random::secret()?;
    if let Err(error) = write(documents, &secret) {
        log::warn!(
            "{:#}: tickets are good until the server stops",
            anyhow::Error::new(error)
        );
    }
    Ok(secret)
}

/// One that is there goes, whatever it is.
fn write(documents: &dyn Documents, secret: &str) -> Result<(), DocumentError> {
    let name = DocumentName::parse(NAME)?;
    documents.delete(&name)?;
    documents
        .put_if(&name, None, &format!("{secret}\n"))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;
    use std::sync::Arc;

    use crate::base::fs::RealFs;
    use crate::store::file::documents::FileDocuments;

    /// 256 bits in hexadecimal digits, and a line break.
    const BYTES: u64 = 65;

    fn documents(workspace: &Path) -> FileDocuments {
        FileDocuments::of_process(Arc::new(RealFs), workspace.to_owned())
    }

    /// The text of the file after a start, and its checksum.
    fn after_start(workspace: &Path, made: Option<&str>) -> (String, String) {
        let (_, checksum) = of_workspace(&documents(workspace), made).unwrap();
        let text = fs::read_to_string(workspace.join(NAME)).unwrap();
        assert_eq!(sha256(text.trim_end().as_bytes()), checksum);
        (text, checksum)
    }

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_key_is_made_once_for_this_account_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (made, checksum) = after_start(folder.path(), None);
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().mode();
        assert_eq!((mode & 0o777, made.len() as u64), (0o600, BYTES));
        assert_eq!(after_start(folder.path(), Some(&checksum)).0, made);
        // As it would lie in a folder that somebody else has made.
        assert_ne!(after_start(folder.path(), None).0, made);
    }

    #[test]
    fn a_key_that_came_into_a_workspace_later_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (_, checksum) = after_start(folder.path(), None);
        let theirs = format!("{}\n", "ab".repeat(32));
        put(&folder.path().join(NAME), &theirs, 0o600);
        assert_ne!(after_start(folder.path(), Some(&checksum)).0, theirs);
    }

    #[test]
    fn a_key_that_others_may_know_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let old = "ab".repeat(32);
        let other = folder.path().join("other");
        put(&other, &old, 0o600);
        for spoil in [
            |path: &Path, text: &str| put(path, text, 0o640),
            |path: &Path, _: &str| symlink(path.with_file_name("other"), path).unwrap(),
            |path: &Path, text: &str| put(path, &text[..63], 0o600),
            |path: &Path, _: &str| put(path, "", 0o600),
        ] {
            drop(fs::remove_file(&path));
            spoil(&path, &old);
            let (made, _) = after_start(folder.path(), Some(&sha256(old.as_bytes())));
            assert!(!made.contains(&old[..63]) && made.len() as u64 == BYTES);
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), old);
    }

    #[test]
    fn without_a_place_to_write_there_are_tickets_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("no folder");
        fs::write(&file, "").unwrap();
        assert!(of_workspace(&documents(&file.join("workspace")), Some("")).is_ok());
    }
}
