//! What is known of the stored sessions without reading them, so that a list, a sweep and a recovery
//! read only those that they need.
//!
//! Nothing here is believed beyond what the files confirm: the names count while the folder bears the
//! stamp that it had when they were read, an entry while its log does. What this process itself does to
//! the names is told besides ([`names_changed`](SessionIndex::names_changed)): a stamp is as good as the
//! clock of the file system. So a lost or stale index costs time, and nothing else; it lives in memory
//! alone.
//!
//! Memory: 48 bytes a session, and the summaries of the newest [`SUMMARIES_MAX`].
//!
//! Owned by: the store; its two locks are held for memory work only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::fs::FileStamp;
use crate::base::lock::lock;
use crate::domain::event::Status;
use crate::domain::ids::SessionId;
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::{Outline, SessionFilter};

/// Of the newest sessions, which lists show first.
const SUMMARIES_MAX: usize = 256;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct SessionIndex {
    table: Mutex<Table>,
    /// By the session, with the stamp of the log that each was read from.
    summaries: Mutex<BTreeMap<u128, (u64, Arc<Summary>)>>,
}

#[derive(Debug, Default)]
struct Table {
    /// That of the folder when `entries` had the names in it; `None` if they may be others by now.
    folder: Option<FileStamp>,
    /// How often this process has changed the names.
    changes: u64,
    /// All sessions, oldest first.
    entries: Vec<IndexEntry>,
    /// The agents that entries name.
    agents: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    id: u128,
    /// The stamp of the log that the rest was read from; 0 while nothing was.
    log: u64,
    updated_at: Timestamp,
    /// Its place in `agents`.
    agent: u32,
    /// The checksum of the chat; 0 without one.
    chat: u32,
    /// The checksum of who began it; 0 for the server's owner.
    owner: u32,
    status: Status,
    unfinished: bool,
}

impl IndexEntry {
    /// Of a session that nothing but the name is known of.
    fn unread(id: u128) -> IndexEntry {
        IndexEntry {
            id,
            log: 0,
            updated_at: Timestamp::default(),
            agent: 0,
            chat: 0,
            owner: 0,
            status: Status::Active,
            unfinished: false,
        }
    }
}

/// A filter, made quick to compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuickFilter<'a> {
    filter: &'a SessionFilter,
    chat: Option<u32>,
    owner: Option<u32>,
}

impl<'a> QuickFilter<'a> {
    /// One that holds back no session which `filter` lets pass.
    pub(super) fn new(filter: &'a SessionFilter) -> QuickFilter<'a> {
        let chat = filter.chat.as_ref();
        let owner = filter.owner.as_ref();
        QuickFilter {
            filter,
            chat: chat.map(|chat| checksum(&[&chat.gateway, &chat.chat_id])),
            owner: owner.map(|owner| checksum(&[owner])),
        }
    }

    fn may_pass(&self, entry: &IndexEntry, agent: &str) -> bool {
        self.filter
            .agent
            .as_deref()
            .is_none_or(|wanted| wanted == agent)
            && self
                .filter
                .status
                .is_none_or(|status| entry.status == status)
            && self.chat.is_none_or(|chat| entry.chat == chat)
            && self.owner.is_none_or(|owner| entry.owner == owner)
    }
}

impl SessionIndex {
    /// Counts what this process does to the names. Whoever reads them asks before.
    pub(super) fn changes(&self) -> u64 {
        lock(&self.table).changes
    }

    /// This process has just given the folder another name, or taken one from it.
    pub(super) fn names_changed(&self) {
        let mut table = lock(&self.table);
        table.changes += 1;
        table.folder = None;
    }

    /// Forgets the summary of a session that is deleted.
    pub(super) fn forget(&self, id: &SessionId) {
        lock(&self.summaries).remove(&id.to_bits());
    }

    /// Up to `limit` of the sessions in a folder of that stamp which are older than `before`, newest
    /// first; `None` if their names have to be read.
    pub(super) fn names(
        &self,
        folder: &FileStamp,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Option<Vec<SessionId>> {
        let table = lock(&self.table);
        (table.folder.as_ref() == Some(folder)).then(|| table.names(before, limit))
    }

    /// Takes the names that were read, and gives those that are asked for as [`names`](Self::names)
    /// does. They stay good while the folder bears `folder`, unless it was changed since
    /// [`changes`](Self::changes) was `changes`.
    pub(super) fn put_names(
        &self,
        folder: Option<FileStamp>,
        changes: u64,
        names: &[String],
        before: Option<&SessionId>,
        limit: usize,
    ) -> Vec<SessionId> {
        let ids = names.iter().filter_map(|name| SessionId::parse(name).ok());
        let mut ids: Vec<u128> = ids.map(|id| id.to_bits()).collect();
        ids.sort_unstable();
        let mut table = lock(&self.table);
        table.folder = folder.filter(|_| table.changes == changes);
        table.replace_names(&ids);
        table.names(before, limit)
    }

    /// What is known of a session whose log bears that stamp.
    pub(super) fn outline(&self, id: &SessionId, log: &FileStamp) -> Option<Outline> {
        let table = lock(&self.table);
        let entry = table.entry(id, log.short())?;
        Some(Outline {
            agent: Arc::clone(table.agents.get(entry.agent as usize)?),
            updated_at: entry.updated_at,
            status: entry.status,
            unfinished: entry.unfinished,
        })
    }

    /// Whether it is known that a session does not pass a filter, whose log bears that stamp.
    pub(super) fn is_held_back(
        &self,
        id: &SessionId,
        log: &FileStamp,
        filter: QuickFilter<'_>,
    ) -> bool {
        let table = lock(&self.table);
        let entry = table.entry(id, log.short());
        entry.is_some_and(|entry| {
            let agent = table.agents.get(entry.agent as usize);
            agent.is_some_and(|agent| !filter.may_pass(entry, agent))
        })
    }

    /// The summary of a session whose log bears that stamp.
    pub(super) fn summary(&self, id: &SessionId, log: &FileStamp) -> Option<Arc<Summary>> {
        let summaries = lock(&self.summaries);
        let (stamp, summary) = summaries.get(&id.to_bits())?;
        (*stamp == log.short()).then(|| Arc::clone(summary))
    }

    /// Notes what was read of a log that bore that stamp before it was read.
    pub(super) fn note(&self, id: &SessionId, log: &FileStamp, summary: &Arc<Summary>) {
        lock(&self.table).note(id.to_bits(), log.short(), summary);
        let mut summaries = lock(&self.summaries);
        summaries.insert(id.to_bits(), (log.short(), Arc::clone(summary)));
        if summaries.len() > SUMMARIES_MAX {
            summaries.pop_first();
        }
    }
}

impl Table {
    fn names(&self, before: Option<&SessionId>, limit: usize) -> Vec<SessionId> {
        let end = match before.map(SessionId::to_bits) {
            Some(before) => self.entries.partition_point(|entry| entry.id < before),
            None => self.entries.len(),
        };
        let older = self.entries[..end].iter().rev();
        older
            .take(limit)
            .map(|entry| SessionId::from_bits(entry.id))
            .collect()
    }

    /// What is known of the sessions that stay is kept.
    fn replace_names(&mut self, ids: &[u128]) {
        let is_same = self
            .entries
            .iter()
            .map(|entry| entry.id)
            .eq(ids.iter().copied());
        if is_same {
            return;
        }
        let known = std::mem::take(&mut self.entries);
        let mut known = known.into_iter().peekable();
        self.entries = Vec::with_capacity(ids.len());
        for id in ids {
            while known.next_if(|entry| entry.id < *id).is_some() {}
            let entry = known.next_if(|entry| entry.id == *id);
            self.entries
                .push(entry.unwrap_or_else(|| IndexEntry::unread(*id)));
        }
    }

    fn entry(&self, id: &SessionId, log: u64) -> Option<&IndexEntry> {
        let place = self.place(id.to_bits()).ok()?;
        Some(&self.entries[place]).filter(|entry| entry.log == log)
    }

    fn place(&self, id: u128) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }

    fn note(&mut self, id: u128, log: u64, summary: &Summary) {
        // Deleted meanwhile, or the names were never asked for.
        let Ok(place) = self.place(id) else { return };
        let agent = self.agent(&summary.agent);
        let chat = match (&summary.gateway, &summary.gateway_chat_id) {
            (Some(gateway), Some(chat)) => checksum(&[gateway, chat]),
            _ => 0,
        };
        let owner = summary.owner.as_ref();
        let owner = owner.map_or(0, |owner| checksum(&[owner]));
        self.entries[place] = IndexEntry {
            id,
            log,
            updated_at: summary.updated_at,
            agent,
            chat,
            owner,
            status: summary.status,
            unfinished: summary.is_unfinished(),
        };
    }

    /// A workspace has few agents.
    fn agent(&mut self, name: &str) -> u32 {
        let known = self.agents.iter().position(|agent| **agent == *name);
        let place = known.unwrap_or_else(|| {
            self.agents.push(name.into());
            self.agents.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

/// Of texts without a zero byte that stand for one thing. Never 0.
fn checksum(parts: &[&str]) -> u32 {
    crc32fast::hash(parts.join("\0").as_bytes()).max(1)
}
