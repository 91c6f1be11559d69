//! The private folder in which the server behind the gate listens, and what killed servers left of theirs.
//!
//! Where one cannot be made, because the system is read-only there, another place will do. The name
//! of a socket ends at 107 bytes, so that a folder with a long path is named through the descriptor
//! that holds it open.
//!
//! Invariants:
//! - the folder is ours alone (0700), and locked as long as we live: whoever can lock another's
//!   knows that its server is gone;
//! - of a left folder, only what we put into one is removed: sockets with numbers for names. So
//!   nothing of anybody's is lost that looks like one.
//!
//! There is no abstract socket to fall back on: every account of the machine could connect to it,
//! and what reads there must not meet a stranger (see `http::gate`).

use std::env;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::TempDir;

const PREFIX: &str = "duragent-";
/// What `tempfile` adds to a prefix.
const RANDOM_CHARS: usize = 6;
/// The longest path in which a socket of ours has room.
const PATH_BYTES_MAX: usize = 70;
/// More names than this are not looked through: what else lies in `/tmp` is not our business.
const NAMES_MAX: usize = 100_000;

/// See the [module](self). Dropping it removes the folder.
#[derive(Debug)]
pub(in crate::http) struct InnerFolder {
    folder: TempDir,
    /// Holds it open and locked.
    held: File,
}

impl InnerFolder {
    /// Makes one in the folder at `place`.
    fn in_place(place: &Path) -> io::Result<InnerFolder> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)?;
        let held = File::open(folder.path())?;
        // Whoever looks for leftovers has it for an instant.
        if let Err(error) = held.lock() {
            // Without one, whoever looks for leftovers asks the socket.
            log::debug!("{}: not locked: {error}", folder.path().display());
        }
        Ok(InnerFolder { folder, held })
    }

    /// Tries one place after the other until `with` succeeds in the folder there.
    ///
    /// Errors: what was wrong with each place, and what helps.
    pub(in crate::http) fn make<T>(
        workspace: Option<&Path>,
        mut with: impl FnMut(&Path) -> io::Result<T>,
    ) -> io::Result<(InnerFolder, T)> {
        let mut refusals = Vec::new();
        for place in places(workspace) {
            let made = InnerFolder::in_place(&place).and_then(|folder| {
                let made = with(&folder.path())?;
                Ok((folder, made))
            });
            match made {
                Ok(made) => return Ok(made),
                Err(error) => refusals.push(format!("{}: {error}", place.display())),
            }
        }
        Err(io::Error::other(format!(
            "no place for the server's own socket ({}); set TMPDIR to a folder that can be written",
            refusals.join("; ")
        )))
    }

    /// Its path, short enough for a socket in it. It holds as long as this lives.
    pub(in crate::http) fn path(&self) -> PathBuf {
        let path = self.folder.path();
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return path.to_owned();
        }
        through(&self.held)
    }

    /// Where it really is.
    pub(in crate::http) fn place(&self) -> &Path {
        self.folder.path()
    }
}

/// A short path of an open folder.
fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// Where a private folder may be, the usual place first.
fn places(workspace: Option<&Path>) -> Vec<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let named = [env::temp_dir(), PathBuf::from("/tmp")]
        .into_iter()
        .chain(runtime)
        .chain([PathBuf::from("/dev/shm")])
        .chain(workspace.map(Path::to_owned));
    let mut places: Vec<PathBuf> = Vec::new();
    for place in named.filter(|place| place.is_absolute()) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Removes the folders of servers of this account that are gone; returns how many those were. A
/// server that is just starting keeps its own: it holds no socket yet, or is locked.
pub(in crate::http) fn remove_leftovers(workspace: Option<&Path>) -> usize {
    let places = places(workspace);
    places.iter().map(|place| remove_in(place)).sum()
}

fn remove_in(place: &Path) -> usize {
    let Ok(entries) = fs::read_dir(place) else {
        return 0;
    };
    let names = entries.take(NAMES_MAX).filter_map(Result::ok);
    let named = names.filter(|entry| is_named_like_ours(&entry.file_name().to_string_lossy()));
    let removed = named.filter(|entry| match remove_if_left(&entry.path()) {
        Ok(is_removed) => is_removed,
        Err(error) => {
            log::debug!("{} stays: {error}", entry.path().display());
            false
        }
    });
    removed.count()
}

fn is_named_like_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == RANDOM_CHARS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes a folder if it is one of ours and its server is gone; whether it was.
fn remove_if_left(folder: &Path) -> io::Result<bool> {
    let about = fs::symlink_metadata(folder)?;
    let is_private = about.is_dir() && about.permissions().mode() & 0o077 == 0;
    if !is_private || about.uid() != geteuid().as_raw() {
        return Ok(false);
    }
    let held = File::open(folder)?;
    if held.try_lock().is_err() {
        return Ok(false);
    }
    let Some(sockets) = sockets_in(&through(&held))? else {
        return Ok(false);
    };
    // Versions that do not lock theirs: whoever listens is there.
    if sockets.is_empty() || sockets.iter().any(|socket| is_answered(socket)) {
        return Ok(false);
    }
    for socket in &sockets {
        fs::remove_file(socket)?;
    }
    fs::remove_dir(folder)?;
    Ok(true)
}

/// The sockets in a folder that has nothing else in it.
fn sockets_in(folder: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_number = name
            .to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok());
        if !is_number || !entry.file_type()?.is_socket() {
            return Ok(None);
        }
        sockets.push(entry.path());
    }
    Ok(Some(sockets))
}

/// Whether anybody listens, as far as can be told without waiting: a full queue is somebody's.
fn is_answered(socket: &Path) -> bool {
    let refused = |error: io::Error| {
        matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound
        )
    };
    !crate::http::gate::connect_inner(socket).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn left(place: &Path, random: &str) -> PathBuf {
        let folder = place.join(format!("{PREFIX}{random}"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        drop(UnixListener::bind(folder.join("0")).unwrap());
        folder
    }

    #[test]
    fn a_folder_goes_only_if_it_is_ours_and_its_server_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let gone = left(place, "aaaaaa");
        let locked = left(place, "bbbbbb");
        let lock = File::open(&locked).unwrap();
        lock.try_lock().unwrap();
        let answers = left(place, "cccccc");
        let _listener = UnixListener::bind(answers.join("1")).unwrap();
        let others = left(place, "backup");
        fs::write(others.join("notes"), "precious").unwrap();
        let open = left(place, "dddddd");
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let empty = left(place, "eeeeee");
        fs::remove_file(empty.join("0")).unwrap();
        let longer = left(place, "fffffff");
        let linked = place.join(format!("{PREFIX}gggggg"));
        std::os::unix::fs::symlink(&longer, &linked).unwrap();
        assert_eq!(remove_in(place), 1);
        assert!(!gone.exists());
        for kept in [&locked, &answers, &others, &open, &empty, &longer, &linked] {
            assert!(kept.exists(), "{}", kept.display());
        }
        // What was kept for its server goes with that.
        drop(lock);
        assert_eq!(remove_in(place), 1);
        assert!(!locked.exists());
    }

    #[test]
    fn a_folder_with_a_long_path_has_room_for_a_socket() {
        let place = tempfile::tempdir().unwrap();
        let long = place.path().join("x".repeat(150));
        fs::create_dir(&long).unwrap();
        let folder = InnerFolder::in_place(&long).unwrap();
        let socket = folder.path().join("0");
        let _listener = UnixListener::bind(&socket).unwrap();
        UnixStream::connect(&socket).unwrap();
        assert!(folder.place().join("0").exists());
        // It is in use, and not for us to remove.
        assert_eq!(remove_in(&long), 0);
        drop(folder);
        let gone = long.join("duragent-aaaaaa");
        fs::create_dir(&gone).unwrap();
        fs::set_permissions(&gone, Permissions::from_mode(0o700)).unwrap();
        let held = File::open(&gone).unwrap();
        drop(UnixListener::bind(through(&held).join("0")).unwrap());
        assert_eq!(remove_in(&long), 1);
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }

    #[test]
    fn the_workspace_is_the_last_place_and_each_is_tried_once() {
        let places = places(Some(Path::new("/workspace")));
        assert_eq!(places.last().unwrap(), Path::new("/workspace"));
        let mut unique = places.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), places.len());
    }

    #[test]
    fn the_next_place_is_tried_where_one_refuses() {
        let workspace = tempfile::tempdir().unwrap();
        let mut tried = 0;
        let (folder, place) = InnerFolder::make(Some(workspace.path()), |path| {
            tried += 1;
            if path.starts_with(workspace.path()) {
                return Ok(path.to_owned());
            }
            Err(io::Error::other("on purpose"))
        })
        .unwrap();
        assert!(tried > 1);
        assert!(folder.place().starts_with(workspace.path()) && place.exists());
        let refused = InnerFolder::make(None, |_| -> io::Result<()> {
            Err(io::Error::other("on purpose"))
        });
        let words = refused.unwrap_err().to_string();
        assert!(
            words.contains("TMPDIR") && words.contains("/dev/shm: on purpose"),
            "{words}"
        );
    }
}
