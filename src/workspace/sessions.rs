//! The sessions of a workspace without its server: on their files.
//!
//! Reading needs no lock, since logs only grow at their end. Whoever changes something is an
//! [`OwnedSessions`], which holds the workspace's lock: no server has it meanwhile.

pub use crate::store::file::repair::{LogReport, Mended, RepairError, SnapshotFit};
pub use crate::store::file::v05::import::{Import, ImportError};
pub use crate::store::lock::LockError;
pub use crate::store::{SessionFilter, StoreError};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::clock::SystemClock;
use crate::base::fs::RealFs;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::ranking::WordQuery;
use crate::domain::search::{FoundMessage, MessageSearch};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::engine::{
    Agent, Agents, EngineError, EngineSettings, Lifetimes, Parts, Sessions, WorkdirRules,
};
use crate::llm::providers::{ProviderSettings, Providers};
use crate::store::file::v05::import;
use crate::store::file::{FileMaintenance, FileStore};
use crate::store::{Listed, PageQuery, ReadLimit, SessionStore, search};
use crate::wire::RecordPageBody;
use crate::wire::SessionBody;
use crate::workspace::holder::{self, HeldWorkspace};
use crate::workspace::storage;

/// A page of a log: what is held in memory at a time, however long the log is.
const PAGE_BYTES: usize = 512 << 10;

/// The sessions of a workspace, for reading.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    workspace: PathBuf,
    sessions_dir: PathBuf,
    store: Arc<dyn SessionStore>,
    maintenance: Arc<FileMaintenance>,
}

/// The sessions of a workspace, for changing; the workspace is locked as long as this lives.
#[derive(Debug)]
pub struct OwnedSessions {
    files: SessionFiles,
    _lock: HeldWorkspace,
}

/// Why something was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The engine refused, or could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine could not be started.
    #[error("cannot start the engine")]
    Start(#[source] std::io::Error),
}

impl SessionFiles {
    /// The sessions in `sessions_dir`, which belong to `workspace`; touches no file.
    pub fn new(workspace: &Path, sessions_dir: &Path) -> SessionFiles {
        let files =
            FileStore::with_sessions_in(Arc::new(RealFs), workspace, sessions_dir.to_owned());
        SessionFiles {
            workspace: workspace.to_owned(),
            sessions_dir: sessions_dir.to_owned(),
            store: storage::sessions(Arc::new(RealFs), workspace, sessions_dir),
            maintenance: Arc::new(FileMaintenance::new(files)),
        }
    }

    /// All ids, newest first.
    pub fn ids(&self) -> Result<Vec<SessionId>, StoreError> {
        self.store.list(None, usize::MAX)
    }

    /// Sessions, newest first, at most `limit`. One that cannot be read is left out, with a warning.
    pub fn list(
        &self,
        filter: &SessionFilter,
        limit: usize,
    ) -> Result<Vec<SessionBody>, StoreError> {
        let mut sessions = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.page(&PageQuery {
                before,
                limit: limit - sessions.len(),
                filter: filter.clone(),
            })?;
            for Listed { id, found } in page.sessions {
                match found {
                    Ok(summary) => sessions.push(session_of(id, &summary)),
                    Err(error) => log::warn!("session {id} is not listed: {error}"),
                }
            }
            before = page.next;
            if before.is_none() || sessions.len() >= limit {
                return Ok(sessions);
            }
        }
    }

    /// The messages that fit best, as a server finds them for its owner.
    pub fn search(
        &self,
        text: &str,
        agent: Option<&str>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<FoundMessage>, StoreError> {
        let wanted = MessageSearch {
            query: &WordQuery::new(text),
            since,
            limit,
            asking: None,
            sees: &|_, summary| agent.is_none_or(|agent| summary.agent == agent),
            goes_on: &|| true,
        };
        search::search(&*self.store, &wanted)
    }

    /// One session.
    pub fn session(&self, id: &SessionId) -> Result<SessionBody, StoreError> {
        Ok(session_of(id.clone(), &self.store.summary(id)?))
    }

    /// The records after `after`, at most `limit`; as a server shows them.
    pub fn records(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<RecordPageBody, StoreError> {
        let limit = ReadLimit {
            records: limit,
            bytes: PAGE_BYTES,
        };
        let records = self.store.records(id, after.next(), limit)?;
        let next = records.last().map(|record| record.seq);
        Ok(RecordPageBody::new(records, next))
    }

    /// Looks at all of a session's files.
    pub fn check(&self, id: &SessionId) -> Result<LogReport, StoreError> {
        self.maintenance.examine(id)
    }

    /// How many sessions lie here under names that are no ids: they are not listed.
    pub fn misnamed(&self) -> usize {
        let found = import::find(&self.sessions_dir).unwrap_or_default();
        let names = found.iter().filter_map(|path| path.file_name()?.to_str());
        names.filter(|name| SessionId::parse(name).is_err()).count()
    }

    /// The sessions below a path elsewhere, for [`import`](Self::import).
    pub fn foreign(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
        import::find(path)
    }

    /// Copies a session from elsewhere. It comes into the list as a whole, under an id that nobody
    /// had: a server that has the workspace sees it the next time that it looks.
    pub fn import(&self, session: &Path) -> Result<Import, ImportError> {
        self.maintenance
            .import(session, Timestamp::from(SystemTime::now()))
    }

    /// Takes the workspace for changing its sessions.
    ///
    /// Errors: [`LockError::Held`] while a server has it.
    pub fn own(&self) -> Result<OwnedSessions, LockError> {
        Ok(OwnedSessions {
            _lock: holder::take(&self.workspace, &self.sessions_dir)?,
            files: self.clone(),
        })
    }
}

impl OwnedSessions {
    /// Mends a session's log; `None` when there is nothing to mend.
    pub fn repair(&self, id: &SessionId) -> Result<Option<Mended>, RepairError> {
        self.files.maintenance.repair(id)
    }

    /// Ends a session and keeps its files.
    pub fn end(&self, id: &SessionId) -> Result<(), ChangeError> {
        self.with_engine(|sessions| sessions.end(id))
    }

    /// Deletes a session and its files.
    pub fn delete(&self, id: &SessionId) -> Result<(), ChangeError> {
        self.with_engine(|sessions| sessions.delete(id))
    }

    /// Has the engine do it, which knows what else must be written; no turn is taken up.
    fn with_engine(
        &self,
        work: impl FnOnce(&Sessions) -> Result<(), EngineError>,
    ) -> Result<(), ChangeError> {
        let sessions = Sessions::start(Parts {
            store: Arc::clone(&self.files.store),
            agents: Arc::new(NoAgents),
            models: Arc::new(Providers::new(ProviderSettings::default())),
            clock: Arc::new(SystemClock),
            redactor: Arc::default(),
            settings: EngineSettings {
                max_active: 1,
                reply_bytes: 8 << 20,
                min_free_bytes: 0,
                previous_stop_was_clean: true,
                lifetimes: Lifetimes::default(),
                workdirs: WorkdirRules::default(),
                prices: Default::default(),
                grant_key: Default::default(),
            },
        })
        .map_err(ChangeError::Start)?;
        let done = work(&sessions);
        sessions.stop(Duration::ZERO);
        Ok(done?)
    }
}

/// No turn runs here.
#[derive(Debug)]
struct NoAgents;

impl Agents for NoAgents {
    fn get(&self, _name: &str) -> Option<Agent> {
        None
    }
}

fn session_of(id: SessionId, summary: &Summary) -> SessionBody {
    SessionBody::brief(id, summary, summary.status)
}
