//! The key of the tickets: the file `ticket.key` in the workspace, made once, at the first start.
//!
//! It lies in the workspace so that tickets are good after a restart. Invariant: nobody but this account
//! knows it. So a file that was there before this account served the workspace is another's, as is
//! one that others own or may read: it is made anew.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::base::accounts;
use crate::base::fs::{Fs, Open, RealFs, read_file};
use crate::base::random;
use crate::http::ticket::TicketKey;

const NAME: &str = "ticket.key";
/// 256 bits in hexadecimal digits, and a line break.
const BYTES: u64 = 65;

/// The key of a workspace that this process has the lock of; `is_known` if this account served it
/// before. Where no file can be written, tickets are good until the server stops.
///
/// Errors: the system has no random numbers.
pub(super) fn of_workspace(workspace: &Path, is_known: bool) -> io::Result<TicketKey> {
    let path = workspace.join(NAME);
    if is_known && let Some(secret) = read(&path) {
        return Ok(TicketKey::new(&secret));
    }
    let secret = random::secret()?;
    if let Err(error) = write(&path, &secret) {
        log::warn!(
            "{}: {error}: tickets are good until the server stops",
            path.display()
        );
    }
    Ok(TicketKey::new(&secret))
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let is_ours = metadata.uid() == accounts::own() && metadata.mode() & 0o077 == 0;
    let text = String::from_utf8(read_file(&RealFs, path, BYTES).ok()?).ok()?;
    let secret = text.trim_end();
    let is_secret = secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_ours && is_secret).then(|| secret.to_owned())
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

    /// The text of the file after a start.
    fn after_start(workspace: &Path, is_known: bool) -> String {
        of_workspace(workspace, is_known).unwrap();
        fs::read_to_string(workspace.join(NAME)).unwrap()
    }

    #[test]
    fn the_key_is_made_once_for_this_account_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = after_start(folder.path(), false);
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().mode();
        assert_eq!((mode & 0o777, made.len() as u64), (0o600, BYTES));
        assert_eq!(after_start(folder.path(), true), made);
        // As it would lie in a folder that somebody else has made.
        assert_ne!(after_start(folder.path(), false), made);
    }

    #[test]
    fn a_key_that_others_may_know_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let old = "ab".repeat(32);
        let other = folder.path().join("other");
        fs::write(&other, &old).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        for spoil in [
            |path: &Path, text: &str| {
                fs::write(path, text).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
            },
            |path: &Path, _: &str| {
                symlink(path.with_file_name("other"), path).unwrap();
            },
            |path: &Path, text: &str| {
                fs::write(path, &text[..63]).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
            },
            |path: &Path, _: &str| drop(fs::write(path, "")),
        ] {
            drop(fs::remove_file(&path));
            spoil(&path, &old);
            let made = after_start(folder.path(), true);
            assert!(!made.contains(&old[..63]) && made.len() as u64 == BYTES);
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), old);
    }

    #[test]
    fn without_a_place_to_write_there_are_tickets_all_the_same() {
        let missing = Path::new("/nowhere/at/all");
        assert!(of_workspace(missing, true).is_ok());
    }
}
