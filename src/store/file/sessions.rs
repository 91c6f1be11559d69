//! What the engine asks of the store, on files.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::fs::{FileStamp, Open};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::blobs::Blobs;
use crate::store::documents::Documents;
use crate::store::file::blobs::FileBlobs;
use crate::store::file::error::IoContext as _;
use crate::store::file::format::{LogOrigin, judge};
use crate::store::file::index::QuickFilter;
use crate::store::file::inflight::{self, Inflight};
use crate::store::file::layout;
use crate::store::file::log::{self, Log};
use crate::store::file::read::LogPosition;
use crate::store::file::recover;
use crate::store::file::snapshot::{self, summary_of};
use crate::store::file::store::FileStore;
use crate::store::file::v05::Old;
use crate::store::file::walk::LogSource;
use crate::store::{
    EachLine, Epoch, Listed, NodeName, OpenSession, Outline, PageQuery, ReadLimit, SaidPage,
    SessionFilter, SessionStore, StoreError, SummaryPage,
};

/// How many sessions one page with a filter looks at: at worst, all of them have to be read.
const PAGE_SCANNED: usize = 512;

/// A log of no more bytes is read sooner than a snapshot of it is parsed and checked against it.
const SHORT_LOG_BYTES: u64 = 2 << 10;

impl SessionStore for FileStore {
    fn create(
        &self,
        id: &SessionId,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.settle_folder()?;
        let _in_hand = self.busy.take(id);
        let new = self.layout.new_session(id);
        let records = log::records_of(events, Seq::ZERO, at);
        let written = self.write_new(&new, &records);
        let created = written.doing("create", new.path()).and_then(|len| {
            self.publish(&new, id)?;
            self.synced.note(id, len);
            Ok(records)
        });
        if created.is_err() {
            self.discard(&new, id);
        }
        created
    }

    /// Of its log, which is written in place for as long as it lives; its folder stays where a backup is
    /// unpacked over it. A file's number is given again when it is gone, the time of its birth is not.
    fn identity(&self, id: &SessionId) -> String {
        let Ok(log) = std::fs::metadata(self.layout.session(id).log()) else {
            return String::new();
        };
        let born = log.created().ok();
        let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        format!(
            "{} {}",
            log.ino(),
            since.map_or(0, |since| since.as_micros())
        )
    }

    /// The lock of the workspace keeps other processes away: there is no other owner.
    fn claim(&self, id: &SessionId, _node: &NodeName) -> Result<Epoch, StoreError> {
        if !self.contains(id)? {
            return Err(StoreError::NotFound(id.clone()));
        }
        Ok(Epoch::ZERO)
    }

    fn is_older(&self, id: &SessionId) -> Result<bool, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let source = LogSource::new(&*file, &path)?;
        let is_known = self.older_known.get(id, source.end).is_some();
        Ok(is_known || judge(source, id)? == LogOrigin::PerhapsOlder && Old::is(source)?)
    }

    fn take_over(&self, id: &SessionId, at: Timestamp) -> Result<bool, StoreError> {
        if self.synced.knows(id) {
            return Ok(false);
        }
        self.take_over_older(id, at)
    }

    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError> {
        if let Some(why) = self.unsure.why(id) {
            return Err(StoreError::ReadOnly(why));
        }
        let fs = &self.fs;
        let folder = self.layout.session(id);
        let mut file = self.open_log(id, Open::Append)?;
        let path = folder.log();
        let source = LogSource::new(&*file, &path)?;
        let is_synced = self.synced.take(id) == Some(source.end);
        if !is_synced && self.older(source, id)?.is_some() {
            return Err(StoreError::Older(id.clone()));
        }
        let fitting = snapshot::load(&**fs, &folder, id, &*file);
        let covered = fitting
            .as_ref()
            .map_or(LogPosition::START, |found| found.covered);
        let recovered = recover::recover(&**fs, &folder, &mut *file, covered, is_synced);
        if let Err(error @ StoreError::Io { action: "sync", .. }) = &recovered {
            self.unsure.note(id, &error.to_string());
        }
        let end = recovered?;
        if !is_synced {
            fs.sync_dir(folder.path()).doing("sync", folder.path())?;
            let listed = self.list_sync.settle(&**fs);
            listed.doing("sync", &self.layout.sessions)?;
        }
        let partial = inflight::read(&**fs, &folder)?;
        let log = Log::new(
            Arc::clone(fs),
            folder.clone(),
            id.clone(),
            file,
            end,
            self.unsure.clone(),
            self.synced.clone(),
        );
        Ok(OpenSession {
            log: Box::new(log),
            journal: Box::new(Inflight::new(Arc::clone(fs), folder)),
            snapshot: fitting.map(|found| found.snapshot),
            last_seq: Seq(end.seq.0 - 1),
            partial,
        })
    }

    fn records(
        &self,
        id: &SessionId,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page(from, limit))
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page_before(before, limit))
    }

    fn said_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<SaidPage, StoreError> {
        self.with_log(id, |source| source.said_before(before, limit))
    }

    fn each_line(&self, id: &SessionId, each: &mut EachLine<'_>) -> Result<(), StoreError> {
        self.with_log(id, |source| source.each_line(each))
    }

    fn find_message(
        &self,
        id: &SessionId,
        message_id: &MessageId,
    ) -> Result<Option<Record>, StoreError> {
        let minted = Timestamp::from_micros(message_id.timestamp_ms().saturating_mul(1000));
        self.with_log(id, |source| source.find_message(message_id, minted))
    }

    fn summary(&self, id: &SessionId) -> Result<Summary, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let folder = self.layout.session(id);
        let path = folder.log();
        let source = LogSource::new(&*file, &path)?;
        if let Some(known) = self.older_known.get(id, source.end) {
            return Ok(known);
        }
        let Some((old, _turn)) = self.older(source, id)? else {
            if source.end <= SHORT_LOG_BYTES
                && let Ok(summary) = summary_of(source, None)
            {
                return Ok(summary);
            }
            // Damage in what a snapshot covers hides no session from a list.
            let fitting = snapshot::load(&*self.fs, &folder, id, source.file);
            return summary_of(source, fitting);
        };
        let summary = old.summary(id, self.older_settings(id)?, &path)?;
        self.older_known.put(id, source.end, &summary);
        Ok(summary)
    }

    fn forget_snapshot(&self, id: &SessionId) -> Result<(), StoreError> {
        let path = self.layout.session(id).snapshot();
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing("remove", &path),
        }
    }

    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.ids(before, limit)
    }

    fn outlines(
        &self,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Listed<Outline>>, StoreError> {
        let mut outlines = Vec::new();
        let mut before = before.cloned();
        // As many as were deleted meanwhile are made up for.
        loop {
            let ids = self.ids(before.as_ref(), limit - outlines.len())?;
            let found = ids.iter().map(|id| (id, self.outline(id)));
            let found = found.filter(|(_, found)| !matches!(found, Err(StoreError::NotFound(_))));
            outlines.extend(found.map(|(id, found)| Listed {
                id: id.clone(),
                found,
            }));
            before = ids.last().cloned();
            if before.is_none() || outlines.len() >= limit {
                return Ok(outlines);
            }
        }
    }

    fn page(&self, query: &PageQuery) -> Result<SummaryPage, StoreError> {
        let quick = QuickFilter::new(&query.filter);
        let scanned = if query.filter.is_open() {
            query.limit
        } else {
            PAGE_SCANNED
        };
        let mut ids = self.ids(query.before.as_ref(), scanned.saturating_add(1))?;
        let has_more = ids.len() > scanned;
        ids.truncate(scanned);
        let mut page = SummaryPage {
            sessions: Vec::new(),
            next: ids.last().filter(|_| has_more).cloned(),
        };
        let mut last: Option<SessionId> = None;
        for id in ids {
            if page.sessions.len() >= query.limit {
                page.next = last;
                break;
            }
            last = Some(id.clone());
            let found = match self.passing(&id, &query.filter, quick) {
                Ok(Some(summary)) => Ok(summary),
                Ok(None) | Err(StoreError::NotFound(_)) => continue,
                Err(error) => Err(error),
            };
            page.sessions.push(Listed { id, found });
        }
        Ok(page)
    }

    fn contains(&self, id: &SessionId) -> Result<bool, StoreError> {
        let folder = self.layout.session(id);
        self.fs.exists(folder.path()).doing("find", folder.path())
    }

    fn delete(&self, id: &SessionId) -> Result<(), StoreError> {
        self.older_known.forget(id);
        let _in_hand = self.busy.take(id);
        let (folder, deleted) = (self.layout.session(id), self.layout.deleted_session(id));
        match self.fs.rename(folder.path(), deleted.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::NotFound(id.clone()));
            }
            other => other.doing("delete", folder.path())?,
        }
        self.index.names_changed();
        self.index.forget(id);
        let synced = self.list_sync.sync_change(&*self.fs);
        synced.doing("sync", &self.layout.sessions)?;
        self.remove_folder(deleted.path())
    }

    fn files(&self, id: &SessionId) -> Arc<dyn Blobs> {
        let folder = self.layout.session(id).files();
        let turns = Arc::clone(&self.blob_turns);
        Arc::new(FileBlobs::with_turns(Arc::clone(&self.fs), folder, turns))
    }

    fn documents(&self) -> Arc<dyn Documents> {
        Arc::clone(&self.documents) as Arc<_>
    }

    fn finish_deletions(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            if layout::is_trial(&name) {
                let trial = self.layout.trial();
                match self.fs.remove_file(&trial) {
                    // It was one of this process's own.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.doing("remove", &trial)?,
                }
            }
            // One in hand was named before it was listed: either it still is in hand, or it is done
            // and the name is gone.
            if layout::leftover_of(&name).is_some_and(|of| !self.is_in_hand(of)) {
                self.remove_folder(&self.layout.sessions.join(name))?;
            }
        }
        Ok(())
    }

    fn read_only(&self) -> usize {
        self.unsure.count()
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let sessions = &self.layout.sessions;
        self.settle_folder()?;
        self.fs.free_bytes(sessions).doing("measure", sessions)
    }

    fn try_write(&self, bytes: usize) -> Result<(), StoreError> {
        self.settle_folder()?;
        let trial = self.layout.trial();
        let written = self.fs.open(&trial, Open::Empty).and_then(|mut file| {
            // Not zeros, of which some file systems store nothing.
            file.write_all(&vec![b'x'; bytes])?;
            file.sync_data()
        });
        let removed = self.fs.remove_file(&trial);
        written.and(removed).doing("write", &trial)
    }
}

impl FileStore {
    /// See [`SessionStore::list`].
    fn ids(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let sessions = &self.layout.sessions;
        // All before the names are read: what changes meanwhile must not count as read.
        let changes = self.index.changes();
        let now = SystemTime::now();
        let stamp = self.stamp(sessions)?;
        let known = stamp.and_then(|stamp| self.index.names(&stamp, before, limit));
        if let Some(ids) = known {
            return Ok(ids);
        }
        let names = self.names()?;
        let settled = stamp.filter(|stamp| stamp.is_settled(now));
        Ok(self
            .index
            .put_names(settled, changes, &names, before, limit))
    }

    fn stamp(&self, path: &Path) -> Result<Option<FileStamp>, StoreError> {
        match self.fs.stamp(path) {
            // Whoever reads it says what that means.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.doing("look at", path),
        }
    }

    fn outline(&self, id: &SessionId) -> Result<Outline, StoreError> {
        let stamp = self.stamp(&self.layout.session(id).log())?;
        let known = stamp.and_then(|stamp| self.index.outline(id, &stamp));
        match known {
            Some(outline) => Ok(outline),
            None => Ok(Outline::from(&*self.read_summary(id, stamp)?)),
        }
    }

    /// The summary of a session; `None` if the filter holds it back.
    fn passing(
        &self,
        id: &SessionId,
        filter: &SessionFilter,
        quick: QuickFilter<'_>,
    ) -> Result<Option<Arc<Summary>>, StoreError> {
        let stamp = self.stamp(&self.layout.session(id).log())?;
        if let Some(stamp) = &stamp {
            if self.index.is_held_back(id, stamp, quick) {
                return Ok(None);
            }
            if let Some(summary) = self.index.summary(id, stamp) {
                return Ok(Some(summary).filter(|summary| filter.passes(summary)));
            }
        }
        let summary = self.read_summary(id, stamp)?;
        Ok(Some(summary).filter(|summary| filter.passes(summary)))
    }

    /// Reads a summary, and notes it for a log that bore `stamp` before.
    fn read_summary(
        &self,
        id: &SessionId,
        stamp: Option<FileStamp>,
    ) -> Result<Arc<Summary>, StoreError> {
        let summary = Arc::new(self.summary(id)?);
        if let Some(stamp) = stamp {
            self.index.note(id, &stamp, &summary);
        }
        Ok(summary)
    }
}
