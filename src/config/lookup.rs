//! Where the workspace is that somebody stands in: looked for upwards from the current folder, as
//! `git` and `cargo` do.
//!
//! Invariants:
//! - nothing is made, and nothing read but what belongs to whom and who may write it;
//! - what others could have put there is never found: a folder counts only if it, and what makes it
//!   a workspace's, belong to this account or root and nobody else may write them. Otherwise a file
//!   in `/tmp` would decide what a command there starts;
//! - the search ends with the home folder, and where another file system begins.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::config::source::{DEFAULT_FILE, DEFAULT_WORKSPACE};

/// That there is no workspace where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no workspace in {} or above it{}", start.display(), shown(untrusted.as_deref()))]
pub struct NoWorkspace {
    /// Where the search began.
    pub start: PathBuf,
    /// One that others could have written, and so was not taken.
    pub untrusted: Option<PathBuf>,
}

fn shown(untrusted: Option<&Path>) -> String {
    untrusted.map_or(String::new(), |path| {
        let path = path.display();
        format!("; {path} does not count, as another account owns it or can write it")
    })
}

/// The nearest folder that holds a workspace: `start`, an absolute path without links, or one above
/// it, up to `home`.
pub fn find(start: &Path, home: Option<&Path>) -> Result<PathBuf, NoWorkspace> {
    let home = home.and_then(|home| home.canonicalize().ok());
    let device = start.metadata().map(|found| found.dev()).ok();
    let mut untrusted = None;
    for folder in start.ancestors() {
        if folder.metadata().map(|found| found.dev()).ok() != device {
            break;
        }
        match look(folder) {
            LookupResult::Workspace => return Ok(folder.to_owned()),
            LookupResult::Untrusted(path) => untrusted = untrusted.or(Some(path)),
            LookupResult::Nothing => {}
        }
        if home.as_deref() == Some(folder) {
            break;
        }
    }
    Err(NoWorkspace {
        start: start.to_owned(),
        untrusted,
    })
}

/// A folder, or a file, is this account's or root's, and nobody else's to write: what it says may
/// be followed.
pub fn is_ours(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| is_safe(&found, geteuid().as_raw()))
}

enum LookupResult {
    Workspace,
    Untrusted(PathBuf),
    Nothing,
}

fn look(folder: &Path) -> LookupResult {
    let file = folder.join(DEFAULT_FILE);
    let workspace = folder.join(DEFAULT_WORKSPACE);
    let agents = workspace.join("agents");
    // What stands there must be safe all the way: a folder that others may write holds their files.
    let marks = match (file.is_file(), agents.is_dir()) {
        (false, false) => return LookupResult::Nothing,
        (true, false) => vec![file],
        (false, true) => vec![workspace, agents],
        (true, true) => vec![file, workspace, agents],
    };
    let mut all = std::iter::once(folder).chain(marks.iter().map(PathBuf::as_path));
    match all.find(|path| !is_ours(path)) {
        None => LookupResult::Workspace,
        Some(path) => LookupResult::Untrusted(path.to_owned()),
    }
}

fn is_safe(found: &Metadata, account: u32) -> bool {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    let is_owned = [account, 0].contains(&found.uid());
    // Many systems give each account a group of its own number, and let it write by default.
    let is_own_group = found.gid() == found.uid();
    let group_may = found.mode() & GROUP_WRITES != 0 && !is_own_group;
    is_owned && !group_may && found.mode() & OTHERS_WRITE == 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_nearest_workspace_above_counts_and_a_bare_folder_is_none() {
        let (_kept, home) = folder();
        let deep = home.join("project/src/deep");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(deep.join(".duragent/sessions")).unwrap();
        assert!(find(&deep, Some(&home)).is_err());
        fs::write(home.join(DEFAULT_FILE), "").unwrap();
        assert_eq!(find(&deep, Some(&home)), Ok(home.clone()));
        fs::create_dir_all(home.join("project/.duragent/agents")).unwrap();
        assert_eq!(find(&deep, Some(&home)), Ok(home.join("project")));
        assert_eq!(find(&home, Some(&home)), Ok(home));
    }

    #[test]
    fn the_search_ends_with_the_home_folder() {
        let (_kept, above) = folder();
        fs::write(above.join(DEFAULT_FILE), "").unwrap();
        let home = above.join("home");
        let inside = home.join("inside");
        fs::create_dir_all(&inside).unwrap();
        let none = NoWorkspace {
            start: inside.clone(),
            untrusted: None,
        };
        assert_eq!(find(&inside, Some(&home)), Err(none));
        let elsewhere = above.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        assert_eq!(find(&elsewhere, Some(&home)), Ok(above));
    }

    #[test]
    fn what_others_can_write_is_named_and_not_taken() {
        let (_kept, home) = folder();
        let inner = home.join("shared/inner");
        let agents = home.join("shared/.duragent/agents");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir_all(&agents).unwrap();
        let file = home.join("shared").join(DEFAULT_FILE);
        fs::write(&file, "").unwrap();
        for (path, mode) in [
            (home.join("shared"), 0o777),
            (home.join("shared"), 0o1777),
            (file, 0o666),
            (home.join("shared/.duragent"), 0o757),
            (agents, 0o777),
        ] {
            let before = path.metadata().unwrap().mode();
            set_mode(&path, mode);
            let found = find(&inner, Some(&home)).unwrap_err();
            assert_eq!(found.untrusted.as_ref(), Some(&path), "{mode:o}");
            assert!(found.to_string().contains("does not count"), "{found}");
            set_mode(&path, before);
        }
        assert_eq!(find(&inner, Some(&home)), Ok(home.join("shared")));
        // One that is ours counts, though it lies above one that is not.
        set_mode(&home.join("shared"), 0o777);
        fs::write(home.join(DEFAULT_FILE), "").unwrap();
        assert_eq!(find(&inner, Some(&home)), Ok(home));
    }

    #[test]
    fn the_owner_and_the_mode_decide() {
        let (_kept, path) = folder();
        let found = |mode| {
            set_mode(&path, mode);
            path.metadata().unwrap()
        };
        let own = geteuid().as_raw();
        let is_own_group = found(0o700).gid() == found(0o700).uid();
        for (mode, expected) in [
            (0o700, true),
            (0o755, true),
            (0o775, is_own_group),
            (0o757, false),
            (0o1777, false),
        ] {
            assert_eq!(is_safe(&found(mode), own), expected, "{mode:o}");
        }
        // Somebody else's: only root's would do.
        let is_of_root = own == 0;
        assert_eq!(is_safe(&found(0o700), own + 1), is_of_root);
        set_mode(&path, 0o700);
    }
}
