//! Repositories of git in the work folder of an agent, and in its folder, which a copied one may bring: programs
//! that start in one do what its settings and hooks say.
//!
//! Elsewhere: folders that only look like one (`tools::programs` has git pass over them).

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::base::beneath::open_beneath;
use crate::base::digest::sha256;
use crate::base::order;
use crate::domain::spec::WORK_FOLDER;
use crate::domain::trust::{Kind, Part};

const GIT: &str = ".git";
/// What has the settings of a repository.
const SETTINGS: [&str; 2] = ["config", "config.worktree"];
/// What is run, in a folder of its own.
const HOOKS: &str = "hooks";
/// Of one file so much is looked at.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// So many hooks are looked at.
const HOOKS_MAX: usize = 200;

/// Those in the agent's folder `home`.
pub(super) fn within(home: &Path) -> Vec<Part> {
    let mut found = beneath_work(home);
    // From the work folder git goes up to it.
    if fs::symlink_metadata(home.join(GIT)).is_ok() {
        found.push(PathBuf::from(GIT));
    }
    order::sort(&mut found);
    let part = |inner: &PathBuf| Part {
        kind: Kind::Setting,
        place: inner.display().to_string(),
        content: content(home, inner),
    };
    found.iter().map(part).collect()
}

/// The part is a repository.
pub(super) fn is_one(part: &Part) -> bool {
    let mut names = part.place.split('/');
    let is_in_work = names.next() == Some(WORK_FOLDER) && names.next_back() == Some(GIT);
    part.kind == Kind::Setting && (is_in_work || part.place == GIT)
}

/// Gives each repository that is not among `known` as it is now a name by which git does not find it.
/// Returns these.
pub(super) fn set_aside_others(home: &Path, known: &[Part]) -> io::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    loop {
        let mut others = within(home);
        others.retain(|part| !known.contains(part));
        if others.is_empty() {
            return Ok(aside);
        }
        for part in others {
            let path = home.join(&part.place);
            let mut names = (1..).map(|n| path.with_file_name(format!("git-not-trusted-{n}")));
            let free = names.find(|name| fs::symlink_metadata(name).is_err());
            let name = free.ok_or(io::ErrorKind::AlreadyExists)?;
            fs::rename(&path, &name)?;
            aside.push(name);
        }
        // One that was within another is found now that that has its new name.
    }
}

/// Those in the work folder, however large and deep it is; what is in a repository is its own.
fn beneath_work(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(WORK_FOLDER)];
    while let Some(inner) = open.pop() {
        for entry in entries_of(&home.join(&inner)) {
            let path = inner.join(entry.file_name());
            if entry.file_name() == GIT {
                found.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            }
        }
    }
    found
}

/// What is in a folder, which is no link.
fn entries_of(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir());
    let entries = fs::read_dir(folder).ok().filter(|_| is_folder);
    entries.into_iter().flatten().flatten()
}

/// What a repository has programs do, in a line that is another one when that is.
fn content(home: &Path, inner: &Path) -> String {
    let path = home.join(inner);
    if let Ok(target) = fs::read_link(&path) {
        return format!("git does what {} says, where this leads", target.display());
    }
    let mut all = Vec::new();
    let mut add = |name: &Path| {
        all.extend_from_slice(name.as_os_str().as_encoded_bytes());
        all.push(0);
        // The agent's folder may be a link, and nothing in it.
        let whole: PathBuf = inner.join(name).components().collect();
        if let Ok(file) = open_beneath(&home.join("."), &whole) {
            // As far as it can be read.
            file.take(FILE_BYTES_MAX).read_to_end(&mut all).ok();
        }
        all.push(0);
    };
    // A file names a folder that lies elsewhere.
    add(Path::new(""));
    SETTINGS.iter().for_each(|name| add(Path::new(name)));
    let hooks = path.join(HOOKS);
    let hooks = entries_of(&hooks).take(HOOKS_MAX);
    let mut hooks: Vec<OsString> = hooks.map(|entry| entry.file_name()).collect();
    order::sort(&mut hooks);
    for name in hooks {
        if !name.to_string_lossy().ends_with(".sample") {
            add(&Path::new(HOOKS).join(name));
        }
    }
    format!(
        "git does what this repository's settings and hooks say, sha256 {}",
        sha256(&all)
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_not_shown_is_not_there_for_git_any_more() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        for name in [
            "work/.git/hooks",
            "work/sub/.git",
            "work/.git/sub/.git",
            "work/plain",
        ] {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        fs::write(home.join("work/.git/config"), "[core]\nfsmonitor = evil").unwrap();
        let places = |parts: &[Part]| -> Vec<String> {
            parts.iter().map(|part| part.place.clone()).collect()
        };
        let shown = within(home);
        assert_eq!(places(&shown), ["work/.git", "work/sub/.git"]);
        assert!(shown.iter().all(is_one));
        assert_eq!(within(home), shown);
        assert!(set_aside_others(home, &shown).unwrap().is_empty());
        let hook = home.join("work/.git/hooks/post-checkout");
        fs::write(&hook, "evil").unwrap();
        let moved = home.join("work/git-not-trusted-1");
        let inner = moved.join("sub/git-not-trusted-1");
        assert_eq!(
            set_aside_others(home, &shown).unwrap(),
            [moved.clone(), inner]
        );
        assert!(moved.join("config").exists() && !home.join("work/.git").exists());
        assert_eq!(places(&within(home)), ["work/sub/.git"]);
        fs::write(home.join("work/.git"), "gitdir: /elsewhere").unwrap();
        let other = within(home);
        assert_ne!(other[0].content, shown[0].content);
        fs::write(home.join("work/.git"), "gitdir: /another").unwrap();
        assert_ne!(within(home)[0].content, other[0].content);
        assert_eq!(set_aside_others(home, &[]).unwrap().len(), 2);
        assert_eq!(within(home), []);
    }

    #[test]
    fn the_one_of_the_folder_itself_and_one_behind_many_others_are_found_too() {
        let outer = tempfile::tempdir().unwrap();
        let home = outer.path().join("home");
        let deep = Path::new("work").join("d/".repeat(300)).join(GIT);
        fs::create_dir_all(home.join(&deep)).unwrap();
        fs::create_dir(home.join(GIT)).unwrap();
        fs::create_dir(home.join("other")).unwrap();
        fs::create_dir(home.join("other/.git")).unwrap();
        symlink("../other", home.join("work/link")).unwrap();
        let link = outer.path().join("link");
        symlink(&home, &link).unwrap();
        let shown = within(&link);
        let places: Vec<&str> = shown.iter().map(|part| &*part.place).collect();
        assert_eq!(places, [GIT, deep.to_str().unwrap()]);
        assert!(shown.iter().all(is_one));
        fs::write(home.join(".git/config"), "[core]\nfsmonitor = evil").unwrap();
        let moved = set_aside_others(&link, &shown).unwrap();
        assert_eq!(moved, [link.join("git-not-trusted-1")]);
        assert_eq!(within(&link), shown[1..]);
    }
}
