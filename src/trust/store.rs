//! The owner's record of what was granted, outside of every workspace.
//!
//! ```text
//! $XDG_STATE_HOME/duragent/trust/<workspace id>.yaml              what is granted to which folders
//!                                <workspace id>/ada.policy.yaml   what was allowed to ada for good
//! ```
//!
//! Files are the owner's alone (0600, in folders 0700), whatever the umask, and are replaced as a
//! whole. Whoever changes one holds the lock beside them, from reading it to the end.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tempfile::NamedTempFile;

use crate::base::digest::sha256;
use crate::base::file_lock::FileLock;
use crate::base::text::{self, TextError};
use crate::base::yaml::{self, TEXT_BYTES_MAX, YamlError};
use crate::domain::ids::AgentName;
use crate::domain::trust::{RECORD_VERSION, Record};

const HEAD: &str =
    "# What you trust the agents of a workspace with. `duragent agent trust` writes it.\n";
/// How long another may have the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often a lock is tried that another has.
const LOCK_EVERY: Duration = Duration::from_millis(5);

/// Where the grants of one workspace are kept.
#[derive(Debug, Clone)]
pub struct Store {
    place: Result<Place, Missing>,
}

#[derive(Debug, Clone)]
struct Place {
    /// `…/duragent/trust`.
    folder: PathBuf,
    /// The workspace's real path.
    workspace: PathBuf,
    /// Its random identifier.
    id: String,
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
pub enum StoreError {
    /// There is none.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("{} {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TextError,
    },
    /// It is not what was written.
    #[error("{} is no record of grants: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: YamlError,
    },
    /// It was written by a later version.
    #[error("{} is of a later version of the program", .0.display())]
    Later(PathBuf),
    /// Others could have written it.
    #[error("{} is not this account's alone, and may say what others want", .0.display())]
    NotOurs(PathBuf),
    /// Another process has it for too long.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder has no name that an agent could have.
    #[error("{} is no agent's folder", .0.display())]
    NoAgent(PathBuf),
}

impl Store {
    /// In the owner's state folder (`$XDG_STATE_HOME/duragent`), for the workspace with that
    /// identifier.
    pub fn new(ours: Option<&Path>, workspace: &Path, id: Option<String>) -> Store {
        let place = || {
            let ours = ours.ok_or(Missing::Home)?;
            let workspace = workspace.canonicalize();
            Ok(Place {
                folder: ours.join("trust"),
                workspace: workspace.map_err(|_| Missing::Workspace)?,
                id: id.ok_or(Missing::Workspace)?,
            })
        };
        Store { place: place() }
    }

    /// What was granted; `None` when nothing ever was.
    pub fn read(&self) -> Result<Option<Record>, StoreError> {
        match &self.place {
            Ok(place) => Ok(place.read()?.1),
            Err(Missing::Workspace) => Ok(None),
            Err(missing @ Missing::Home) => Err((*missing).into()),
        }
    }

    /// Changes what was granted to an agent. `edit` returns whether it is another folder's from now
    /// on: what was allowed to the one before it is forgotten. Returns the file for what is allowed
    /// for good.
    pub fn change(
        &self,
        name: &AgentName,
        edit: impl FnOnce(&mut Record) -> bool,
    ) -> Result<PathBuf, StoreError> {
        let place = self.place.as_ref().map_err(|missing| *missing)?;
        let _lock = place.lock()?;
        let (path, record) = place.read()?;
        let mut record = record.unwrap_or_else(|| Record::new(place.workspace.clone()));
        let policies = path.with_extension("");
        create_private(&policies)?;
        let policy = policy_in(&policies, name);
        if edit(&mut record) {
            // Before the record: what is left of a crash must not count for the new folder.
            remove(&policy)?;
        }
        write_record(&path, &record)?;
        Ok(policy)
    }

    /// Writes a record if there is none, so that it is known that its owner was asked.
    pub fn begin(&self) -> Result<(), StoreError> {
        let place = self.place.as_ref().map_err(|missing| *missing)?;
        let _lock = place.lock()?;
        let (path, record) = place.read()?;
        if record.is_some() {
            return Ok(());
        }
        write_record(&path, &Record::new(place.workspace.clone()))
    }

    /// The file for what is allowed to an agent for good, if there could be one.
    pub fn policy_file(&self, name: &AgentName) -> Option<PathBuf> {
        let place = self.place.as_ref().ok()?;
        let (path, _) = place.read().ok()?;
        Some(policy_in(&path.with_extension(""), name))
    }
}

impl Place {
    /// The file, and what is in it. The identifier may be that of several workspaces, when one was
    /// copied: then the others' files bear a name of their own.
    fn read(&self) -> Result<(PathBuf, Option<Record>), StoreError> {
        let path = self.folder.join(format!("{}.yaml", self.id));
        match read_record(&path)? {
            Some(record) if record.workspace != self.workspace => {}
            found => return Ok((path, found)),
        }
        let real = self.workspace.as_os_str().as_encoded_bytes();
        let path = self
            .folder
            .join(format!("{}-{}.yaml", self.id, &sha256(real)[..16]));
        let found = read_record(&path)?.filter(|record| record.workspace == self.workspace);
        Ok((path, found))
    }

    /// Keeps others from changing anything; the folder exists then.
    fn lock(&self) -> Result<FileLock, StoreError> {
        let ours = self.folder.parent().unwrap_or(&self.folder);
        let states = ours.parent().unwrap_or(ours);
        let mut all = DirBuilder::new();
        let made = all.recursive(true).mode(0o700).create(states);
        made.map_err(failed("create", states))?;
        create_private(ours)?;
        create_private(&self.folder)?;
        let path = self.folder.join(".lock");
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match FileLock::try_take(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOCK_EVERY),
                Ok(None) => return Err(StoreError::InUse(path)),
                Err(source) => return Err(failed("lock", &path)(source)),
            }
        }
    }
}

fn policy_in(folder: &Path, name: &AgentName) -> PathBuf {
    folder.join(format!("{name}.policy.yaml"))
}

fn read_record(path: &Path) -> Result<Option<Record>, StoreError> {
    let unreadable = |source| StoreError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match text::open(path) {
        Err(TextError::Missing) => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let about = file.metadata().map_err(failed("look at", path))?;
    let is_ours = about.uid() == geteuid().as_raw() || about.uid() == 0;
    if !is_ours || about.mode() & 0o022 != 0 {
        return Err(StoreError::NotOurs(path.to_owned()));
    }
    let text = text::read_open(file, TEXT_BYTES_MAX).map_err(unreadable)?;
    let record: Record = yaml::from_str(&text).map_err(|source| StoreError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    match record.version <= RECORD_VERSION {
        true => Ok(Some(record)),
        false => Err(StoreError::Later(path.to_owned())),
    }
}

fn write_record(path: &Path, record: &Record) -> Result<(), StoreError> {
    let text = yaml::to_string(record).map_err(|source| StoreError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    replace(path, format!("{HEAD}{text}").as_bytes())
}

/// Makes a folder for its owner alone, whatever the umask; the one above it exists.
fn create_private(folder: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(failed("create", folder))?,
    }
    let about = fs::metadata(folder).map_err(failed("look at", folder))?;
    if about.mode() & 0o777 != 0o700 {
        let private = fs::set_permissions(folder, Permissions::from_mode(0o700));
        private.map_err(failed("close to others", folder))?;
    }
    Ok(())
}

/// Replaces a file as a whole, with one that only its owner may read.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let written = || -> io::Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        fs::set_permissions(file.path(), Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    written().map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}
