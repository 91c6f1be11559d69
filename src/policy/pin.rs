//! What a tool runs, told apart by its content.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::sha256_of;
use crate::base::lock::lock;
use crate::base::order;
use crate::base::text::{self, TextError};
use crate::domain::glob::Glob;
use crate::domain::trust::{Kind, Part};

/// What a tool runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The tool's name.
    pub tool: String,
    /// Its command, as its agent's file or folder says.
    pub line: String,
    /// Its program, unless that is one of the system's.
    pub own: Option<PathBuf>,
    /// What its arguments name, where that is a file: it may become one at any time.
    pub named: Vec<PathBuf>,
    /// The same of the words of its script. Each part of such a path may be a glob.
    pub globs: Vec<PathBuf>,
    /// Whether it came with the agent's folder, and not with the workspace.
    pub is_agents: bool,
}

impl Pin {
    /// The part of a folder that it is now.
    pub fn part(&self, digests: &Digests) -> Part {
        let mut content = self.line.clone();
        let mut looks = LOOKS_MAX;
        let named = self.named.iter().filter(|path| path.is_file()).cloned();
        let mut files: Vec<PathBuf> = self.own.iter().cloned().chain(named).collect();
        for path in &self.globs {
            files.extend(files_of(path, &mut looks));
        }
        if looks == 0 {
            // Others may be among them next time: what is never the same is asked about each time.
            content.push_str(&format!(" (too many files, {:016x})", fastrand::u64(..)));
            files.clear();
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

/// So many entries of folders are looked at for what a tool names.
const LOOKS_MAX: usize = 10_000;

/// The files that a path with globs names; the path itself is one, whatever letters it is made of.
fn files_of(path: &Path, looks: &mut usize) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in path {
        let folders = found.iter();
        found = match Glob::wider_than_a_shells(&part.to_string_lossy()) {
            None => folders.map(|folder| folder.join(part)).collect(),
            Some(glob) => folders
                .flat_map(|folder| entries(folder, &glob, looks))
                .collect(),
        };
    }
    found.push(path.to_owned());
    order::sort(&mut found);
    found.dedup();
    found.retain(|path| path.is_file());
    found
}

fn entries(folder: &Path, glob: &Glob, looks: &mut usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        *looks = looks.saturating_sub(1);
        if *looks == 0 {
            break;
        }
        if glob.fits(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found
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
            globs: vec![at("*/*.sh")],
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
    fn another_content_is_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run");
        let pin = Pin {
            tool: "sync".to_owned(),
            line: "bin/sync".to_owned(),
            own: Some(file.clone()),
            named: Vec::new(),
            globs: Vec::new(),
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
            globs: Vec::new(),
            is_agents: true,
        };
        let digests = Digests::default();
        let none = pin.part(&digests);
        assert_eq!(none.content, pin.line);
        fs::write(&file, "abc").unwrap();
        assert_ne!(pin.part(&digests), none);
    }
}
