//! The key of the tickets: the file `ticket.key` in the workspace, made once, at the first start.
//!
//! It lies in the workspace so that tickets are good after a restart. Invariant: nobody but this account
//! knows it. So one that this account has not made here is another's, however it came (in a folder that
//! was copied, or into one that was served already), as is one that others own or may read: it is
//! made anew. Which one was made, its checksum tells, which lies outside of the workspace
//! (`workspace::arrivals`).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::base::accounts;
use crate::base::digest::sha256;
use crate::base::fs::{Fs, Open, RealFs, read_file};
use crate::base::random;
use crate::http::ticket::TicketKey;

const NAME: &str = "ticket.key";
/// 256 bits in hexadecimal digits, and a line break.
const BYTES: u64 = 65;

/// The key of a workspace that this process has the lock of, and its checksum; `made` is that of the key
/// that this account made there before. Where no file can be written, tickets are good until the server
/// stops.
///
/// Errors: the system has no random numbers.
pub(super) fn of_workspace(
    workspace: &Path,
    made: Option<&str>,
) -> io::Result<(TicketKey, String)> {
    let path = workspace.join(NAME);
    let kept = made.and_then(|made| read(&path).filter(|secret| sha256(secret.as_bytes()) == made));
    let secret = match kept {
        Some(secret) => secret,
        None => make(&path)?,
    };
    Ok((TicketKey::new(&secret), sha256(secret.as_bytes())))
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let is_ours = metadata.uid() == accounts::own() && metadata.mode() & 0o077 == 0;
    let text = String::from_utf8(read_file(&RealFs, path, BYTES).ok()?).ok()?;
    is_ours.then(|| text.trim_end().to_owned())
}

fn make(path: &Path) -> io::Result<String> {
    let secret = random::secret()?;
    if let Err(error) = write(path, &secret) {
        log::warn!(
            "{}: {error}: tickets are good until the server stops",
            path.display()
        );
    }
    Ok(secret)
}

/// Makes the file, which nobody else has open: one that is there goes.
fn write(path: &Path, secret: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed?,
    }
    let mut file = RealFs.open(path, Open::CreateNew)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_data()?;
    RealFs.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// The text of the file after a start, and its checksum.
    fn after_start(workspace: &Path, made: Option<&str>) -> (String, String) {
        let (_, checksum) = of_workspace(workspace, made).unwrap();
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
        let missing = Path::new("/nowhere/at/all");
        assert!(of_workspace(missing, Some("")).is_ok());
    }
}
