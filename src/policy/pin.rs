//! What a tool runs, told apart by its content.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::sha256_of;
use crate::base::lock::lock;
use crate::base::text::{self, TextError};
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
    /// Whether it came with the agent's folder, and not with the workspace.
    pub is_agents: bool,
}

impl Pin {
    /// The part of a folder that it is now.
    pub fn part(&self, digests: &Digests) -> Part {
        let mut content = self.line.clone();
        let named = self.named.iter().filter(|path| path.is_file());
        for file in self.own.iter().chain(named) {
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
    use std::fs;

    use super::*;

    #[test]
    fn another_content_is_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run");
        let pin = Pin {
            tool: "sync".to_owned(),
            line: "bin/sync".to_owned(),
            own: Some(file.clone()),
            named: Vec::new(),
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
            is_agents: true,
        };
        let digests = Digests::default();
        let none = pin.part(&digests);
        assert_eq!(none.content, pin.line);
        fs::write(&file, "abc").unwrap();
        assert_ne!(pin.part(&digests), none);
    }
}
