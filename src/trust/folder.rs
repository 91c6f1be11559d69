//! The folder of an agent, and reading files in it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::order;
use crate::base::text::{self, TextError};
use crate::domain::trust::{self, Brought, Granted, Kind, Part};
use crate::trust::WorkspaceTrust;

/// The folder of an agent, while its files are read.
#[derive(Debug)]
pub struct AgentFolder<'a> {
    trust: &'a WorkspaceTrust,
    name: String,
    /// Without links on the way; `None` when that cannot be told.
    place: Option<PathBuf>,
    granted: Granted,
    brought: RefCell<Vec<Brought>>,
}

/// Why a file in the folder of an agent is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// As with any file.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It lies elsewhere, and no trust changes that.
    #[error(
        "leads to {}, which is outside of the agent's folder and of the one that holds the workspace",
        .0.display()
    )]
    Elsewhere(PathBuf),
    /// It lies elsewhere.
    #[error("leads to {}, which is outside of the agent's folder and counts only with trust: {mend}", target.display())]
    Untrusted {
        /// Where.
        target: PathBuf,
        /// What to do.
        mend: String,
    },
    /// It may be a file from anywhere.
    #[error("has other names elsewhere (hard links) and counts only with trust: {mend}")]
    Shared {
        /// What to do.
        mend: String,
    },
    /// The system does not tell where it lies.
    #[error("lies nobody knows where")]
    Unknown,
}

impl<'a> AgentFolder<'a> {
    /// The folder `home`.
    pub fn new(trust: &'a WorkspaceTrust, home: &Path) -> AgentFolder<'a> {
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        AgentFolder {
            trust,
            name: name.into_owned(),
            place: home.canonicalize().ok(),
            granted: trust.granted(home),
            brought: RefCell::default(),
        }
    }

    /// Where it lies, without links on the way; `None` when that cannot be told.
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// The owner's grants for this very folder: a copy of it, or another in its place, has none.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// The command that makes count what does not, as messages show it.
    pub fn mend(&self) -> String {
        trust::mend(&self.name)
    }

    pub(super) fn is_known_address(&self, url: &str) -> bool {
        (self.trust.is_known_address)(url)
    }

    /// Notes what it brings.
    pub fn bring(&self, parts: Vec<Brought>) {
        self.brought.borrow_mut().extend(parts);
    }

    /// Says of a value that is not there whether it was left out for want of trust, so that a message does
    /// not call it missing.
    pub fn waits_for_trust(&self, kind: Kind, key: &str) -> bool {
        let is_it = |one: &&Brought| one.part.kind == kind && one.part.place.ends_with(key);
        let brought = self.brought.borrow();
        let found = brought.iter().find(is_it);
        found.is_some_and(|one| one.needs_trust && !self.granted.counts(&one.part))
    }

    /// The parts of the folder, as far as it was read, sorted and each once.
    pub fn brought(self) -> Vec<Brought> {
        let mut brought = self.brought.into_inner();
        order::sort(&mut brought);
        brought.dedup();
        brought
    }

    /// Reads a file of it.
    ///
    /// Errors: as [`text::read`]; it lies elsewhere, by a link or by its path, and may not.
    pub fn read(&self, path: &Path, bytes_max: usize) -> Result<String, ReadError> {
        let file = text::open(path)?;
        self.check_file(&file)?;
        Ok(text::read_open(file, bytes_max)?)
    }

    /// Judges the open file, not its name, which may stand for something else by now.
    fn check_file(&self, file: &File) -> Result<(), ReadError> {
        let place = text::place_of(file).map_err(TextError::from)?;
        if !self.is_inside(&place)? {
            return self.check_elsewhere(place);
        }
        let names = file.metadata().map_err(TextError::from)?.nlink();
        // An owner who trusts the folder may have made a backup of it that shares its files.
        if names < 2 || self.granted != Granted::Nothing {
            return Ok(());
        }
        self.bring_file(&place);
        Err(ReadError::Shared { mend: self.mend() })
    }

    /// Where a folder of it really lies, for who looks into it.
    ///
    /// Errors: as [`read`](Self::read).
    pub fn check_folder(&self, path: &Path) -> Result<PathBuf, ReadError> {
        let place = fs::canonicalize(path).map_err(TextError::from)?;
        if !self.is_inside(&place)? {
            self.check_elsewhere(place.clone())?;
        }
        Ok(place)
    }

    fn is_inside(&self, place: &Path) -> Result<bool, ReadError> {
        let home = self.place.as_ref().ok_or(ReadError::Unknown)?;
        Ok(place.starts_with(home))
    }

    fn check_elsewhere(&self, place: PathBuf) -> Result<(), ReadError> {
        let reach = self.trust.reach.as_ref();
        if !reach.is_some_and(|reach| place.starts_with(reach)) {
            return Err(ReadError::Elsewhere(place));
        }
        if self.granted.counts(&self.bring_file(&place)) {
            Ok(())
        } else {
            Err(ReadError::Untrusted {
                target: place,
                mend: self.mend(),
            })
        }
    }

    fn bring_file(&self, place: &Path) -> Part {
        let part = Part {
            kind: Kind::File,
            place: String::new(),
            content: place.display().to_string(),
        };
        self.bring(vec![Brought {
            part: part.clone(),
            needs_trust: true,
        }]);
        part
    }
}
