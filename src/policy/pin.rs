//! What a tool runs, told apart by its content.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::sha256_of;
use crate::base::lock::lock;
use crate::base::text::{self, TextError};
use crate::domain::glob::Glob;
use crate::domain::trust::{Kind, Part};

/// The files that a tool runs: its rules were given to their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The tool's name.
    pub tool: String,
    /// Its command, as its agent's file or folder says.
    pub line: String,
    /// Its program, unless that is one of the system's.
    pub own: Option<PathBuf>,
    /// The words of its arguments that name a file, or may at any time.
    pub named: Vec<PathBuf>,
    /// The files that its script names, where its command is one: their contents count like the
    /// program's.
    pub script: Option<NamedFiles>,
    /// True if it came with the agent's folder, and not with the workspace.
    pub is_agents: bool,
}

impl Pin {
    /// The part of a folder that it is now.
    pub fn part(&self, digests: &Digests) -> Part {
        let mut content = self.line.clone();
        let named = self.named.iter().filter(|path| path.is_file()).cloned();
        let mut files: Vec<PathBuf> = self.own.iter().cloned().chain(named).collect();
        match self.script.as_ref().map(NamedFiles::files) {
            None => {}
            Some(Some(named)) => files.extend(named),
            Some(None) => {
                // Others may be among them next time: what is never the same is asked about each time.
                content.push_str(&format!(
                    " (what it runs is not known, {:016x})",
                    fastrand::u64(..)
                ));
                files.clear();
            }
        }
        for file in &files {
            let digest = match digests.of(file) {
                Ok(digest) => format!("sha256:{digest}"),
                // No later content is the same as none.
                Err(error) => format!("({error})"),
            };
            content.push_str(&format!(" {digest}"));
        }
        Part {
            kind: Kind::Program,
            place: self.tool.clone(),
            content,
        }
    }
}

/// So many places are looked at for what a script names.
const LOOKS_MAX: usize = 10_000;

/// The words of a script that may name files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFiles {
    /// Where it starts.
    pub cwd: PathBuf,
    /// The words. Each part of such a path may be a glob.
    pub words: BTreeSet<String>,
    /// True if it may go to a folder that a word names: all words are meant from there, too.
    pub moves: bool,
    /// False where a word cannot be told: then no file can.
    pub is_whole: bool,
}

impl NamedFiles {
    /// The files that are there now; `None` where they cannot be told.
    pub fn files(&self) -> Option<BTreeSet<PathBuf>> {
        if !self.is_whole {
            return None;
        }
        let mut looks = LOOKS_MAX;
        let mut found = BTreeSet::new();
        let mut folders = vec![self.cwd.clone()];
        let mut known = BTreeSet::from([self.cwd.clone()]);
        while let Some(folder) = folders.pop() {
            for word in &self.words {
                for path in fitting(&place(&folder, word), &mut looks)? {
                    if path.is_file() {
                        found.insert(path);
                    } else if self.moves && path.is_dir() && known.insert(path.clone()) {
                        folders.push(path);
                    }
                }
            }
        }
        Some(found)
    }
}

/// The path of a name, without `.` and `..`: what is mounted has none.
pub fn place(folder: &Path, name: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in folder.join(name).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// What a path with globs fits, and the path itself, whatever letters it is made of; `None` once too
/// much was looked at.
fn fitting(path: &Path, looks: &mut usize) -> Option<Vec<PathBuf>> {
    *looks = looks.checked_sub(1)?;
    let mut found = vec![PathBuf::new()];
    for part in path {
        let folders = found.iter();
        found = match Glob::wider_than_a_shells(&part.to_string_lossy()) {
            None => folders.map(|folder| folder.join(part)).collect(),
            Some(glob) => {
                let mut fit = Vec::new();
                for folder in folders {
                    fit.extend(entries(folder, &glob, looks)?);
                }
                fit
            }
        };
    }
    found.push(path.to_owned());
    Some(found)
}

fn entries(folder: &Path, glob: &Glob, looks: &mut usize) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        *looks = looks.checked_sub(1)?;
        if glob.fits(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Some(found)
}

/// The digests of files, each made once until the file is another one.
#[derive(Debug, Default)]
pub struct Digests(Mutex<HashMap<PathBuf, (Stamp, String)>>);

/// What changes with every change of a file; `ctime` cannot be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    changed_at: (i64, i64),
}

impl Digests {
    fn of(&self, path: &Path) -> Result<String, TextError> {
        let file = text::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        if let Some((known, digest)) = lock(&self.0).get(path)
            && *known == stamp
        {
            return Ok(digest.clone());
        }
        let digest = sha256_of(&file)?;
        // One that was written meanwhile is not kept.
        if Stamp::of(&file.metadata()?) != stamp {
            return Err(io::Error::other("it is being written").into());
        }
        lock(&self.0).insert(path.to_owned(), (stamp, digest.clone()));
        Ok(digest)
    }
}

impl Stamp {
    fn of(about: &Metadata) -> Stamp {
        Stamp {
            file: (about.dev(), about.ino()),
            len: about.len(),
            changed_at: (about.ctime(), about.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_glob_fits_is_told_apart_and_too_much_of_it_is_never_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("a")).unwrap();
        fs::write(at("a/x.sh"), "abc").unwrap();
        fs::write(at("a/x.txt"), "abc").unwrap();
        let pin = Pin {
            tool: "all".to_owned(),
            line: "cat */*.sh | sh".to_owned(),
            own: None,
            named: Vec::new(),
            script: Some(NamedFiles {
                cwd: folder.path().to_owned(),
                words: ["*/*.sh".to_owned()].into(),
                moves: false,
                is_whole: true,
            }),
            is_agents: true,
        };
        let digests = Digests::default();
        let one = pin.part(&digests);
        assert_eq!(one.content.matches("sha256:").count(), 1, "{one:?}");
        assert_eq!(pin.part(&digests), one);
        fs::write(at("a/y.sh"), "abc").unwrap();
        assert_ne!(pin.part(&digests), one);
        fs::create_dir(at("many")).unwrap();
        for n in 0..LOOKS_MAX {
            fs::write(at(&format!("many/{n}")), "").unwrap();
        }
        assert_ne!(pin.part(&digests), pin.part(&digests));
    }

    #[test]
    fn a_script_that_moves_names_files_of_where_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        for file in ["run", "a/run", "a/b/run", "a/b/else"] {
            fs::write(at(file), "").unwrap();
        }
        let names = |moves| NamedFiles {
            cwd: folder.path().to_owned(),
            words: ["a", "b", "..", "./run"].map(str::to_owned).into(),
            moves,
            is_whole: true,
        };
        let found = |moves| names(moves).files().unwrap();
        assert_eq!(found(false), [at("run")].into());
        let moved = found(true);
        assert!(
            ["run", "a/run", "a/b/run"]
                .iter()
                .all(|file| moved.contains(&at(file)))
        );
        assert!(!moved.contains(&at("a/b/else")));
        let unknown = NamedFiles {
            is_whole: false,
            ..names(true)
        };
        assert_eq!(unknown.files(), None);
    }

    #[test]
    fn a_place_has_no_dots() {
        assert_eq!(place(Path::new("/a/work"), "../x/./y"), Path::new("/a/x/y"));
        assert_eq!(place(Path::new("/a"), "/b"), Path::new("/b"));
    }

    #[test]
    fn another_content_is_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run");
        let pin = Pin {
            tool: "sync".to_owned(),
            line: "bin/sync".to_owned(),
            own: Some(file.clone()),
            named: Vec::new(),
            script: None,
            is_agents: true,
        };
        let digests = Digests::default();
        let none = pin.part(&digests);
        fs::write(&file, "abc").unwrap();
        let abc = pin.part(&digests);
        assert!(
            abc.content.starts_with("bin/sync sha256:ba7816bf"),
            "{abc:?}"
        );
        assert_ne!(none, abc);
        assert_eq!(pin.part(&digests), abc);
        fs::write(&file, "abd").unwrap();
        assert_ne!(pin.part(&digests), abc);
        fs::write(&file, "abc").unwrap();
        assert_eq!(pin.part(&digests), abc);
    }

    #[test]
    fn an_argument_that_becomes_a_file_makes_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.py");
        let pin = Pin {
            tool: "sync".to_owned(),
            line: "python3 \"run.py\"".to_owned(),
            own: None,
            named: vec![file.clone()],
            script: None,
            is_agents: true,
        };
        let digests = Digests::default();
        let none = pin.part(&digests);
        assert_eq!(none.content, pin.line);
        fs::write(&file, "abc").unwrap();
        assert_ne!(pin.part(&digests), none);
    }
}
