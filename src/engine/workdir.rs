//! The folder that a session's tools work in, where it is not the agent's own: which one may be.
//!
//! Whoever names one lets every tool of the agent read and write it. So that is for the server's
//! owner alone, and never a folder from which other programs take orders, or the server's own.
//!
//! Invariant: a [`Workdir`] has passed the rules when the session began; that it still is the folder
//! of that name is looked at again whenever a program is about to start in it (`tools::programs`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::accounts;
use crate::base::text::leads_to;
use crate::domain::principal::{Principal, Way};

/// The longest path: it is kept in the session's snapshot, which is small.
const BYTES_MAX: usize = 1024;
/// File systems of the kernel: to write there is to steer the machine.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A folder for a session, by its real path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir(String);

impl Workdir {
    /// Its path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which folders a session may have.
#[derive(Debug, Clone, Default)]
pub struct WorkdirRules {
    /// The workspace, and whatever else of the server's no program may write: a folder in or above
    /// one of these is refused.
    pub guarded: Vec<PathBuf>,
    /// The owner's home folder, whose files other programs obey.
    pub home: Option<PathBuf>,
    /// `server.workdirs`: a request that came over the network may name folders below these alone.
    pub for_network: Vec<PathBuf>,
}

/// Why a session may not have a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkdirError {
    /// Somebody else than the owner names one.
    #[error("`workdir` is for the server's owner to choose")]
    NotTheOwner,
    /// It is relative, too long, or has control characters in it.
    #[error("`workdir` must be the absolute path of a folder, of {BYTES_MAX} bytes at most")]
    Malformed,
    /// There is nothing of that name, or it cannot be looked at, or is no folder.
    #[error("`workdir`: {0} is no folder that can be looked at")]
    NoFolder(String),
    /// It has another real path.
    #[error("`workdir`: {path} is or lies below a link, or is spelled oddly: name {real}")]
    NotReal {
        /// As it was named.
        path: String,
        /// What it stands for.
        real: String,
    },
    /// It is another account's.
    #[error("`workdir`: {0} does not belong to the account that the server runs as")]
    Foreign(String),
    /// It is one of those that programs obey.
    #[error("`workdir`: {0} {1}: name a folder of its own")]
    Guarded(String, &'static str),
    /// The request came over the network.
    #[error("over the network `workdir` must lie below one of `server.workdirs`")]
    NotForNetwork,
}

impl WorkdirRules {
    /// The folder at `path`, asked for by `asker` by that way.
    ///
    /// Errors: it may not be; the first rule that says so.
    pub fn check(&self, path: &str, asker: &Principal, way: Way) -> Result<Workdir, WorkdirError> {
        if !asker.is_owner() {
            return Err(WorkdirError::NotTheOwner);
        }
        let is_plain = path.len() <= BYTES_MAX && !path.chars().any(char::is_control);
        if !is_plain || !path.starts_with('/') {
            return Err(WorkdirError::Malformed);
        }
        let folder = Path::new(path);
        // Before anything is looked at: what exists is nobody's business who may not name it.
        let is_below = |outer: PathBuf| folder != outer && folder.starts_with(outer);
        let mut for_network = self.for_network.iter().map(|path| leads_to(path));
        if way == Way::Network && !for_network.any(is_below) {
            return Err(WorkdirError::NotForNetwork);
        }
        look_at(path)?;
        if let Some(why) = self.why_guarded(folder) {
            return Err(WorkdirError::Guarded(path.to_owned(), why));
        }
        Ok(Workdir(path.to_owned()))
    }

    fn why_guarded(&self, folder: &Path) -> Option<&'static str> {
        if KERNEL.iter().any(|kernel| folder.starts_with(kernel)) {
            return Some("belongs to the kernel");
        }
        let holds_home = |home: &PathBuf| leads_to(home).starts_with(folder);
        if folder == Path::new("/") || self.home.as_ref().is_some_and(holds_home) {
            return Some("holds the home folder, whose files other programs obey");
        }
        let mut guarded = self.guarded.iter().map(|path| leads_to(path));
        let overlaps = |path: PathBuf| folder.starts_with(&path) || path.starts_with(folder);
        guarded
            .any(overlaps)
            .then_some("lies in or above the workspace, or what else is the server's own")
    }
}

/// Whether a path is the real one of a folder of this account.
fn look_at(path: &str) -> Result<(), WorkdirError> {
    let missing = || WorkdirError::NoFolder(path.to_owned());
    let real = fs::canonicalize(path).map_err(|_| missing())?;
    // As texts: two paths are the same also where one of them has a `/` too many.
    if real.as_os_str() != path {
        return Err(WorkdirError::NotReal {
            path: path.to_owned(),
            real: real.display().to_string(),
        });
    }
    let about = fs::metadata(path).map_err(|_| missing())?;
    if !about.is_dir() {
        return Err(missing());
    }
    if about.uid() != accounts::own() {
        return Err(WorkdirError::Foreign(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TokenName;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A home with a workspace in it, two projects, and a link.
    struct Home {
        _folder: TempDir,
        path: PathBuf,
        rules: WorkdirRules,
    }

    impl Home {
        fn new() -> Home {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().canonicalize().unwrap().join("home");
            for inner in ["app/.duragent/agents", "code/one", "code/two", "code-2"] {
                fs::create_dir_all(path.join(inner)).unwrap();
            }
            fs::write(path.join("file"), "").unwrap();
            symlink(path.join("code"), path.join("link")).unwrap();
            let rules = WorkdirRules {
                guarded: vec![path.join("app/.duragent")],
                home: Some(path.clone()),
                for_network: vec![path.join("code")],
            };
            Home {
                _folder: folder,
                path,
                rules,
            }
        }

        fn check(&self, inner: &str, way: Way) -> Result<Workdir, WorkdirError> {
            let path = self.path.join(inner);
            let path = path.to_str().unwrap().trim_end_matches('/');
            self.rules.check(path, &Principal::Owner, way)
        }
    }

    #[test]
    fn a_folder_is_real_the_account_s_own_and_nothing_that_others_obey() {
        let home = Home::new();
        for inner in ["code", "code/one", "code-2"] {
            let folder = home.check(inner, Way::Local).unwrap();
            assert_eq!(Path::new(folder.as_str()), home.path.join(inner));
        }
        for (inner, word) in [
            ("missing", "no folder"),
            ("file", "no folder"),
            ("link", "code"),
            ("link/one", "code/one"),
            ("code/../code", "oddly"),
            ("code/./one", "oddly"),
            ("code//one", "oddly"),
            ("", "home"),
            ("..", "oddly"),
            ("app", "in or above the workspace"),
            ("app/.duragent", "in or above the workspace"),
            ("app/.duragent/agents", "in or above the workspace"),
        ] {
            let refusal = home.check(inner, Way::Local).unwrap_err().to_string();
            assert!(refusal.contains(word), "{inner}: {refusal}");
        }
        let local = |path: &str| home.rules.check(path, &Principal::Owner, Way::Local);
        for path in ["", ".", "code", "/a\nb", &format!("/{}", "x".repeat(1024))] {
            assert_eq!(local(path), Err(WorkdirError::Malformed), "{path:?}");
        }
        let above = home.path.parent().unwrap().to_str().unwrap();
        for path in ["/", above, "/proc", "/proc/self/fd"] {
            assert!(local(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_the_server_s_own_is_it_by_any_name_and_before_it_is_there() {
        let mut home = Home::new();
        fs::create_dir_all(home.path.join("code/conf")).unwrap();
        home.rules.guarded = vec![home.path.join("link/conf/server/later")];
        for inner in ["code", "code/conf"] {
            let checked = home.check(inner, Way::Local);
            assert!(matches!(checked, Err(WorkdirError::Guarded(..))), "{inner}");
        }
        home.check("code/one", Way::Local).unwrap();
    }

    #[test]
    fn over_the_network_only_what_was_opened_for_it_may_be_named() {
        let home = Home::new();
        for (inner, is_fine) in [
            ("code/one", true),
            ("code", false),
            ("code-2", false),
            ("app", false),
        ] {
            let checked = home.check(inner, Way::Network);
            assert_eq!(checked.is_ok(), is_fine, "{inner}: {checked:?}");
        }
        // A name below one that leads out of it is no real path.
        symlink(home.path.join("code-2"), home.path.join("code/out")).unwrap();
        let out = home.check("code/out", Way::Network);
        assert!(matches!(out, Err(WorkdirError::NotReal { .. })), "{out:?}");
        // The folder that is open for it may itself be named by a link.
        let mut home = home;
        home.rules.for_network = vec![home.path.join("link")];
        home.check("code/one", Way::Network).unwrap();
        assert!(home.check("code-2", Way::Network).is_err());
    }

    #[test]
    fn nobody_but_the_owner_names_a_folder() {
        let home = Home::new();
        let path = home.path.join("code/one");
        let alice = Principal::Token(TokenName::parse("alice").unwrap());
        let asked = home.rules.check(path.to_str().unwrap(), &alice, Way::Local);
        assert_eq!(asked, Err(WorkdirError::NotTheOwner));
    }
}
