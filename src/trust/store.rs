//! The owner's record of what was granted, outside of every workspace.
//!
//! ```text
//! $XDG_STATE_HOME/duragent/trust/<workspace id>.yaml              what is granted to which folders
//!                                <workspace id>/ada.policy.yaml   what was allowed to ada for good
//!                                <workspace id>-<path>/gateways.yaml   who was admitted to which agent
//! ```
//!
//! All are documents; here they are files, the owner's alone (0600, in folders 0700).
//!
//! Invariant: what others could have written grants nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::digest::sha256;
use crate::base::yaml::{self, YamlError};
use crate::domain::ids::AgentName;
use crate::domain::trust::{GrantRecord, RECORD_VERSION};
use crate::store::documents::{DocumentError, DocumentName, Documents, Exposure, VersionedText};

const HEAD: &str =
    "# What you trust the agents of a workspace with. `duragent agent trust` writes it.\n";
const NOT_OURS: &str = "is not this account's alone, and may say what others want";
/// How long other processes may be quicker.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is tried again.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// Makes of a text, and of where it stands, what is to stand there; `None` leaves it as it is.
pub type EditText<'a> = dyn Fn(&Path, Option<&str>) -> Result<Option<String>, EditError> + 'a;

/// Why a text cannot be added to, as whoever edits it says it.
pub type EditError = Box<dyn std::error::Error + Send + Sync>;

/// Where the grants of one workspace are kept.
#[derive(Debug, Clone)]
pub struct GrantStore {
    records: Result<WorkspaceRecords, Missing>,
}

#[derive(Debug, Clone)]
struct WorkspaceRecords {
    documents: Arc<dyn Documents>,
    /// The workspace's real path.
    workspace: PathBuf,
    /// Its random identifier.
    id: String,
}

/// What the documents of a workspace are called.
struct RecordNames {
    stem: String,
}

/// Why nothing can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The account has no home, and no variable names another place.
    #[error("there is no place for what you grant: set HOME or XDG_STATE_HOME")]
    Home,
    /// The workspace has no identifier yet, or does not exist.
    #[error("the workspace is not there yet")]
    Workspace,
}

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// There is none.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It cannot be read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is not what was written.
    #[error("{location} is no record of grants: {source}")]
    Damaged {
        /// The record, as its owner finds it.
        location: String,
        /// What is wrong.
        source: YamlError,
    },
    /// It was written by a later version.
    #[error("{0} is of a later version of the program")]
    Later(String),
    /// Others could have written it.
    #[error("{0} {NOT_OURS}")]
    NotOurs(String),
    /// Other processes change it for too long.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The folder has no name that an agent could have.
    #[error("{} is no agent's folder", .0.display())]
    NoAgent(PathBuf),
    /// The folder of the agent cannot be told from others.
    #[error("cannot look at {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The edit of what was allowed for good refused: its text is no policy that could be added to.
    #[error("{location}: {why}")]
    Rules {
        /// The file, as its owner finds it.
        location: String,
        /// Why not.
        why: EditError,
    },
}

impl GrantError {
    /// To read it again may go well: it says nothing of what is in the record.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            GrantError::Document(error) => {
                error.is_passing() || matches!(error, DocumentError::Io { .. })
            }
            GrantError::InUse(_) => true,
            GrantError::Missing(_)
            | GrantError::Damaged { .. }
            | GrantError::Later(_)
            | GrantError::NotOurs(_)
            | GrantError::NoAgent(_)
            | GrantError::Folder { .. }
            | GrantError::Rules { .. } => false,
        }
    }

    /// The error as a path and a text without it, for a list of problems by file; an empty path
    /// where it is about none.
    pub fn told_of(&self) -> (PathBuf, String) {
        match self {
            GrantError::Document(DocumentError::Unreadable { location, source }) => {
                (PathBuf::from(location), source.to_string())
            }
            GrantError::Document(DocumentError::Io {
                location, source, ..
            }) => (PathBuf::from(location), format!("cannot be read: {source}")),
            GrantError::NotOurs(location) => (PathBuf::from(location), NOT_OURS.to_owned()),
            other => (PathBuf::new(), other.to_string()),
        }
    }
}

impl GrantStore {
    /// In the documents of the account, if it has a place for them, for the workspace with that
    /// identifier.
    pub fn new(
        documents: Option<Arc<dyn Documents>>,
        workspace: &Path,
        id: Option<String>,
    ) -> GrantStore {
        let records = || {
            let documents = documents.ok_or(Missing::Home)?;
            let workspace = workspace.canonicalize();
            Ok(WorkspaceRecords {
                documents,
                workspace: workspace.map_err(|_| Missing::Workspace)?,
                id: id.ok_or(Missing::Workspace)?,
            })
        };
        GrantStore { records: records() }
    }

    /// The record of the workspace; `None` when nothing ever was granted.
    ///
    /// Errors: [`GrantError`], as where a record is there and cannot be read: it must not pass for
    /// one that grants nothing.
    pub fn read(&self) -> Result<Option<GrantRecord>, GrantError> {
        match &self.records {
            Ok(records) => Ok(records.read()?.1),
            Err(Missing::Workspace) => Ok(None),
            Err(missing @ Missing::Home) => Err((*missing).into()),
        }
    }

    /// Changes what was granted to an agent. `edit` returns whether it is another folder's from now
    /// on: what was allowed to the one before it is forgotten. It is called again on what another
    /// process has made of the record meanwhile.
    pub fn change(
        &self,
        name: &AgentName,
        edit: impl Fn(&mut GrantRecord) -> bool,
    ) -> Result<(), GrantError> {
        let records = self.records()?;
        let names = records.read()?.0;
        records.update(&names, |record| {
            let mut record = record.unwrap_or_else(|| GrantRecord::new(records.workspace.clone()));
            if edit(&mut record) {
                // Before the record: what is left of a crash must not count for the new folder.
                records.delete(&names.policy(name)?)?;
            }
            Ok(Some(record))
        })
    }

    /// Writes a record if there is none, so that it is known that its owner was asked.
    pub fn begin(&self) -> Result<(), GrantError> {
        let records = self.records()?;
        let names = records.read()?.0;
        records.update(&names, |record| match record {
            Some(_) => Ok(None),
            None => Ok(Some(GrantRecord::new(records.workspace.clone()))),
        })
    }

    /// The policy that "allow always" wrote for an agent, with the place where it stands; `None` if
    /// nothing was allowed.
    pub fn policy(&self, name: &AgentName) -> Result<Option<(PathBuf, String)>, GrantError> {
        let records = self.records()?;
        let document = records.read()?.0.policy(name)?;
        let Some(found) = records.documents.read(&document)? else {
            return Ok(None);
        };
        let path = records.path(&document);
        check_ours(&found, || path.display().to_string())?;
        Ok(Some((path, found.text)))
    }

    /// Replaces what was allowed to an agent for good by what `edit` makes of it; `None` leaves it as
    /// it is. `edit` is told where it stands.
    ///
    /// Errors: those of `edit` as [`GrantError::Rules`].
    pub fn edit_policy(&self, name: &AgentName, edit: &EditText<'_>) -> Result<(), GrantError> {
        let records = self.records()?;
        let document = records.read()?.0.policy(name)?;
        records.edit(&document, edit)
    }

    /// Whom the owner admitted by gateways, with the place where it stands; `None` if nobody ever was.
    pub(super) fn admissions(&self) -> Result<Option<(String, String)>, GrantError> {
        let records = match &self.records {
            Err(Missing::Workspace) => return Ok(None),
            _ => self.records()?,
        };
        let document = records.own_names().admissions()?;
        let Some(found) = records.documents.read(&document)? else {
            return Ok(None);
        };
        let location = records.documents.location(&document);
        check_ours(&found, || location.clone())?;
        Ok(Some((location, found.text)))
    }

    /// As [`edit_policy`](GrantStore::edit_policy), for whom the owner admitted by gateways.
    pub(super) fn edit_admissions(&self, edit: &EditText<'_>) -> Result<(), GrantError> {
        let records = self.records()?;
        let document = records.own_names().admissions()?;
        records.edit(&document, edit)
    }

    fn records(&self) -> Result<&WorkspaceRecords, GrantError> {
        Ok(self.records.as_ref().map_err(|missing| *missing)?)
    }
}

impl WorkspaceRecords {
    /// The record of the workspace, and what its documents are called. The identifier may be that of
    /// several workspaces, when one was copied: then the others' documents bear a name of their own.
    fn read(&self) -> Result<(RecordNames, Option<GrantRecord>), GrantError> {
        let names = RecordNames {
            stem: self.id.clone(),
        };
        match self.record_of(&names)? {
            Some(record) if record.workspace != self.workspace => {}
            found => return Ok((names, found)),
        }
        let names = self.own_names();
        let found = self.record_of(&names)?;
        let found = found.filter(|record| record.workspace == self.workspace);
        Ok((names, found))
    }

    /// Names that are those of no copy of the workspace.
    fn own_names(&self) -> RecordNames {
        let real = self.workspace.as_os_str().as_encoded_bytes();
        RecordNames {
            stem: format!("{}-{}", self.id, &sha256(real)[..16]),
        }
    }

    fn record_of(&self, names: &RecordNames) -> Result<Option<GrantRecord>, GrantError> {
        let name = names.record()?;
        let found = self.documents.read(&name)?;
        let location = || self.documents.location(&name);
        found
            .map(|found| parse_record(&found, location))
            .transpose()
    }

    /// Replaces the record by what `edit` makes of it.
    fn update(
        &self,
        names: &RecordNames,
        edit: impl Fn(Option<GrantRecord>) -> Result<Option<GrantRecord>, GrantError>,
    ) -> Result<(), GrantError> {
        let name = names.record()?;
        let location = || self.documents.location(&name);
        let edited = |before: Option<&VersionedText>| {
            let before = before.map(|before| parse_record(before, location));
            let before = before.transpose()?;
            let is_ours = |record: &GrantRecord| record.workspace == self.workspace;
            if names.stem == self.id && !before.as_ref().is_none_or(is_ours) {
                // One with the same identifier came just now: its record is not ours to replace.
                return Err(GrantError::InUse(location()));
            }
            let record = edit(before.filter(is_ours))?;
            record
                .map(|record| write_record(&record, location))
                .transpose()
        };
        let patience = Patience::new();
        let failed = |error| patience.wait_or_fail(error);
        self.documents.update(&name, edited, failed)
    }

    /// Replaces a text by what `edit` makes of it.
    fn edit(&self, document: &DocumentName, edit: &EditText<'_>) -> Result<(), GrantError> {
        let path = self.path(document);
        let edited = |before: Option<&VersionedText>| {
            if let Some(before) = before {
                // Written again, it would be ours alone.
                check_ours(before, || path.display().to_string())?;
            }
            let before = before.map(|before| before.text.as_str());
            edit(&path, before).map_err(|why| GrantError::Rules {
                location: path.display().to_string(),
                why,
            })
        };
        let patience = Patience::new();
        let failed = |error| patience.wait_or_fail(error);
        self.documents.update(document, edited, failed)
    }

    fn delete(&self, name: &DocumentName) -> Result<(), GrantError> {
        let patience = Patience::new();
        while let Err(error) = self.documents.delete(name) {
            patience.wait_or_fail(error)?;
        }
        Ok(())
    }

    fn path(&self, name: &DocumentName) -> PathBuf {
        PathBuf::from(self.documents.location(name))
    }
}

impl RecordNames {
    fn record(&self) -> Result<DocumentName, DocumentError> {
        DocumentName::parse(format!("{}.yaml", self.stem))
    }

    fn policy(&self, name: &AgentName) -> Result<DocumentName, DocumentError> {
        DocumentName::parse(format!("{}/{name}.policy.yaml", self.stem))
    }

    fn admissions(&self) -> Result<DocumentName, DocumentError> {
        DocumentName::parse(format!("{}/gateways.yaml", self.stem))
    }
}

/// How long it is tried while others write.
struct Patience {
    deadline: Instant,
}

impl Patience {
    fn new() -> Patience {
        Patience {
            deadline: Instant::now() + PATIENCE,
        }
    }

    fn wait_or_fail(&self, error: DocumentError) -> Result<(), GrantError> {
        if !error.is_passing() {
            return Err(error.into());
        }
        if Instant::now() >= self.deadline {
            return Err(GrantError::InUse(match error {
                DocumentError::Busy(location) => location,
                other => other.to_string(),
            }));
        }
        thread::sleep(TRY_EVERY);
        Ok(())
    }
}

fn check_ours(found: &VersionedText, location: impl Fn() -> String) -> Result<(), GrantError> {
    if found.exposure == Exposure::Writable {
        return Err(GrantError::NotOurs(location()));
    }
    Ok(())
}

fn parse_record(
    found: &VersionedText,
    location: impl Fn() -> String,
) -> Result<GrantRecord, GrantError> {
    check_ours(found, &location)?;
    let record: GrantRecord =
        yaml::from_str(&found.text).map_err(|source| GrantError::Damaged {
            location: location(),
            source,
        })?;
    if record.version > RECORD_VERSION {
        return Err(GrantError::Later(location()));
    }
    Ok(record)
}

fn write_record(record: &GrantRecord, location: impl Fn() -> String) -> Result<String, GrantError> {
    let text = yaml::to_string(record).map_err(|source| GrantError::Damaged {
        location: location(),
        source,
    })?;
    Ok(format!("{HEAD}{text}"))
}
