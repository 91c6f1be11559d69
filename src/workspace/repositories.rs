//! Repositories of git in the work folder of an agent, which a copied folder may bring: programs that start in
//! one do what its settings and hooks say.
//!
//! Elsewhere: folders that only look like one (`tools::programs` has git pass over them).

use std::ffi::OsString;
use std::fs::{self, FileType};
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
/// So many names of a work folder are looked at, and so deep.
const NAMES_MAX: usize = 50_000;
const DEPTH_MAX: usize = 16;
/// So many hooks are looked at.
const HOOKS_MAX: usize = 200;

/// Those in the agent's folder `home`.
pub(super) fn within(home: &Path) -> Vec<Part> {
    let mut found = Vec::new();
    let mut names_left = NAMES_MAX;
    walk(
        &home.join(WORK_FOLDER),
        Path::new(""),
        0,
        &mut names_left,
        &mut found,
    );
    let part = |inner: &PathBuf| Part {
        kind: Kind::Setting,
        place: Path::new(WORK_FOLDER).join(inner).display().to_string(),
        content: content(home, inner),
    };
    found.iter().map(part).collect()
}

/// The part is a repository.
pub(super) fn is_one(part: &Part) -> bool {
    let mut names = part.place.split('/');
    part.kind == Kind::Setting
        && names.next() == Some(WORK_FOLDER)
        && names.next_back() == Some(GIT)
}

/// Gives each repository that is not among `known` as it is now a name by which git does not find it.
/// Returns these.
pub(super) fn set_aside_others(home: &Path, known: &[Part]) -> io::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    let other = || within(home).into_iter().find(|part| !known.contains(part));
    // One that was within another is found once that has its new name.
    while let Some(part) = other() {
        let path = home.join(&part.place);
        let mut names = (1..).map(|n| path.with_file_name(format!("git-not-trusted-{n}")));
        let free = names.find(|name| fs::symlink_metadata(name).is_err());
        let name = free.ok_or(io::ErrorKind::AlreadyExists)?;
        fs::rename(&path, &name)?;
        aside.push(name);
    }
    Ok(aside)
}

/// Looks below a folder, which is no link; what is in a repository is its own.
fn walk(root: &Path, inner: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    for (name, kind) in names_in(&root.join(inner), *left) {
        *left = left.saturating_sub(1);
        if name == GIT {
            found.push(inner.join(name));
        } else if kind.is_dir() && depth < DEPTH_MAX && *left > 0 {
            walk(root, &inner.join(name), depth + 1, left, found);
        }
    }
}

/// The sorted names in a folder, those that were found before `most` were.
fn names_in(folder: &Path, most: usize) -> Vec<(OsString, FileType)> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir());
    let entries = fs::read_dir(folder).ok().filter(|_| is_folder);
    let entries = entries.into_iter().flatten().flatten().take(most);
    let names = entries.filter_map(|entry| Some((entry.file_name(), entry.file_type().ok()?)));
    let mut names: Vec<(OsString, FileType)> = names.collect();
    order::sort_by(&mut names, |(one, _), (other, _)| one.cmp(other));
    names
}

/// What a repository has programs do, in a line that is another one when that is.
fn content(home: &Path, inner: &Path) -> String {
    let work = home.join(WORK_FOLDER);
    let path = work.join(inner);
    if let Ok(target) = fs::read_link(&path) {
        return format!("git does what {} says, where this leads", target.display());
    }
    let mut all = Vec::new();
    let mut add = |name: &Path| {
        all.extend_from_slice(name.as_os_str().as_encoded_bytes());
        all.push(0);
        if let Ok(file) = open_beneath(&work, &inner.join(name)) {
            // As far as it can be read.
            file.take(FILE_BYTES_MAX).read_to_end(&mut all).ok();
        }
        all.push(0);
    };
    // A file names a folder that lies elsewhere.
    add(Path::new(""));
    SETTINGS.iter().for_each(|name| add(Path::new(name)));
    for (name, _) in names_in(&path.join(HOOKS), HOOKS_MAX) {
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
        assert_eq!(set_aside_others(home, &[]).unwrap().len(), 2);
        assert_eq!(within(home), []);
    }
}
