//! The owner's own `config.yaml`, which lies outside of every workspace.
//!
//! Invariant: what others could have written is not read, and says nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use crate::base::text::{self, TextError};
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{self, At, FromYaml, Report, section};

section! {
    /// The whole file.
    guarded section OwnerFile {
        "agents" => agents: Agents,
    }
}

section! {
    /// `agents`.
    guarded section Agents {
        "trust" => trust: String,
    }
}

/// The settings that hold in all workspaces of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerConfig {
    /// All agents are trusted with all that they bring: `agents.trust: all`.
    pub trusts_all: bool,
}

/// Every key that the file may have.
pub fn keys() -> Vec<String> {
    let mut found = Vec::new();
    OwnerFile::keys("", &mut found);
    found
}

impl OwnerConfig {
    /// Reads the file at `path`; one that is not there says nothing.
    ///
    /// Errors: all that is wrong with it.
    pub fn read(path: &Path) -> Result<OwnerConfig, Vec<Problem>> {
        let failed = |error: TextError| vec![Problem::of_file(path, error.to_string())];
        let file = match text::open(path) {
            Err(TextError::Missing) => return Ok(OwnerConfig::default()),
            opened => opened.map_err(failed)?,
        };
        let about = file.metadata().map_err(|error| failed(error.into()))?;
        let is_ours = about.uid() == geteuid().as_raw() || about.uid() == 0;
        if !is_ours || about.mode() & 0o022 != 0 {
            let message = "is not this account's alone, and may say what others want";
            return Err(vec![Problem::of_file(path, message)]);
        }
        let text = text::read_open(file, TEXT_BYTES_MAX).map_err(failed)?;
        let mut report = Report::new(Level::Error);
        let (document, read) = read::read_document(text, path, &|_| None, &mut report)
            .map_err(|problem| vec![problem])?;
        let owner = read.map(|at| checked(at, &mut report));
        match owner.filter(|_| !report.has_errors()) {
            Some(owner) => Ok(owner),
            None => Err(report.finish(&document, path)),
        }
    }
}

fn checked(file: At<OwnerFile>, report: &mut Report) -> OwnerConfig {
    let agents = file.value.agents.map(|at| at.value).unwrap_or_default();
    let words = [("all", true), ("ask", false)];
    OwnerConfig {
        trusts_all: report.choice_or(agents.trust, &words, false),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_the_owner_alone_could_write_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let read = || OwnerConfig::read(&path).map_err(|found| found[0].message.clone());
        let trusts_all = |trusts_all| Ok(OwnerConfig { trusts_all });
        assert_eq!(read(), trusts_all(false));
        for (text, expected) in [
            ("", trusts_all(false)),
            ("agents:\n  trust: ask\n", trusts_all(false)),
            ("agents:\n  trust: all\n", trusts_all(true)),
            (
                "agents:\n  trust: al\n",
                Err("`agents.trust` must be one of `all`, `ask`, not `al`".to_owned()),
            ),
            (
                "agents:\n  trusts: all\n",
                Err("unknown key `agents.trusts`".to_owned()),
            ),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(), expected, "{text}");
        }
        fs::write(&path, "agents:\n  trust: all\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = read().unwrap_err();
        assert!(refused.contains("not this account's alone"), "{refused}");
    }
}
